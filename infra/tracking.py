"""MLflow's view of a sweep: a parent run, one child run per trial, each found again by its tags.

Nothing here is remembered between starts. A run is found or created by tag, and what a record holds beyond what the
run holds is written to it, in one request a report; doing it twice changes nothing. One background thread does all the
writing, so that training never waits for the server; when the server is away it keeps trying, and what could not be
written is written on the sweep's next start, because the record is the truth.
"""

from __future__ import annotations

import getpass
import json
import logging
import queue
import subprocess
import threading
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from infra.records import COMPLETE, FAILED, PRUNED, RUNNING, TrialRecord
from trainables.config_tree import from_dict, to_flat
from trainables.loop import OBJECTIVE

logger = logging.getLogger(__name__)

SWEEP_TAG, TRIAL_TAG, STATE_TAG = "seldtune.sweep", "seldtune.trial", "seldtune.state"
PARENT_TAG = "mlflow.parentRunId"
RUN_STATUS = {RUNNING: "RUNNING", COMPLETE: "FINISHED", PRUNED: "FINISHED", FAILED: "FAILED"}
RETRY_S = 2.0


class SweepTracker:
    """Keeps MLflow in step with the records of one sweep."""

    def __init__(self, tracking_uri: str, experiment: str, sweep: str, tags: dict[str, str]) -> None:
        self._client = mlflow.MlflowClient(tracking_uri)
        self._sweep = sweep
        self._tags = {**tags, "mlflow.user": getpass.getuser(), "mlflow.source.name": "seldtune sweep"}
        self._experiment_id = self._find_experiment(experiment)
        self.parent = self._find_or_create_parent()
        self._runs: dict[int, Run] = {int(r.data.tags[TRIAL_TAG]): r for r in self._children()}
        self._logged: dict[str, int] = {}
        """Last epoch known to be written, by run id."""
        self._reopened: set[str] = set()
        self._queue: queue.Queue[TrialRecord | None] = queue.Queue()
        self._thread = threading.Thread(target=self._write_all, name="mlflow-writer", daemon=True)
        self._thread.start()

    @property
    def parent_id(self) -> str:
        return self.parent.info.run_id

    @property
    def url(self) -> str:
        """The parent run's page."""
        return f"{self._client.tracking_uri.rstrip('/')}/#/experiments/{self._experiment_id}/runs/{self.parent_id}"

    def update(self, record: TrialRecord) -> None:
        """Bring the trial's run up to date with the record as it is now; returns at once."""
        self._queue.put(deepcopy(record))

    def run_id(self, number: int) -> str:
        """The child run of a trial that has been written."""
        return self._runs[number].info.run_id

    def log_sweep(self, params: dict[str, Any], metrics: dict[str, float], tags: dict[str, str]) -> None:
        """Facts of the whole sweep, on the parent run."""
        now = int(time.time() * 1000)
        self._client.log_batch(
            self.parent_id,
            metrics=[Metric(key, value, now, 0) for key, value in metrics.items()],
            params=[Param(key, str(value)) for key, value in params.items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )

    def log_file(self, path: Path, folder: str = "", number: int | None = None) -> None:
        """Attach a file to the parent run, or to a trial's."""
        run_id = self.parent_id if number is None else self.run_id(number)
        self._client.log_artifact(run_id, str(path), folder or None)

    def log_text(self, name: str, text: str) -> None:
        """Attach a text file to the parent run."""
        self._client.log_text(self.parent_id, text, name)

    def flush(self, timeout_s: float = 60.0) -> bool:
        """Wait until everything handed over is written; False when the server did not take it in time."""
        deadline = time.monotonic() + timeout_s
        while self._queue.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(0.02)
        return not self._queue.unfinished_tasks

    def close(self, status: str) -> None:
        """Write what is left, end the parent run with `status`, and any child still open with KILLED."""
        if not self.flush():
            logger.warning("MLflow did not take everything; the same sweep command will complete its record")
            return
        for run in self._children():
            if run.info.status == "RUNNING":
                self._client.set_terminated(run.info.run_id, "KILLED")
        self._client.set_terminated(self.parent_id, status)
        self._queue.put(None)
        self._thread.join(timeout=5)

    def _write_all(self) -> None:
        while (record := self._queue.get()) is not None:
            while True:
                try:
                    self._write(record)
                    break
                except (MlflowException, OSError) as error:
                    logger.warning("MLflow: %s; trying again", str(error).splitlines()[0])
                    time.sleep(RETRY_S)
            self._queue.task_done()
        self._queue.task_done()

    def _write(self, record: TrialRecord) -> None:
        run = self._runs.get(record.number) or self._create_child(record)
        run_id = run.info.run_id
        status, done = RUN_STATUS[record.state], run.data.tags.get(STATE_TAG) == record.state and record.ended
        if done:
            return
        for report in record.reports:
            if report["epoch"] > self._last_epoch(run):
                self._client.log_batch(run_id, metrics=_metrics(report))
                self._logged[run_id] = int(report["epoch"])
        if record.ended:
            best = record.best
            summary = {} if best is None else {f"best/{key}": value for key, value in best.items() if "/" in key}
            now = int(time.time() * 1000)
            self._client.log_batch(
                run_id,
                metrics=[Metric(key, value, now, 0) for key, value in summary.items()],
                tags=[RunTag("seldtune.error", record.error[:5000])] if record.error else [],
            )
            self._client.set_tag(run_id, STATE_TAG, record.state)
            self._client.set_terminated(run_id, status)
        elif run.info.status != "RUNNING" and run_id not in self._reopened:
            self._client.update_run(run_id, status="RUNNING")
            self._reopened.add(run_id)

    def _last_epoch(self, run: Run) -> int:
        run_id = run.info.run_id
        if run_id not in self._logged:
            known = OBJECTIVE in run.data.metrics
            history = self._client.get_metric_history(run_id, OBJECTIVE) if known else []
            self._logged[run_id] = max((point.step for point in history), default=0)
        return self._logged[run_id]

    def _create_child(self, record: TrialRecord) -> Run:
        config = from_dict(record.config)
        run = self._client.create_run(
            self._experiment_id,
            run_name=f"{self._sweep}-{record.number:03d}-{record.label}",
            tags={
                **self._tags,
                SWEEP_TAG: self._sweep,
                TRIAL_TAG: str(record.number),
                PARENT_TAG: self.parent_id,
                "audio": config.audio.name,
                "visual": config.visual.name,
                "fusion": config.fusion.name,
                "schedule": config.schedule.name,
                "seed": str(config.training.seed),
            },
        )
        self._runs[record.number] = run
        flat = {**to_flat(config), **{f"space.{name}": value for name, value in record.params.items()}}
        self._client.log_batch(run.info.run_id, params=[Param(key, str(value)) for key, value in flat.items()])
        self._client.log_text(run.info.run_id, json.dumps(record.config, indent=2), "config.json")
        return run

    def _find_experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        # The UI otherwise takes it for an experiment with language models.
        kind = {"mlflow.experimentKind": "custom_model_development"}
        return found.experiment_id if found else self._client.create_experiment(name, tags=kind)

    def _find_or_create_parent(self) -> Run:
        query = f"tags.`{SWEEP_TAG}` = '{self._sweep}' and tags.`seldtune.kind` = 'sweep'"
        found = self._client.search_runs([self._experiment_id], query, max_results=1)
        if not found:
            tags = {**self._tags, SWEEP_TAG: self._sweep, "seldtune.kind": "sweep"}
            return self._client.create_run(self._experiment_id, run_name=self._sweep, tags=tags)
        self._client.update_run(found[0].info.run_id, status="RUNNING")
        return found[0]

    def _children(self) -> list[Run]:
        query = f"tags.`{PARENT_TAG}` = '{self.parent_id}'"
        runs, token = [], None
        while True:
            page = self._client.search_runs([self._experiment_id], query, max_results=500, page_token=token)
            runs.extend(page)
            token = page.token
            if not token:
                return runs


def source_version() -> dict[str, str]:
    """Commit of the checkout this runs from, and whether it was changed since; nothing outside a checkout."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        result = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
        return result.stdout.strip() if result.returncode == 0 else ""

    commit = git("rev-parse", "HEAD")
    return {"git.commit": commit, "git.changed": str(bool(git("status", "--porcelain")))} if commit else {}


def _metrics(report: dict[str, float]) -> list[Metric]:
    now, step = int(time.time() * 1000), int(report["epoch"])
    return [Metric(key, float(value), now, step) for key, value in report.items() if key != "epoch"]
