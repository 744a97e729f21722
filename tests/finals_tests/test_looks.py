"""Looking again after every seed: how often it is wrong, and what intervals are made of."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from infra.bench.search.decisions import first
from infra.finals.looks import FIRST_SEEDS, Difference, Trained, level_of_look, seeds_for
from support.tested_models import counts
from trainables.scores.metrics import SeldCounts, scores


def seld(total: SeldCounts) -> float:
    return scores(total, "present").seld


def drawn(rng: np.random.Generator, seeds: int, recordings: int, mean: float = 0.0) -> Trained:
    """Trainings whose scores differ by seed (0.02), recording by recording alike for all seeds (0.03), and by both."""
    parts = mean + rng.normal(0, 0.02, (seeds, 1)) + rng.normal(0, 0.03, recordings)
    parts = parts + rng.normal(0, 0.02, (seeds, recordings))
    return Trained(parts.mean(axis=1), parts)


def test_one_look_has_nearly_the_whole_error_and_many_have_pocock_s() -> None:
    assert level_of_look(0.05, FIRST_SEEDS) == pytest.approx(0.93 * 0.05, rel=0.02)
    # Five looks with equally much between them: 0.0158 (Pocock, 1977). Here the first has three seeds, the others one
    # each, so that looks are more alike, and each may be wrong a little more often.
    assert 0.0158 < level_of_look(0.05, FIRST_SEEDS + 4) < 0.023
    levels = [level_of_look(0.05, most) for most in range(FIRST_SEEDS, FIRST_SEEDS + 8)]
    assert levels == sorted(levels, reverse=True)
    assert level_of_look(0.05 / 6, 8) < level_of_look(0.05, 8) / 5


def test_the_parts_of_a_score_are_those_of_its_jackknife() -> None:
    trainings = [[counts(quality, hard) for hard in (0.0, 0.1, 0.2)] for quality in (0.6, 0.7)]
    tested = Trained.of(trainings, seld)
    assert tested.scores == pytest.approx([seld(sum(one, SeldCounts.zero())) for one in trainings])
    without = seld(trainings[0][0] + trainings[0][2])
    assert tested.parts[0, 1] == pytest.approx(3 * tested.scores[0] - 2 * without)
    assert tested.seeds == 2


def test_a_difference_has_the_variance_of_recordings_and_of_seeds() -> None:
    """With the same recordings for both, what makes a recording hard for either leaves the difference alone."""
    hard = np.array([0.0, 0.3, 0.1, 0.2])
    ours = Trained(np.array([0.5, 0.6]), np.array([[0.5], [0.6]]) + hard)
    theirs = Trained(np.array([0.1, 0.1, 0.4]), np.array([[0.1], [0.1], [0.4]]) + hard)
    found = Difference.of(ours, theirs)
    assert found.value == pytest.approx(0.55 - 0.2)
    assert found.of_recordings == pytest.approx(0, abs=1e-12)
    assert found.of_seeds == pytest.approx((np.var([0.5, 0.6], ddof=1) / 2, np.var([0.1, 0.1, 0.4], ddof=1) / 3))
    # Without recordings it is Welch's test.
    welch = stats.ttest_ind([0.5, 0.6], [0.1, 0.1, 0.4], equal_var=False)
    assert found.freedom == pytest.approx(welch.df)
    assert found.value - found.reach(0.05) == pytest.approx(welch.confidence_interval(0.95).low)


def test_without_any_spread_there_is_no_doubt() -> None:
    same = Trained(np.array([0.5, 0.5]), np.full((2, 3), 0.5))
    found = Difference.of(same, same)
    assert (found.value, found.reach(0.01), found.freedom) == (0.0, 0.0, math.inf)


def test_of_two_that_are_alike_one_is_called_better_at_most_as_often_as_is_said() -> None:
    """800 decisions with six looks: 5 % would be 40; recordings alike for both leave too few degrees to waste any."""
    rng, most, wrong = np.random.default_rng(1), 8, 0
    level = level_of_look(0.05, most)
    for _ in range(800):
        ours, theirs = drawn(rng, most, 8), drawn(rng, most, 8)
        for seeds in range(FIRST_SEEDS, most + 1):
            found = Difference.of(first(ours, seeds), first(theirs, seeds))
            if abs(found.value) > found.reach(level):
                wrong += 1
                break
    assert 8 <= wrong <= 40 + 2.6 * math.sqrt(800 * 0.05 * 0.95)


def test_the_seeds_that_are_named_show_the_difference_about_as_often_as_is_said() -> None:
    rng, level = np.random.default_rng(2), 0.02
    spread = [Difference.of(drawn(rng, 40, 40), drawn(rng, 40, 40)) for _ in range(4)]
    # Of 40 recordings: with that many, seeds decide.
    seeds = seeds_for(0.04, spread, level)
    assert seeds is not None
    shown = 0
    for _ in range(400):
        found = Difference.of(drawn(rng, seeds, 40, 0.04), drawn(rng, seeds, 40))
        shown += found.value > found.reach(level)
    assert shown / 400 > 0.7


def test_what_recordings_leave_open_no_number_of_seeds_shows() -> None:
    one = Difference(value=0.0, of_recordings=0.03**2, of_seeds=(0.0, 0.0), recordings=4, seeds=(3, 3))
    assert seeds_for(0.05, [one], 0.01) is None
    assert seeds_for(0.9, [one], 0.01) == FIRST_SEEDS
