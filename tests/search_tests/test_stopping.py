"""Graceful stopping on a real Ray cluster, in trial actors and in worker groups, with trials that train nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray import tune

from infra.bench.search.own_ray import own_ray
from infra.record.folder import SweepStore
from infra.record.trials import COMPLETE
from infra.search.proposals import SearchSettings
from infra.search.scheduler import DecisionBoard, GracefulStopping
from infra.search.searcher import StudySearcher
from infra.search.stoppers import StopperSettings, make_stopper
from infra.sweep.tune import trial_tuner
from search_spaces.quickstart import QUICKSTART
from support.ray_leftovers import wait_until_nothing_is_left
from trainables.training.reports import OBJECTIVE
from trainables.training.resources import TrialResources
from trainables.training.worker import SweepContext

pytestmark = pytest.mark.slow

EPOCHS, GRACE, TRIALS, SLOTS, CPUS = 9, 2, 12, 2, 4
SETTINGS = StopperSettings(max_epochs=EPOCHS, grace_epochs=GRACE, reduction=3)


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[None]:
    """With a dashboard or without: beside one, Ray starts and ends workers differently."""
    with own_ray(num_cpus=CPUS, include_dashboard=request.param):
        yield


def quality(number: int) -> float:
    """Which trials are good: every third."""
    return 0.2 + 0.01 * number if number % 3 == 1 else 0.8 + 0.01 * number


class Teller(tune.Callback):
    """Gives ended trials back to the search, which is all that it needs of `infra.sweep.recorder.Recorder`."""

    def __init__(self, searcher: StudySearcher) -> None:
        self._searcher = searcher

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        record = self._searcher.record_of(trial.trial_id)
        record.state = COMPLETE
        self._searcher.tell(record)


def run(folder: Path, workers: int, over: Any = lambda: False) -> set[int]:
    """Numbers of the trials that were stopped early."""
    store = SweepStore(str(folder), "imitated")
    searcher = StudySearcher(SearchSettings(space=QUICKSTART, trials=TRIALS), store, [], is_over=over)
    board = DecisionBoard()
    stopping = GracefulStopping(make_stopper("asha", SETTINGS), board, over, searcher.record_of)
    log = folder / "log"
    log.mkdir(exist_ok=True)
    values, epochs, objective = {number: quality(number) for number in range(TRIALS)}, EPOCHS, OBJECTIVE

    # Defined here, it travels by value: the workers cannot import this file.
    def imitation(config: Any, session: Any, trial_store: Any, mean: Any, std: Any, facts: Any, attempt: int) -> None:
        number = facts["trial"]
        for epoch in range(1, epochs + 1):
            if session.rank == 0:
                with open(log / f"{number}", "a") as file:
                    file.write(f"{time.time()}\n")
            if not session.report({"epoch": epoch, objective: values[number] / epoch}).go_on:
                return

    context = SweepContext(
        trials_uri=store.work_uri,
        feature_mean=np.zeros(1),
        feature_std=np.ones(1),
        ask=board.ask,
        mail=board.mail,
        train_trial=imitation,
        resources=TrialResources(workers=workers),
        ray_storage={"storage_path": str(folder / "ray")},
    )
    results = trial_tuner(searcher, stopping, Teller(searcher), context, {}, SLOTS).fit()
    board.close()
    assert not results.errors
    return set(stopping.stopped)


def epochs_begun(folder: Path) -> dict[int, list[float]]:
    """When each trial began each of its epochs."""
    return {int(path.name): [float(at) for at in path.read_text().split()] for path in (folder / "log").iterdir()}


@pytest.mark.parametrize(
    ("cluster", "workers"), [(False, 2), (True, 1)], indirect=["cluster"], ids=["no dashboard-2", "dashboard-1"]
)
def test_bad_trials_stop_at_a_rung_and_everything_comes_back(cluster: None, tmp_path: Path, workers: int) -> None:
    stopped = run(tmp_path, workers)
    begun = epochs_begun(tmp_path)
    assert len(begun) == TRIALS
    assert {number for number, epochs in begun.items() if len(epochs) < EPOCHS} == stopped
    assert len(stopped) >= TRIALS // 2
    # Told at a rung, a trial returns there and then: no epoch is trained in vain.
    assert {len(begun[number]) for number in stopped} <= {GRACE, GRACE * 3}
    assert 1 not in stopped
    # Its CPUs then go to the next one at once.
    first, last = (sorted(epochs[i] for epochs in begun.values()) for i in (0, -1))
    waits = [start - end for start, end in zip(first[SLOTS:], last, strict=False)]
    assert max(waits) < 10
    wait_until_nothing_is_left(CPUS, timeout_s=10)


@pytest.mark.parametrize("cluster", [True], indirect=True, ids=["dashboard"])
def test_a_spent_budget_stops_every_trial_after_its_report(cluster: None, tmp_path: Path) -> None:
    run(tmp_path, 1, over=lambda: any((tmp_path / "log").glob("*")))
    begun = epochs_begun(tmp_path)
    assert 1 <= len(begun) <= SLOTS
    assert {len(epochs) for epochs in begun.values()} == {1}
    wait_until_nothing_is_left(CPUS, timeout_s=10)
