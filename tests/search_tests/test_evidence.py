"""What trials in full say of those to come: who is given up, and when a search has enough."""

from __future__ import annotations

import numpy as np
import pytest

from infra.record.trials import COMPLETE, PRUNED, TrialRecord
from infra.search.evidence import MORE_TRIALS, expected_gain, hopeless, too_little_gain
from trainables.training.reports import OBJECTIVE


def test_evidence_is_seldom_wrong() -> None:
    """Variants drawn alike, looked at after each trial in full: is one given up whose next ten bring the best?"""
    rng, wrong, sweeps = np.random.default_rng(1), 0, 500
    for _ in range(sweeps):
        scores: dict[str, list[float]] = {name: [] for name in "abcd"}
        mistaken = False
        for _ in range(32):
            scores[str(rng.choice(list(scores)))].append(float(rng.normal(0.3, 0.02)))
            seen = {name: own for name, own in scores.items() if own}
            best = min(min(own) for own in seen.values())
            mistaken |= any(rng.normal(0.3, 0.02, 10).min() < best for _ in hopeless(seen))
        wrong += mistaken
    assert wrong / sweeps < 0.05


@pytest.mark.parametrize(
    ("scores", "given_up"),
    [
        ({"a": [0.1, 0.12], "b": [0.5]}, set()),  # three trials say nothing
        ({"a": [0.1], "b": [0.5], "c": [0.5], "d": [0.6]}, set()),  # no spread is known
        ({"a": [0.7, 0.7, 0.7], "b": [0.7000001]}, set()),  # nor is there one
        ({"a": [0.30, 0.31, 0.29], "b": [0.291, 0.9]}, set()),  # one that failed to learn does not count against b
        ({"a": [0.1, 0.11], "b": [0.5, 0.52]}, {"b"}),
    ],
)
def test_who_is_given_up(scores: dict[str, list[float]], given_up: set[str]) -> None:
    assert set(hopeless(scores)) == given_up


def test_the_expected_gain_is_that_of_ten_more_draws() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.normal(0, 1, 200)
    own = list(0.3 + 0.02 * (drawn - drawn.mean()) / drawn.std(ddof=1))
    more = rng.normal(0.3, 0.02, (100_000, MORE_TRIALS)).min(axis=1)
    assert expected_gain({"a": own}, ended=200) == pytest.approx(np.maximum(min(own) - more, 0).mean(), rel=0.15)


def test_it_shrinks_with_trials_and_counts_those_that_were_stopped() -> None:
    rng = np.random.default_rng(1)
    own = list(rng.normal(0.3, 0.02, 64))
    gains = [expected_gain({"a": own[:count]}, ended=count) or 0 for count in (4, 16, 64)]
    assert gains[0] > gains[1] > gains[2] > 0
    assert (expected_gain({"a": own}, ended=640) or 0) < gains[2] / 2


def test_a_variant_that_is_behind_adds_nothing() -> None:
    good, bad = [0.1, 0.11, 0.105, 0.102], [0.5, 0.51, 0.505]
    alone = expected_gain({"good": good}, ended=14) or 0
    # More is known of the spread, so that less is expected of luck.
    assert alone / 2 < (expected_gain({"good": good, "bad": bad}, ended=14) or 0) <= alone


@pytest.mark.parametrize("scores", [{}, {"a": [0.1, 0.2, 0.3]}, {"a": [0.1], "b": [0.2], "c": [0.3], "d": [0.4]}])
def test_too_few_trials_say_nothing(scores: dict[str, list[float]]) -> None:
    assert expected_gain(scores, ended=4) is None


def test_equal_scores_are_to_gain_nothing() -> None:
    assert expected_gain({"a": [0.7] * 5}, ended=5) == pytest.approx(0, abs=1e-3)


def ended(score: float, state: str = COMPLETE) -> TrialRecord:
    config = {"fusion": {"name": "gru"}, "training": {"epochs": 1}}
    return TrialRecord(0, {}, {}, config, state=state, reports=[{"epoch": 1, OBJECTIVE: score}])


def test_a_search_has_enough_when_little_is_to_be_gained() -> None:
    records = [ended(0.1 + 0.0001 * i) for i in range(12)]
    assert too_little_gain(records, "fusion", None) is None
    assert too_little_gain(records, "fusion", 1e-6) is None
    reason = too_little_gain(records, "fusion", 0.002)
    assert reason is not None
    assert reason.startswith("10 more trials are expected to better 0.100 by 0.000")
    assert reason.endswith("less than 0.002")
    # What was stopped early is no score, however good it was.
    assert too_little_gain([ended(0.1, PRUNED)] * 12, "fusion", 0.002) is None
