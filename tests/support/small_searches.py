"""A search of few trials of the quickstart space, run by Ray Tune in this process."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import mlflow
import numpy as np

from infra.record.budget import Budget, Ledger
from infra.record.folder import SweepStore
from infra.record.retries import Retries
from infra.record.trials import TrialRecord
from infra.search.proposals import SearchSettings
from infra.search.scheduler import DecisionBoard, GracefulStopping
from infra.search.searcher import StudySearcher
from infra.search.stoppers import StopperSettings, make_stopper
from infra.sweep.recorder import Recorder
from infra.sweep.tune import run_trials
from infra.tracking.contents import STATE_TAG
from infra.tracking.tracker import SweepTracker
from search_spaces.quickstart import QUICKSTART
from trainables.training.reports import REPORT_KEYS
from trainables.training.resources import TrialResources
from trainables.training.worker import SweepContext

EPOCHS = 3


def search(
    folder: Path, records: list[TrialRecord], num_trials: int, budget: Budget | None = None
) -> list[TrialRecord]:
    store = SweepStore(str(folder), "failing")
    ledger = Ledger(budget or Budget(trials=num_trials, wall_s=600), records, 0.0)
    ledger.start()

    def is_over() -> bool:
        return ledger.used_up() is not None

    settings = SearchSettings(space=QUICKSTART, trials=num_trials, fixed={"training.epochs": EPOCHS})
    searcher = StudySearcher(settings, store, records, is_over=is_over)
    board = DecisionBoard()
    stopping = GracefulStopping(
        make_stopper("none", StopperSettings(max_epochs=1, grace_epochs=1)), board, is_over, searcher.record_of
    )
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


FINE, RAISES_ONCE, DIVERGES, KILLED_TWICE, RUNS_OUT = range(5)
