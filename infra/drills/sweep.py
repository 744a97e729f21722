"""The sweep that a drill breaks, and what of it must not change."""

from __future__ import annotations

import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow

from infra.drills.place import COMMAND_TIMEOUT_S, DATA, Place
from infra.record.folder import SweepStore
from infra.record.trials import FAILED, FAILURES, TrialRecord
from infra.tracking.contents import PARENT_TAG, SWEEP_TAG, TRIAL_TAG
from infra.tracking.experiment import EXPERIMENT
from trainables.training.reports import LATENCY, OBJECTIVE

TRIALS, AT_A_TIME, EPOCHS = 4, 2, 8
OF_THE_CLOCK = ("windows_per_s", "epoch_s", LATENCY, "at")
_SAID = re.compile(r"^\d\d:\d\d:\d\d (?:WARNING|ERROR  ) (?P<text>.*)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the records and MLflow hold of a sweep."""

    records: list[TrialRecord]
    runs: Counter[int]
    """Runs in MLflow by the trial's number."""
    steps: dict[int, list[int]]
    """Epochs of the objective in MLflow, by the trial's number."""


def table_of(records: Iterable[TrialRecord]) -> list[tuple[dict[str, Any], str, list[dict[str, float]]]]:
    """Parameters, state and scores of every trial: all that does not depend on the clock."""
    return [
        (
            record.params,
            record.state,
            [
                {k: v for k, v in r.items() if k not in OF_THE_CLOCK and not k.startswith("system/")}
                for r in record.reports
            ],
        )
        for record in records
    ]


@dataclass
class DrillSweep:
    """A sweep of a few short trials on a place, started as a user would."""

    place: Place
    name: str
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.place.folder / f"{self.name}.log"

    @property
    def said(self) -> list[str]:
        """Its warnings and errors, of all its starts."""
        return [" ".join(match["text"].split()) for match in _SAID.finditer(self.log.read_text(errors="replace"))]

    def start(self) -> None:
        """Begin it, or go on with it."""
        self.process = self.place.start(
            *("sweep", "quickstart", "--name", self.name, "--model", self.name, "--data", DATA, "--json"),
            *("--trials", str(TRIALS), "--concurrency", str(AT_A_TIME), "--stopper", "none", "--sampler", "random"),
            *("--set", f"training.epochs={EPOCHS}", "--set", "training.epoch_windows=16"),
            # So low that what has hardly trained finds something, and is worth registering.
            *("--set", "inference.threshold=0.02"),
            log=self.log,
            **self.environment,
        )

    def wait(self) -> int:
        """Its exit code."""
        assert self.process is not None
        return self.process.wait(COMMAND_TIMEOUT_S)

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def records(self) -> list[TrialRecord]:
        with self.place.looked_at():
            return SweepStore("s3://seldtune", self.name).trials()

    def wait_until(self, there: Callable[[list[TrialRecord]], bool]) -> list[TrialRecord]:
        """The records once they are so. RuntimeError where the sweep ends before."""
        while True:
            ended = not self.runs
            records = self.records()
            if there(records):
                return records
            if ended:
                raise RuntimeError(f"{self.name} ended too early:\n{self.log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.2)

    def found(self) -> Found:
        with self.place.looked_at():
            client = mlflow.MlflowClient(self.place.mlflow_url)
            experiment = client.get_experiment_by_name(EXPERIMENT)
            assert experiment is not None
            query = f"tags.`{SWEEP_TAG}` = '{self.name}'"
            runs = client.search_runs([experiment.experiment_id], query, max_results=1000)
            of_trials = [run for run in runs if PARENT_TAG in run.data.tags]
            steps = {
                int(run.data.tags[TRIAL_TAG]): [
                    point.step for point in client.get_metric_history(run.info.run_id, OBJECTIVE)
                ]
                for run in of_trials
            }
            counted = Counter(int(run.data.tags[TRIAL_TAG]) for run in of_trials)
            return Found(records=SweepStore("s3://seldtune", self.name).trials(), runs=counted, steps=steps)


@dataclass(frozen=True, kw_only=True)
class Account:
    """What a drill came to."""

    fault: str
    seconds: float
    """That it lasted."""
    exit_code: int
    """Of the sweep's last start."""
    trials_failed: int
    tried_again: int
    """Attempts that count as failures of their trial."""
    finished_lost: int
    """Trials that had ended before, and are not as they were then."""
    counted_twice: int
    """Trials with two runs in MLflow, and epochs that a record or a run holds twice."""
    missing: int
    """Trials that never ended, and epochs that are not in MLflow."""
    resumed_after_s: float | None
    """From the end of the fault to the next report; None where there was none."""
    message: str
    """What the sweep said about it, where it has to say something."""


def settle(
    fault: str,
    seconds: float,
    sweep: DrillSweep,
    before: list[TrialRecord],
    mended_at: float,
    exit_code: int,
    message: str = "",
) -> Account:
    """The account of a sweep that has ended.

    Args:
        before: its records as the fault began.
        mended_at: when the fault was over, in seconds since 1970.
    """
    found = sweep.found()
    after = {record.number: record for record in found.records}
    ended_before = [record for record in before if record.ended]
    epochs = {number: [int(report["epoch"]) for report in record.reports] for number, record in after.items()}
    reported = [report["at"] for record in found.records for report in record.reports]
    return Account(
        fault=fault,
        seconds=seconds,
        exit_code=exit_code,
        trials_failed=sum(record.state == FAILED for record in found.records),
        tried_again=sum(attempt.outcome in FAILURES for record in found.records for attempt in record.attempts),
        finished_lost=sum(
            (after[one.number].state, after[one.number].reports) != (one.state, one.reports) for one in ended_before
        ),
        counted_twice=sum(count - 1 for count in found.runs.values())
        + sum(len(steps) - len(set(steps)) for steps in [*epochs.values(), *found.steps.values()]),
        missing=sum(not record.ended for record in found.records)
        + sum(len(set(of) - set(found.steps.get(number, ()))) for number, of in epochs.items())
        + max(0, TRIALS - len(after)),
        resumed_after_s=since(mended_at, reported),
        message=message,
    )


def since(moment: float, times: Iterable[float]) -> float | None:
    """Seconds to the first of the times that is later; None where none is."""
    return min((round(at - moment, 1) for at in times if at >= moment), default=None)
