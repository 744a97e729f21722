"""What each rule of early stopping is expected to leave of a sweep's epochs."""

from __future__ import annotations

import gzip
import json
import statistics
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from infra.record.trials import TrialRecord
from infra.search.stoppers import STOPPERS, Stopper, StopperSettings, make_stopper
from trainables.config import OneCycle, TrainingConfig, TrialConfig
from trainables.config.tree import to_dict
from trainables.training.decision import Decision
from trainables.training.reports import OBJECTIVE

EPOCHS = 18
PLAIN = TrialConfig(training=TrainingConfig(epochs=EPOCHS), schedule=OneCycle())


def record_of(number: int, config: TrialConfig = PLAIN) -> TrialRecord:
    return TrialRecord(number, {}, {}, to_dict(config))


def expected_epochs(name: str, trials: int = 60, concurrency: int = 4, *, epochs: int = 27, grace: int = 3) -> float:
    settings = StopperSettings(max_epochs=epochs, grace_epochs=grace, reduction=3)
    return make_stopper(name, settings).expected_epochs(trials, concurrency)


@pytest.mark.parametrize("name", STOPPERS)
def test_every_rule_says_what_it_leaves_of_the_epochs(name: str) -> None:
    expected = expected_epochs(name)
    assert 3 <= expected <= 27
    assert (expected == 27) == (name in ("pbt", "none"))
    assert expected_epochs(name, trials=1) == 27 or name == "hyperband"
    assert expected_epochs(name, trials=20, grace=27) == 27
    assert expected_epochs(name, grace=9) >= expected


def test_early_stopping_saves_epochs_but_not_the_grace() -> None:
    # Were every rung's decision made on all trials: 3 + 6 / 3 + 18 / 9 = 7; asked one after another some more go on.
    assert 7 <= expected_epochs("asha") < 12
    # Its lazier brackets have part of the trials.
    assert expected_epochs("asha") < expected_epochs("hyperband") < 20
    # Half of what has got so far is worse than the median, and as long as it gets better fast it is not seen.
    assert 10 < expected_epochs("median") < 22


@pytest.mark.parametrize("name", ["asha", "median"])
def test_trials_of_any_length_take_about_the_same_to_simulate(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, judge = [], STOPPERS[name].judge

    def counted(self: Stopper, record: TrialRecord, report: Mapping[str, float]) -> Decision:
        asked.append(report["epoch"])
        return judge(self, record, report)

    monkeypatch.setattr(STOPPERS[name], "judge", counted)
    epochs = 10**9
    expected = expected_epochs(name, trials=4, epochs=epochs)
    assert 0 < expected <= epochs
    assert len(asked) <= 8 * 4 * 200
    assert max(asked) == epochs
    # Of a length that could be simulated in full, about the same is expected.
    whole = expected_epochs(name, trials=4, epochs=200)
    assert expected_epochs(name, trials=4, epochs=400, grace=6) == pytest.approx(2 * whole, rel=0.1)


RECORDED = Path(__file__).parents[2] / "infra" / "bench" / "results" / "quickstart_curves.json.gz"


def mean_epochs(name: str, curves: np.ndarray, concurrency: int) -> float:
    """Of trials with these objectives, trial by epoch, which report at random times."""
    rng, trials = np.random.default_rng(1), len(curves)
    stopper = make_stopper(name, StopperSettings(max_epochs=curves.shape[1], grace_epochs=2, reduction=3))
    done, running = np.zeros(trials, int), list(range(min(concurrency, trials)))
    waiting = list(range(len(running), trials))
    while running:
        number = int(rng.choice(running))
        objective, done[number] = float(curves[number, done[number]]), done[number] + 1
        decision = stopper.judge(record_of(number), {"epoch": int(done[number]), OBJECTIVE: objective})
        if done[number] == curves.shape[1] or not decision.go_on:
            running.remove(number)
            running += [waiting.pop(0)] if waiting else []
    return float(done.mean())


@pytest.mark.parametrize("name", ["asha", "hyperband", "median"])
def test_random_and_recorded_curves_take_about_what_is_expected(name: str) -> None:
    epochs, trials, at_a_time = 14, 40, 4
    rng = np.random.default_rng(3)
    expected = expected_epochs(name, trials, at_a_time, epochs=epochs, grace=2)
    at = np.arange(1, epochs + 1) / epochs
    drawn = []
    for _ in range(8):
        quality, speed = rng.uniform(0.2, 0.9, (trials, 1)), rng.uniform(2, 5, (trials, 1))
        noise = rng.normal(0, 0.01, (trials, epochs))
        drawn.append(mean_epochs(name, quality + (1 - quality) * np.exp(-speed * at) + noise, at_a_time))
    assert expected == pytest.approx(statistics.fmean(drawn), rel=0.2)
    # Half of the recorded trials stand at 1 for so long that halving, which sees ties, spares them.
    if name == "median":
        table = json.loads(gzip.decompress(RECORDED.read_bytes()))["trials"]
        recorded = np.array([trial[OBJECTIVE] for trial in table])
        taken = [mean_epochs(name, rng.permutation(recorded)[:trials], at_a_time) for _ in range(8)]
        assert expected == pytest.approx(statistics.fmean(taken), rel=0.2)
