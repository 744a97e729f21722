"""What trials are forecast to come to: how often that holds on recorded curves, and what it goes by."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from infra.bench.search.fit_curves import prior_of
from infra.bench.search.search_cost import DESIGN, HELD_OUT, REPORTED, TABLE, CurveTable
from infra.record.trials import COMPLETE, FAILED, TrialRecord
from infra.search.forecast import POINTS, RECORDED, CurvePrior, Forecast, Forecasts
from infra.search.stoppers import StopperSettings, make_stopper
from trainables.training.decision import Decision
from trainables.training.reports import LOSS, OBJECTIVE

EPOCHS = 16


def config_of(epochs: int = EPOCHS) -> dict[str, Any]:
    return {"fusion": {"name": "gru"}, "training": {"epochs": epochs}}


def report(epoch: int, objective: float, loss: float = math.nan) -> dict[str, float]:
    return {"epoch": epoch, OBJECTIVE: objective, **({} if math.isnan(loss) else {LOSS: loss})}


def told(objectives: Any, losses: Any = None, epochs: int = EPOCHS, also: Forecasts | None = None) -> Forecast:
    """What is forecast after these epochs."""
    forecasts = also or Forecasts()
    for epoch, objective in enumerate(objectives, start=1):
        loss = math.nan if losses is None else losses[epoch - 1]
        forecasts.hear(99, config_of(epochs), report(epoch, objective, loss))
    return forecasts.of(99)


@pytest.fixture(scope="module")
def held_out() -> CurveTable:
    """Curves that no forecast was made from."""
    return CurveTable.read(TABLE).half(HELD_OUT)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_forecasts_hold_as_often_as_they_say_on_curves_that_they_were_not_made_from(
    held_out: CurveTable, share: float
) -> None:
    seen = round(share * held_out.epochs)
    below = []
    for trial in held_out.trials:
        forecast = told(trial[OBJECTIVE][:seen], trial[LOSS], held_out.epochs)
        below.append(forecast.chance_below(max(min(trial[OBJECTIVE]), 1e-3)))
    inside = np.mean([0.1 < chance < 0.9 for chance in below])
    assert 0.65 <= inside <= 0.98, "80 % are said"


def test_the_loss_speaks_before_anything_is_found(held_out: CurveTable) -> None:
    flat = [1.0, 1.0, 1.0, 1.0]
    learning, stuck = told(flat, [0.08, 0.07, 0.06, 0.055]), told(flat, [0.08, 0.078, 0.077, 0.076])
    assert learning.quantile(0.5) < 0.8 * stuck.quantile(0.5)


def test_the_spread_shrinks_with_the_epochs(held_out: CurveTable) -> None:
    trial = held_out.trials[0]
    spreads = [told(trial[OBJECTIVE][:n], trial[LOSS]).scale for n in (2, 6, 10, 14)]
    assert spreads == sorted(spreads, reverse=True)
    assert told(trial[OBJECTIVE], trial[LOSS]).quantile(0.5) == pytest.approx(min(trial[OBJECTIVE]))


@pytest.mark.parametrize("epochs", [1, 3, 14, 100])
def test_trials_of_any_length_are_forecast(epochs: int) -> None:
    curve = 0.9 * np.exp(-2 * np.arange(1, epochs + 1) / epochs)
    for reached in sorted({1, max(1, epochs // 2), epochs}):
        forecast = told(curve[:reached], epochs=epochs)
        low, median, high = (forecast.quantile(p) for p in (0.05, 0.5, 0.95))
        assert 0 < low <= median <= high <= 1
    assert median == pytest.approx(curve[-1])


def test_the_sweeps_own_trials_count_more_with_each() -> None:
    start, losses = [0.9, 0.8, 0.7, 0.65], [0.08, 0.07, 0.06, 0.055]
    medians = []
    for full in (0, 2, 8):
        forecasts = Forecasts()
        for number in range(full):
            # They all begin like that, and end far above what the recorded curves end at.
            for epoch in range(1, EPOCHS + 1):
                place = min(epoch, 4) - 1
                forecasts.hear(number, config_of(), report(epoch, start[place] - 0.001 * number, losses[place]))
        medians.append(told(start, losses, also=forecasts).quantile(0.5))
    assert medians == sorted(medians)
    assert medians[0] < 0.5
    assert medians[-1] == pytest.approx(0.65, abs=0.1)


def test_how_large_losses_are_changes_nothing(held_out: CurveTable) -> None:
    """Another output or other data has other losses."""
    trial = held_out.trials[3]
    plain = told(trial[OBJECTIVE][:5], trial[LOSS])
    larger = told(trial[OBJECTIVE][:5], [7 * loss for loss in trial[LOSS]])
    assert larger.quantile(0.5) == pytest.approx(plain.quantile(0.5))


def test_a_trial_of_which_only_its_end_is_known_is_no_curve() -> None:
    """As those are that come from MLflow."""
    record = TrialRecord(0, {}, {}, config_of(), state=COMPLETE, reports=[report(12, 0.25)])
    forecasts = Forecasts.after([record])
    assert forecasts.curve(0).is_full
    assert forecasts.of(0).quantile(0.5) == pytest.approx(0.25)
    assert told([0.5, 0.4]).centre == told([0.5, 0.4], also=forecasts).centre


def test_what_is_kept_of_recorded_curves_is_what_their_half_gives(tmp_path: Any) -> None:
    prior_of(CurveTable.read(TABLE).half(DESIGN)).write(tmp_path / "curves.json")
    made, kept = CurvePrior.read(tmp_path / "curves.json"), CurvePrior.read(RECORDED)
    assert kept.mean.shape == (2 * POINTS + 1,)
    # The last of four digits hangs on the processor.
    np.testing.assert_allclose(kept.mean, made.mean, rtol=2e-3, atol=1e-6)
    np.testing.assert_allclose(kept.covariance, made.covariance, rtol=2e-3, atol=1e-6)
    assert np.linalg.eigvalsh(kept.covariance).min() > 0
    assert set(REPORTED) >= {OBJECTIVE, LOSS}


# --- the stopper ------------------------------------------------------------------------------------------------------


class Trials:
    """One after another, each with its objective by epoch."""

    def __init__(self) -> None:
        self.rule = make_stopper("forecast", StopperSettings(max_epochs=EPOCHS, grace_epochs=3))
        self.records: list[TrialRecord] = []
        self.last = Decision()

    def train(self, objectives: Any, until: int = EPOCHS) -> int:
        """Epochs until it ended."""
        record = TrialRecord(len(self.records), {}, {}, config_of())
        self.records.append(record)
        for epoch in range(1, until + 1):
            self.last = self.rule.judge(record, report(epoch, float(objectives[epoch - 1])))
            if not self.last.go_on:
                return epoch
        return until


GOOD = 0.9 * np.exp(-2.2 * np.arange(1, EPOCHS + 1) / EPOCHS)


def test_what_has_hardly_a_chance_is_stopped_and_told_why() -> None:
    trials = Trials()
    assert trials.train(GOOD) == EPOCHS
    assert trials.train(GOOD - 0.01) == EPOCHS
    bad = np.maximum(GOOD, 0.7)
    assert 3 <= trials.train(bad) < EPOCHS
    assert trials.last.chance is not None
    assert trials.last.chance < 0.1
    assert trials.last.why.startswith("it would come to 0.")
    assert "better than trial 1 with a chance of" in trials.last.why


def test_a_trial_is_held_against_those_that_go_on_too() -> None:
    trials = Trials()
    assert trials.train(GOOD, until=12) == 12
    assert trials.train(np.full(EPOCHS, 0.9)) < 12


def test_one_that_failed_is_no_rival() -> None:
    trials = Trials()
    trials.train(0.5 * GOOD, until=10)
    trials.records[0].state = FAILED
    assert trials.train(GOOD) == EPOCHS


def test_alone_nothing_is_stopped() -> None:
    assert Trials().train(np.ones(EPOCHS)) == EPOCHS
