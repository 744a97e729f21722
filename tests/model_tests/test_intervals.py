"""Intervals over recordings: those of the jackknife as DCASE has them, and those that stay within a score's range."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from trainables.scores.metrics import LARGEST, Intervals, SeldCounts, jackknife, score_values, scores
from trainables.scores.recordings import table_of

SEARCHES = 4000


def recording(true_positive: float, missed: float, error_deg: float = 8.0) -> SeldCounts:
    """Of one class, found so often within 20 degrees and missed so often."""
    one = np.eye(13)[0]
    return SeldCounts(
        true_positive=true_positive * one,
        far=0 * one,
        false_positive=0 * one,
        false_negative=missed * one,
        reference=(true_positive + missed) * one,
        matched=true_positive * one,
        error_sum_deg=true_positive * error_deg * one,
        substitutions=0.0,
        deletions=missed,
        insertions=0.0,
    )


@pytest.mark.parametrize("recordings", [[(9, 1), (2, 3)], [(40, 1), (1, 9)], [(99, 1), (98, 2), (60, 0)]])
def test_bounds_hold_the_score_and_stay_within_what_it_can_be(recordings: list[tuple[float, float]]) -> None:
    values, bounds = table_of([recording(*counts) for counts in recordings], "present")
    for (name, value), largest in zip(values.items(), LARGEST, strict=True):
        low, high = bounds[name]
        assert 0 <= low <= value <= high <= largest, name


def test_bounds_of_the_jackknife_do_neither() -> None:
    counts = [recording(40, 1), recording(1, 9)]
    spread = jackknife(counts, lambda total: np.array(score_values(scores(total, "present"))))
    f = 1
    assert spread.low[f] < 0
    assert spread.high[f] > 1


def test_recordings_that_are_all_perfect_leave_no_doubt() -> None:
    values, bounds = table_of([recording(9, 0, 0.0), recording(5, 0, 0.0)], "present")
    assert values["F"] == pytest.approx(1)
    assert bounds["F"] == pytest.approx((1, 1))
    assert bounds["LE"] == bounds["ER"] == (0, 0)


def test_on_the_scale_of_log_odds_they_are_symmetric_and_as_wide_as_the_delta_method_has_them() -> None:
    value, half_width = np.array([0.9, 90.0, 0.5]), np.array([0.05, 10.0, 0.2])
    found = Intervals(value, value - half_width, value + half_width).in_range(np.array([1.0, 180.0, np.inf]))
    for low, middle, high, half, largest in zip(found.low, value, found.high, half_width, (1, 180), strict=False):
        share = middle / largest
        reach = half / largest / (share * (1 - share))
        logits = np.log(np.array([low, high]) / (largest - np.array([low, high])))
        assert logits == pytest.approx(np.log(share / (1 - share)) + np.array([-reach, reach]))
    assert (found.low[2], found.high[2]) == pytest.approx((0.5 * np.exp(-0.4), 0.5 * np.exp(0.4)))


def test_what_is_not_known_stays_so() -> None:
    found = Intervals(np.array([0.5]), np.array([np.nan]), np.array([np.nan])).in_range(np.array(1.0))
    assert np.isnan([found.low, found.high]).all()


def test_of_few_uneven_recordings_they_hold_the_truth_about_as_often_as_they_say() -> None:
    """A recall of 0.9, four recordings, lengths that differ; the jackknife and a bootstrap hold it less often."""
    rng = np.random.default_rng(0)
    shape = (SEARCHES, 4)
    tracks = rng.poisson(rng.lognormal(3.5, 0.6, shape)) + 1
    found = rng.binomial(tracks, rng.beta(9, 1, shape))
    value = found.sum(1) / tracks.sum(1)
    without = (found.sum(1, keepdims=True) - found) / (tracks.sum(1, keepdims=True) - tracks)
    estimate = 4 * value - 3 * without.mean(1)
    half_width = stats.t.ppf(0.975, 3) * np.sqrt(3 * without.var(1))
    of_jackknife = Intervals(value, estimate - half_width, estimate + half_width)
    drawn = rng.integers(0, 4, (400, 4))
    bootstrap = found[:, drawn].sum(2) / tracks[:, drawn].sum(2)
    of_bootstrap = Intervals(value, *np.quantile(bootstrap, [0.025, 0.975], axis=1))

    def holds(intervals: Intervals) -> float:
        return float(np.mean((intervals.low <= 0.9) & (intervals.high >= 0.9)))

    assert holds(of_jackknife.in_range(np.array(1.0))) == pytest.approx(0.95, abs=0.015)
    assert holds(of_jackknife) == pytest.approx(0.88, abs=0.015)
    assert holds(of_bootstrap) == pytest.approx(0.75, abs=0.02)
