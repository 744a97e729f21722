"""Trials that fail, on a real Ray cluster: which are tried again, from where, and when it is enough.

The trials train nothing: each notes its epochs in a file, which stands for its checkpoint.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

from infra.bench.own_ray import own_ray
from infra.budget import Budget, Ledger
from infra.recorder import Recorder
from infra.records import COMPLETE, FAILED, SweepStore, TrialRecord
from infra.retries import Retries
from infra.run_contents import STATE_TAG
from infra.search import StudySearcher
from infra.stoppers import NoStopper
from infra.stopping import DecisionBoard, GracefulStopping
from infra.tracking import SweepTracker
from infra.tuning import run_trials
from search_spaces.quickstart import QUICKSTART
from trainables.training.reports import REPORT_KEYS
from trainables.training.resources import TrialResources
from trainables.training.worker import SweepContext

pytestmark = pytest.mark.slow

EPOCHS = 3
FINE, RAISES_ONCE, DIVERGES, KILLED_TWICE, RUNS_OUT = range(5)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with own_ray(num_cpus=2):
        yield


def search(
    folder: Path, records: list[TrialRecord], num_trials: int, budget: Budget | None = None
) -> list[TrialRecord]:
    store = SweepStore(str(folder), "failing")
    ledger = Ledger(budget or Budget(trials=num_trials, wall_s=600), records, 0.0)
    ledger.start()

    def is_over() -> bool:
        return ledger.used_up() is not None

    fixed = {"training.epochs": EPOCHS}
    searcher = StudySearcher(QUICKSTART, store, records, fixed=fixed, seed=0, num_trials=num_trials, is_over=is_over)
    board = DecisionBoard()
    stopping = GracefulStopping(NoStopper(), board, is_over, searcher.record_of)
    tracking_uri = f"sqlite:///{folder}/mlflow.db"
    tracker = SweepTracker(tracking_uri, "seldtune", "failing", {})
    recorder = Recorder(store, searcher, stopping, tracker, ledger, Retries(together=1), TrialResources())
    log = folder / "log"
    log.mkdir(exist_ok=True)
    epochs, blank = EPOCHS, dict.fromkeys(REPORT_KEYS, 0.5)
    raises_once, diverges, killed_twice, runs_out = RAISES_ONCE, DIVERGES, KILLED_TWICE, RUNS_OUT

    # Defined here, it travels by value: the workers cannot import this file.
    def imitation(config: Any, session: Any, trial_store: Any, mean: Any, std: Any, facts: Any, attempt: int) -> None:
        import os
        import signal
        from pathlib import Path

        from trainables.training.reports import Diverged

        number = facts["trial"]
        path = f"{log}/{number}"
        done = len(Path(path).read_text().split()) if os.path.exists(path) else 0
        with open(f"{path}.attempts", "a") as file:
            file.write(f"{attempt} ")
            file.flush()
            begun = file.tell() // 2
        for epoch in range(done + 1, epochs + 1):
            if number == diverges and epoch == 2:
                raise Diverged("loss is nan at step 7")
            if number == runs_out and epoch == 2 and begun == 1:
                raise MemoryError("no room for 7 tensors")
            if number == raises_once and epoch == 3 and begun == 1:
                raise OSError("the disk hiccuped")
            if number == killed_twice and epoch > begun < 3:
                os.kill(os.getpid(), signal.SIGKILL)
            with open(path, "a") as file:
                file.write(f"{epoch}\n")
            if not session.report({**blank, "epoch": epoch, "present/SELD": 1 / epoch}).go_on:
                return

    context = SweepContext(
        trials_uri=store.work_uri,
        feature_mean=np.zeros(1),
        feature_std=np.ones(1),
        ask=board.ask,
        train_trial=imitation,
        ray_storage={"storage_path": str(folder / "ray")},
    )
    assert run_trials(searcher, stopping, recorder, context, {}, 2)
    assert tracker.flush()
    client = mlflow.MlflowClient(tracking_uri)
    runs = [client.get_run(tracker.run_id(record.number)).data.tags[STATE_TAG] for record in records]
    assert runs == [record.state for record in records]
    for saved, record in zip(store.trials(), records, strict=True):
        # The run in MLflow may have become known after the trial's last word; it is found again by its tags.
        assert saved.run_id in (None, record.run_id)
        assert dataclasses.replace(saved, run_id=record.run_id) == record
    return records


def attempts_of(folder: Path, number: int) -> list[int]:
    return [int(text) for text in (folder / "log" / f"{number}.attempts").read_text().split()]


def test_failed_trials_go_on_from_their_last_epoch_until_it_is_enough(cluster: None, tmp_path: Path) -> None:
    records = search(tmp_path, [], 6)
    outcomes = {record.number: [attempt.outcome for attempt in record.attempts] for record in records}
    assert outcomes == {
        FINE: ["ended"],
        RAISES_ONCE: ["raised", "ended"],
        DIVERGES: ["diverged", "diverged"],
        KILLED_TWICE: ["node lost", "node lost", "ended"],
        RUNS_OUT: ["out of memory", "ended"],
        5: ["ended"],
    }
    for record in records:
        epochs = [int(report["epoch"]) for report in record.reports]
        if record.number == DIVERGES:
            assert (record.state, epochs) == (FAILED, [1])
            assert record.reason is not None
            assert record.reason.startswith("diverged: ")
            assert "loss is nan at step 7" in record.reason
        else:
            assert (record.state, epochs, record.error) == (COMPLETE, [1, 2, 3], None)
            # Each epoch was trained once: what failed went on from where it was.
            assert (tmp_path / "log" / str(record.number)).read_text().split() == ["1", "2", "3"]
    # The trial is told how often it failed; a lost process is not its fault.
    assert attempts_of(tmp_path, RAISES_ONCE) == [0, 1]
    assert attempts_of(tmp_path, KILLED_TWICE) == [0, 0, 0]
    assert all(a.cpus == 1 and a.seconds > 0 for record in records for a in record.attempts)


def test_a_spent_budget_does_not_wait_for_what_failed(cluster: None, tmp_path: Path) -> None:
    budget = Budget(trials=50, wall_s=600, cpu_hours=2 / 3600)
    records = search(tmp_path, [], budget.trials, budget)
    assert len(records) < 50
    held_s = sum(attempt.cpus * attempt.seconds for record in records for attempt in record.attempts)
    assert held_s >= 2
