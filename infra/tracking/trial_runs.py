"""The runs of a sweep's trials in MLflow: found again or made, and brought up to date with the trials' records.

For one thread at a time. Every method that writes may raise `Away`, and may then be called again with the same: what a
run holds is known from the run, so nothing is written twice, also by the next process.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from mlflow.entities import Run

from infra.record.trials import TrialRecord
from infra.tracking.contents import (
    EPOCH_METRIC,
    PARENT_TAG,
    RUN_STATUS,
    STATE_TAG,
    TRIAL_TAG,
    best_metrics,
    report_metrics,
    state_tags,
    trial_params,
    trial_tags,
)
from infra.tracking.writer import Away, MlflowWriter
from trainables.config.tree import from_dict


@dataclass
class _TrialRun:
    """What a trial's run holds."""

    run_id: str
    status: str
    epoch: int
    """Of the last report."""
    params: frozenset[str]
    tags: dict[str, str]
    """Those of this project's own, among them how the trial stands."""


class TrialRuns:
    """The children of one sweep's run.

    Args:
        tags: of every trial's run.
    """

    def __init__(
        self, writer: MlflowWriter, experiment_id: str, parent_id: str, sweep: str, tags: dict[str, str]
    ) -> None:
        self._writer = writer
        self._experiment_id = experiment_id
        self._parent_id = parent_id
        self._sweep = sweep
        self._tags = {**tags, PARENT_TAG: parent_id}
        self._runs: dict[int, _TrialRun] = {}
        self._look_again = True
        """At the start, and after a request that may have made a run."""

    def known_id(self, number: int) -> str | None:
        """Id of the run of a trial, if it has been seen; asks nobody."""
        run = self._runs.get(number)
        return None if run is None else run.run_id

    def find_id(self, number: int) -> str | None:
        """Id of the run of a trial, if there is one."""
        self._find()
        return self.known_id(number)

    def write(self, record: TrialRecord, live: TrialRecord) -> int:
        """Write what a record holds beyond what its run holds; the number of reports among it.

        Args:
            live: the driver's own record of the same trial, which is told the id of the run.
        """
        run = self._run_of(record)
        live.run_id = run.run_id
        params = trial_params(record, from_dict(record.config))
        new_params = {key: value for key, value in params.items() if key not in run.params}
        if new_params:
            self._writer.log_content(run.run_id, "config.json", json.dumps(record.config, indent=2).encode())
        status = RUN_STATUS[record.state]
        if not record.ended and run.status != status:
            self._writer.reopen_run(run.run_id)
            run.status = status
        reports = [report for report in record.reports if report["epoch"] > run.epoch]
        ends = record.ended and run.tags.get(STATE_TAG) != record.state
        tags = self._writer.fitted_tags(state_tags(record))
        self._writer.log(
            run.run_id,
            report_metrics(reports) + (best_metrics(record) if ends else []),
            new_params,
            {key: value for key, value in tags.items() if run.tags.get(key) != value},
        )
        run.params, run.tags = frozenset(params), tags
        run.epoch = int(reports[-1]["epoch"]) if reports else run.epoch
        if record.ended and run.status != status:
            self._writer.end_run(run.run_id, status, record.reports[-1]["at"] if record.reports else None)
            run.status = status
        return len(reports)

    def close(self) -> None:
        """Leave no run open, nor a trial with two."""
        self._look_again = True
        self._find()
        for run in self._runs.values():
            if run.status == "RUNNING":
                self._writer.end_run(run.run_id, "KILLED")

    def _run_of(self, record: TrialRecord) -> _TrialRun:
        """Known by its tags, or by the id that the record has if it is a run of this sweep; or else a new one."""
        self._find()
        if record.number not in self._runs:
            found = None if record.run_id is None else self._writer.find_run(record.run_id)
            if found is not None and found.data.tags.get(PARENT_TAG) != self._parent_id:
                found = None  # the record was copied from another sweep
            self._runs[record.number] = _as_found(found or self._create(record))
        return self._runs[record.number]

    def _create(self, record: TrialRecord) -> Run:
        began_s = record.reports[0]["at"] - record.reports[0]["epoch_s"] if record.reports else None
        name = f"{self._sweep}-{record.number:03d}-{record.label}"
        tags = {**self._tags, **trial_tags(record, from_dict(record.config))}
        try:
            return self._writer.create_run(self._experiment_id, name, tags, began_s)
        except Away:
            self._look_again = True  # the server may have made it all the same
            raise

    def _find(self) -> None:
        """Look for all runs, if need be. A second one of a trial is made by a request that was given up, so it holds
        nothing, and is deleted; one that holds something is not ours to delete."""
        if not self._look_again:
            return
        found: dict[int, _TrialRun] = {}
        for entity in self._writer.runs(self._experiment_id, f"tags.`{PARENT_TAG}` = '{self._parent_id}'"):
            tag, run = entity.data.tags.get(TRIAL_TAG, ""), _as_found(entity)
            if not tag.isdigit():
                continue
            kept = found.setdefault(int(tag), run)
            if kept is not run:
                found[int(tag)], other = (run, kept) if not kept.params else (kept, run)
                if not other.params:
                    self._writer.delete_run(other.run_id)
        self._runs, self._look_again = found, False


def _as_found(run: Run) -> _TrialRun:
    return _TrialRun(
        run.info.run_id,
        run.info.status,
        int(run.data.metrics.get(EPOCH_METRIC, 0)),
        frozenset(run.data.params),
        {key: value for key, value in run.data.tags.items() if key.startswith("seldtune.")},
    )
