"""Graceful stopping on a real Ray cluster, with trials that train nothing: only decisions and reports are tested."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import tune

from infra.records import SweepStore, TrialRecord
from infra.search import StudySearcher
from infra.stopping import DecisionBoard, GracefulStopping, asha
from search_spaces.quickstart import QUICKSTART
from trainables.loop import OBJECTIVE

pytestmark = pytest.mark.slow

EPOCHS, GRACE, TRIALS = 9, 2, 12


@pytest.fixture(scope="module", params=[False, True], ids=["no dashboard", "dashboard"])
def cluster(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
        patch.setenv("RAY_AIR_NEW_OUTPUT", "0")
        ray.init(address="local", num_cpus=2, include_dashboard=request.param, log_to_driver=False)
        yield
        ray.shutdown()


def quality(number: int) -> float:
    """Which trials are good: every third."""
    return 0.2 + 0.01 * number if number % 3 == 1 else 0.8 + 0.01 * number


def run(folder: Path, records: list[TrialRecord], over: Any = lambda: False) -> GracefulStopping:
    store = SweepStore(str(folder), "imitated")
    searcher = StudySearcher(QUICKSTART, store, records, fixed={}, seed=0, num_trials=TRIALS, is_over=over)
    board = DecisionBoard()
    stopping = GracefulStopping(asha(EPOCHS, GRACE, 3), board, over, searcher.record_of)
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
                file.write(f"{epoch}\n")
            tune.report({"epoch": epoch, OBJECTIVE: values[number] / epoch})
            if not keep_going(epoch):
                return

    results = tune.Tuner(
        tune.with_resources(tune.with_parameters(imitation, ask=board.ask, log=str(log)), {"CPU": 1}),
        tune_config=tune.TuneConfig(
            search_alg=searcher, scheduler=stopping, num_samples=TRIALS, max_concurrent_trials=2, reuse_actors=True
        ),
        run_config=tune.RunConfig(storage_path=str(folder / "ray"), verbose=0),
    ).fit()
    assert not results.errors
    return stopping


def epochs_run(folder: Path) -> dict[int, int]:
    return {int(path.name): len(path.read_text().split()) for path in (folder / "log").iterdir()}


def test_bad_trials_stop_at_a_rung_and_all_cpus_come_back(cluster: None, tmp_path: Path) -> None:
    stopping = run(tmp_path, [])
    epochs = epochs_run(tmp_path)
    assert len(epochs) == TRIALS
    assert {number for number, count in epochs.items() if count < EPOCHS} == stopping.stopped
    assert len(stopping.stopped) >= TRIALS // 2
    # Told at a rung, a trial returns there and then: no epoch is trained in vain.
    assert {epochs[number] for number in stopping.stopped} <= {GRACE, GRACE * 3}
    assert 1 not in stopping.stopped
    deadline = time.monotonic() + 10
    while ray.available_resources().get("CPU") != 2.0:
        assert time.monotonic() < deadline, ray.available_resources()
        time.sleep(0.1)


def test_a_spent_budget_stops_every_trial_after_its_report(cluster: None, tmp_path: Path) -> None:
    started = time.monotonic()
    run(tmp_path, [], over=lambda: time.monotonic() - started > 1.0)
    assert len(epochs_run(tmp_path)) < TRIALS


def test_rungs_are_rebuilt_from_the_record(cluster: None) -> None:
    known = [
        TrialRecord(i, {}, {}, {}, state="pruned", reports=[{"epoch": e, OBJECTIVE: 0.1} for e in range(1, GRACE + 1)])
        for i in range(6)
    ]
    inner = asha(EPOCHS, GRACE, 3)
    newcomer = TrialRecord(6, {}, {}, {"training": {"epochs": EPOCHS}})
    stopping = GracefulStopping(inner, DecisionBoard(), lambda: False, lambda trial_id: newcomer)
    stopping.replay(known)

    class Trial:
        trial_id = "new"

    stopping.on_trial_add(None, Trial())  # type: ignore[arg-type]
    stopping.on_trial_result(None, Trial(), {"epoch": GRACE, OBJECTIVE: 0.5})  # type: ignore[arg-type]
    assert stopping.stopped == {6}
