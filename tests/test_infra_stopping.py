"""Graceful stopping on a real Ray cluster, with trials that train nothing: only decisions and reports are tested."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray import tune
from ray_leftovers import wait_until_nothing_is_left

from infra.bench.own_ray import own_ray
from infra.records import COMPLETE, SweepStore
from infra.search import StudySearcher
from infra.stoppers import StopperSettings, make_stopper
from infra.stopping import DecisionBoard, GracefulStopping
from search_spaces.quickstart import QUICKSTART
from trainables.loop import OBJECTIVE

pytestmark = pytest.mark.slow

EPOCHS, GRACE, TRIALS, CPUS = 9, 2, 12, 2
SETTINGS = StopperSettings(max_epochs=EPOCHS, grace_epochs=GRACE, reduction=3)


@pytest.fixture(scope="module", params=[False, True], ids=["no dashboard", "dashboard"])
def cluster(request: pytest.FixtureRequest) -> Iterator[None]:
    with own_ray(num_cpus=CPUS, include_dashboard=request.param):
        yield


def quality(number: int) -> float:
    """Which trials are good: every third."""
    return 0.2 + 0.01 * number if number % 3 == 1 else 0.8 + 0.01 * number


class Teller(tune.Callback):
    """Gives ended trials back to the search, which is all that it needs of `infra.recorder.Recorder`."""

    def __init__(self, searcher: StudySearcher) -> None:
        self._searcher = searcher

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        record = self._searcher.record_of(trial.trial_id)
        record.state = COMPLETE
        self._searcher.tell(record)


def run(folder: Path, over: Any = lambda: False) -> set[int]:
    """Numbers of the trials that were stopped early."""
    store = SweepStore(str(folder), "imitated")
    searcher = StudySearcher(QUICKSTART, store, [], fixed={}, seed=0, num_trials=TRIALS, is_over=over)
    board = DecisionBoard()
    stopping = GracefulStopping(make_stopper("asha", SETTINGS), board, over, searcher.record_of)
    log = folder / "log"
    log.mkdir(exist_ok=True)
    values = {number: quality(number) for number in range(TRIALS)}
    epochs = EPOCHS

    # Defined here, it travels by value: the workers cannot import this file.
    def imitation(assignment: dict[str, Any], ask: Any, log: str) -> None:
        number = assignment["number"]
        keep_going = ask(number)
        for epoch in range(1, epochs + 1):
            with open(f"{log}/{number}", "a") as file:
                file.write(f"{time.time()}\n")
            tune.report({"epoch": epoch, OBJECTIVE: values[number] / epoch})
            if not keep_going(epoch).go_on:
                return

    results = tune.Tuner(
        tune.with_resources(tune.with_parameters(imitation, ask=board.ask, log=str(log)), {"CPU": 1}),
        tune_config=tune.TuneConfig(
            search_alg=searcher, scheduler=stopping, num_samples=-1, max_concurrent_trials=CPUS, reuse_actors=True
        ),
        run_config=tune.RunConfig(callbacks=[Teller(searcher)], storage_path=str(folder / "ray"), verbose=0),
    ).fit()
    board.close()
    assert not results.errors
    return stopping.stopped


def epochs_begun(folder: Path) -> dict[int, list[float]]:
    """When each trial began each of its epochs."""
    return {int(path.name): [float(at) for at in path.read_text().split()] for path in (folder / "log").iterdir()}


def test_bad_trials_stop_at_a_rung_and_everything_comes_back(cluster: None, tmp_path: Path) -> None:
    stopped = run(tmp_path)
    begun = epochs_begun(tmp_path)
    assert len(begun) == TRIALS
    assert {number for number, epochs in begun.items() if len(epochs) < EPOCHS} == stopped
    assert len(stopped) >= TRIALS // 2
    # Told at a rung, a trial returns there and then: no epoch is trained in vain.
    assert {len(begun[number]) for number in stopped} <= {GRACE, GRACE * 3}
    assert 1 not in stopped
    # Its CPU then goes to the next one at once, which can only begin on a CPU that came back.
    first, last = (sorted(epochs[i] for epochs in begun.values()) for i in (0, -1))
    waits = [start - end for start, end in zip(first[CPUS:], last, strict=False)]
    assert max(waits) < 10
    wait_until_nothing_is_left(CPUS, timeout_s=10)


def test_a_spent_budget_stops_every_trial_after_its_report(cluster: None, tmp_path: Path) -> None:
    started = time.monotonic()
    run(tmp_path, over=lambda: time.monotonic() - started > 1.0)
    assert len(epochs_begun(tmp_path)) < TRIALS
    wait_until_nothing_is_left(CPUS, timeout_s=10)
