import math

import numpy as np
import pytest

from infra.comparison import statistics
from infra.comparison.statistics import (
    BETTER,
    NO_DIFFERENCE,
    TOO_FEW,
    WORSE,
    holm,
    mann_whitney,
    mean_interval,
    median_interval,
    pairs_needed,
    pareto_front,
    wilcoxon,
)


def test_u_counts_the_pairs_in_which_ours_is_worse() -> None:
    # Worse than: 0.3 than none; 0.5 than 0.4; 0.7 than 0.4 and 0.6.
    test = mann_whitney([0.3, 0.5, 0.7], [0.4, 0.6, 0.8])
    assert test.statistic == 3
    assert test.superiority == pytest.approx(6 / 9)
    assert test.smallest_p == pytest.approx(2 / 20)
    assert test.verdict(test.p) == TOO_FEW


def test_exact_p_of_groups_apart_is_two_of_all_orders() -> None:
    better = mann_whitney([0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8])
    assert better.statistic == 0
    assert better.superiority == 1
    assert better.p == pytest.approx(2 / math.comb(8, 4)) == better.smallest_p
    assert better.verdict(better.p) == BETTER
    assert mann_whitney([0.5, 0.6, 0.7, 0.8], [0.1, 0.2, 0.3, 0.4]).verdict(0.03) == WORSE
    assert better.verdict(0.06) == NO_DIFFERENCE


def test_equal_groups_show_nothing() -> None:
    for test in (mann_whitney([0.5] * 9, [0.5] * 9), wilcoxon([0.5] * 9, [0.5] * 9)):
        assert (test.p, test.superiority) == (1.0, 0.5)
        assert test.verdict(1.0) == NO_DIFFERENCE


def test_wilcoxon_needs_six_pairs_to_say_anything() -> None:
    assert pairs_needed() == 6
    theirs = [0.50, 0.52, 0.54, 0.56, 0.58, 0.60]
    ours = [value - 0.01 * (index + 1) for index, value in enumerate(theirs)]
    six = wilcoxon(ours, theirs)
    assert six.statistic == 0
    assert six.p == pytest.approx(2 / 64)
    assert six.verdict(six.p) == BETTER
    five = wilcoxon(ours[:5], theirs[:5])
    assert five.smallest_p == pytest.approx(2 / 32)
    assert five.verdict(five.p) == TOO_FEW


def test_holm_multiplies_by_those_left_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


def test_intervals_need_three_values() -> None:
    assert median_interval([0.1, 0.2]) is None
    assert mean_interval([0.1, 0.2]) is None


def test_bootstrap_of_equal_values_is_a_point() -> None:
    interval = median_interval([0.4] * 5)
    assert interval is not None
    assert (interval.low, interval.high, interval.n) == (0.4, 0.4, 5)


def test_bootstrap_holds_the_median_and_is_the_same_every_time() -> None:
    values = list(np.random.default_rng(1).normal(0.5, 0.1, 30))
    first, second = median_interval(values), median_interval(values)
    assert first == second
    assert first is not None
    assert first.method == "BCa bootstrap"
    assert first.low < np.median(values) < first.high
    # About 1.253 standard errors of a normal's median to each side, times two.
    assert 0.03 < first.high - first.low < 0.16


def test_bootstrap_without_jackknife_falls_back() -> None:
    interval = median_interval([0.2, 0.2, 0.2, 0.9])
    assert interval is not None
    assert interval.method == "percentile bootstrap"
    assert interval.low == 0.2
    assert interval.high >= 0.2


def test_interval_over_seeds_is_students() -> None:
    interval = mean_interval([0.1, 0.2, 0.3])
    assert interval is not None
    reach = 4.302652729911275 * 0.1 / math.sqrt(3)  # t at 97.5 % with two degrees of freedom
    assert interval.low == pytest.approx(0.2 - reach)
    assert interval.high == pytest.approx(0.2 + reach)


def test_pareto_front_by_hand() -> None:
    points = [(3.0, 0.2), (1.0, 0.5), (2.0, 0.6), (2.0, 0.4), (4.0, 0.2), (1.0, 0.5)]
    assert pareto_front(points) == [1, 3, 0]
    assert pareto_front([]) == []


def test_coverage_of_the_bootstrap_is_about_what_it_says() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(60):
        interval = median_interval(list(rng.normal(0, 1, 25)))
        assert interval is not None
        covered += interval.low <= 0 <= interval.high
    assert covered >= 60 * (1 - 3 * statistics.ALPHA)
