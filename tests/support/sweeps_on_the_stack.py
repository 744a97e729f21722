"""Sweeps by the command line on the embedded stack: commands, and what is in the record and in MLflow afterwards."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import mlflow
from mlflow.entities import Run

from data import storage
from infra.drills.sweep import table_of
from infra.record.folder import SweepStore
from infra.record.trials import TrialRecord
from infra.tracking.contents import PARENT_TAG, STATE_TAG, TRIAL_TAG
from support.embedded_stack import Stack
from trainables.training.reports import OBJECTIVE

DATA = "s3://seldtune/data/sweeps"
CLIP_S = 9
CLIPS = ("--train-clips", "2", "--val-clips", "1", "--test-clips", "1", "--clip-s", str(CLIP_S))
EPOCHS = ("--set", "training.epochs=2")
QUICK = (
    *("--data", DATA, "--set", "training.epoch_windows=16", "--set", "inference.threshold=0.02"),
    *("--concurrency", "1"),
)
"""With so low a threshold what has hardly trained finds something, and is worth registering. A second trial at a time
costs a process that imports PyTorch, which takes longer than the trial: only some tests have one."""


class SweepStack:
    """Commands on an embedded stack that other tests use too: each sweep registers a model of its own name."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.start, self.finish, self.run = stack.start, stack.finish, stack.run

    @property
    def said(self) -> str:
        return self._stack.said

    def sweep(self, name: str, *arguments: str) -> dict[str, Any]:
        epochs = () if any("training.epochs" in argument for argument in arguments) else EPOCHS
        command = ("sweep", "quickstart", "--name", name, "--model", name, *QUICK, *epochs, *arguments)
        return json.loads(self.run(*command, "--json"))


def runs_of(name: str) -> tuple[Run, list[Run]]:
    """Parent and children of a sweep, as MLflow has them."""
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("seldtune")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], f"tags.`seldtune.sweep` = '{name}'", max_results=1000)
    parents = [run for run in found if PARENT_TAG not in run.data.tags]
    assert len(parents) == 1
    children = [run for run in found if run.data.tags.get(PARENT_TAG) == parents[0].info.run_id]
    assert len(children) == len(found) - 1
    return parents[0], sorted(children, key=lambda run: int(run.data.tags[TRIAL_TAG]))


def assert_complete(name: str, trials: int) -> None:
    """Every trial is there once, ended, in the record and in MLflow alike."""
    records = SweepStore("s3://seldtune", name).trials()
    assert [record.number for record in records] == list(range(trials))
    assert all(record.ended for record in records)
    assert not [record.error for record in records if record.error]
    parent, children = runs_of(name)
    assert parent.info.status == "FINISHED"
    assert [int(run.data.tags[TRIAL_TAG]) for run in children] == list(range(trials))
    assert {run.info.status for run in children} == {"FINISHED"}
    assert [run.data.tags[STATE_TAG] for run in children] == [record.state for record in records]
    client = mlflow.MlflowClient()
    for run, record in zip(children, records, strict=True):
        steps = [point.step for point in client.get_metric_history(run.info.run_id, OBJECTIVE)]
        assert steps == [int(report["epoch"]) for report in record.reports]
        assert steps == list(range(1, len(steps) + 1))


def refused(stack: SweepStack, *arguments: str, **environment: str) -> str:
    """The one line that a refusal prints, after checking that nothing was written."""
    before = storage.list_files("s3://seldtune/sweeps").keys()
    err = stack.run(*arguments, code=2, **environment)
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, err
    assert "Traceback" not in err
    assert storage.list_files("s3://seldtune/sweeps").keys() == before
    return lines[0]


def wait_until(name: str, there: Callable[[list[TrialRecord]], bool]) -> list[TrialRecord]:
    """The records of a sweep once they are so."""
    store = SweepStore("s3://seldtune", name)
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        records = store.trials()
        if there(records):
            return records
        time.sleep(0.2)
    raise AssertionError(f"{name} did not come so far in time")


def wait_for_reports(name: str, reports: int) -> None:
    wait_until(name, lambda records: sum(len(record.reports) for record in records) >= reports)


def what_it_found(name: str) -> list[tuple[dict[str, Any], str, list[dict[str, float]]]]:
    """All of every trial that does not depend on the clock."""
    return table_of(SweepStore("s3://seldtune", name).trials())
