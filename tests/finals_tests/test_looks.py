"""Looking again after every seed: how often it is wrong, and what intervals are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from infra.bench.search.decisions import Spread, draw, first
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


def trained(of_seeds: Sequence[float], hard: np.ndarray) -> Trained:
    return Trained(np.array(of_seeds), np.array(of_seeds)[:, None] + hard)


def test_one_look_has_nearly_the_whole_error_and_of_many_the_later_have_more() -> None:
    assert level_of_look(0.05, FIRST_SEEDS, FIRST_SEEDS) == pytest.approx(0.92 * 0.05, rel=0.02)
    of_looks = [level_of_look(0.05, 8, seeds) for seeds in range(FIRST_SEEDS, 9)]
    assert of_looks == sorted(of_looks)
    # Five looks with equally much between them, all alike: 0.0158 (Pocock, 1977).
    assert of_looks[0] < 0.0158 < of_looks[-1] < 0.05 < sum(of_looks)
    lasts = [level_of_look(0.05, most, most) for most in range(FIRST_SEEDS, FIRST_SEEDS + 8)]
    assert lasts == sorted(lasts, reverse=True)
    assert level_of_look(0.05 / 6, 8, 2) < level_of_look(0.05, 8, 2) / 5


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
    ours, theirs = trained([0.5, 0.6, 0.7], hard), trained([0.1, 0.1, 0.4, 0.4], hard)
    found = Difference.of(ours, theirs)
    assert found.value == pytest.approx(0.6 - 0.25)
    assert found.of_recordings == pytest.approx(0, abs=1e-12)
    assert found.of_seeds == pytest.approx((ours.scores.var(ddof=1) / 3, theirs.scores.var(ddof=1) / 4))
    # Without recordings it is Welch's test.
    welch = stats.ttest_ind(ours.scores, theirs.scores, equal_var=False)
    assert found.freedom == pytest.approx(welch.df)
    assert found.value - found.reach(0.05) == pytest.approx(welch.confidence_interval(0.95).low)


def test_after_two_seeds_recordings_and_seeds_each_have_a_t_of_their_own() -> None:
    """Without recordings it is Student's test, which takes both variances for one; without seeds, the paired one."""
    hard = np.array([0.0, 0.3, 0.1, 0.2])
    found = Difference.of(trained([0.5, 0.6], hard), trained([0.1, 0.4], hard))
    student = stats.ttest_ind([0.5, 0.6], [0.1, 0.4])
    assert found.value - found.reach(0.05) == pytest.approx(student.confidence_interval(0.95).low)
    found = Difference.of(trained([0.5, 0.5], hard), trained([0.1, 0.1], 0 * hard))
    paired = stats.ttest_1samp(0.4 + hard, 0)
    assert found.value - found.reach(0.05) == pytest.approx(paired.confidence_interval(0.95).low - hard.mean())
    both = Difference(value=0.0, of_recordings=3.0, of_seeds=(1.0, 1.0), recordings=4, seeds=(2, 2))
    assert both.reach(0.05) > both.welch_reach(0.05)
    # What is known of two seeds does not become more by having more of the other.
    assert replace(both, seeds=(2, 9)).reach(0.05) == both.reach(0.05)


def test_two_seeds_that_are_near_each_other_by_chance_do_not_make_the_first_look_wrong() -> None:
    """By Welch's test it would be, more than twice as often as it says where recordings are near each other."""
    rng, level, decisions = np.random.default_rng(3), 0.01, 3000
    spread = Spread(seeds=0.02, recordings=0.015, num_recordings=12)
    found = [Difference.of(draw(rng, spread, 2, 0), draw(rng, spread, 2, 0)) for _ in range(decisions)]
    assert np.mean([abs(one.value) > one.reach(level) for one in found]) <= level
    assert np.mean([abs(one.value) > one.welch_reach(level) for one in found]) > 1.5 * level


def test_without_any_spread_there_is_no_doubt() -> None:
    same = Trained(np.array([0.5, 0.5]), np.full((2, 3), 0.5))
    found = Difference.of(same, same)
    assert (found.value, found.reach(0.01), found.freedom) == (0.0, 0.0, math.inf)


def test_of_two_that_are_alike_one_is_called_better_at_most_as_often_as_is_said() -> None:
    """800 decisions with seven looks: 5 % would be 40; recordings alike for both leave too few degrees to waste any."""
    rng, most, wrong = np.random.default_rng(1), 8, 0
    for _ in range(800):
        ours, theirs = drawn(rng, most, 8), drawn(rng, most, 8)
        for seeds in range(FIRST_SEEDS, most + 1):
            found = Difference.of(first(ours, seeds), first(theirs, seeds))
            if abs(found.value) > found.reach(level_of_look(0.05, most, seeds)):
                wrong += 1
                break
    assert 8 <= wrong <= 40 + 2.6 * math.sqrt(800 * 0.05 * 0.95)


def test_the_seeds_that_are_named_show_the_difference_about_as_often_as_is_said() -> None:
    rng, level = np.random.default_rng(2), 0.02
    spread = [Difference.of(drawn(rng, 40, 40), drawn(rng, 40, 40)) for _ in range(4)]
    # Of 40 recordings: with that many, seeds decide.
    seeds = seeds_for(0.04, spread, lambda seeds: level)
    assert seeds is not None
    shown = 0
    for _ in range(400):
        found = Difference.of(drawn(rng, seeds, 40, 0.04), drawn(rng, seeds, 40))
        shown += found.value > found.reach(level)
    assert shown / 400 > 0.7


def test_what_recordings_leave_open_no_number_of_seeds_shows() -> None:
    one = Difference(value=0.0, of_recordings=0.03**2, of_seeds=(0.0, 0.0), recordings=4, seeds=(3, 3))
    assert seeds_for(0.05, [one], lambda seeds: 0.01) is None
    assert seeds_for(0.9, [one], lambda seeds: 0.01) == FIRST_SEEDS
