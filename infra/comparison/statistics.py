"""Intervals and tests for a handful of scores, of which smaller ones are better.

What is assumed is no more than it has to be: ranks instead of normal distributions, exact p-values where they can be
had. Where a sample is so small that no outcome could have been significant, no verdict is given.

`scipy.stats` is imported where it is needed: it takes a second, which a sweep of few trials is spared.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ALPHA = 0.05
"""Significance level of the verdicts; the intervals cover one minus it."""
FEWEST = 3
"""Values from which on there is an interval."""
RESAMPLES = 2000
MANY = 500
"""Values from which on the bootstrap's correction for bias and skew no longer matters, and costs a square."""

REFERENCE, BETTER, WORSE, NO_DIFFERENCE, TOO_FEW = "reference", "better", "worse", "no difference", "too few to tell"


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A 95 % confidence interval, and what it is of."""

    low: float
    high: float
    of: str
    method: str
    n: int


@dataclass(frozen=True, kw_only=True)
class RankTest:
    """Scores of two groups against each other."""

    method: str
    statistic: float
    """Mann-Whitney's U of ours (pairs in which ours is the larger, that is worse, score), or Wilcoxon's T."""
    p: float
    """Two-sided, of this test alone."""
    superiority: float
    """Probability that a score of ours is better than one of theirs; ties count half."""
    n: int
    n_reference: int
    smallest_p: float
    """What the most extreme outcome at these sizes would give."""

    def verdict(self, p_holm: float) -> str:
        """In a word, by the p-value corrected for all comparisons made."""
        if self.smallest_p > ALPHA:
            return TOO_FEW
        if p_holm > ALPHA or self.superiority == 0.5:
            return NO_DIFFERENCE
        return BETTER if self.superiority > 0.5 else WORSE


def median_interval(values: Sequence[float]) -> Interval | None:
    """Of the median, by bootstrap over the values (BCa: Efron, 1987; seeded, so always the same)."""
    if len(values) < FEWEST:
        return None
    sample = np.asarray(values, dtype=float)
    method = "BCa" if len(sample) < MANY else "percentile"
    low, high = _bootstrap(sample, method)
    if math.isnan(low):  # so many values are alike that leaving one out never moves the median
        method = "percentile"
        low, high = _bootstrap(sample, method)
    of = f"median of {len(sample)} configs"
    return Interval(low=low, high=high, of=of, method=f"{method} bootstrap", n=len(sample))


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Of the mean over the seeds of one config, by Student's t."""
    if len(values) < FEWEST:
        return None
    from scipy import stats

    mean, error = float(np.mean(values)), float(stats.sem(values))
    reach = float(stats.t.ppf(1 - ALPHA / 2, len(values) - 1)) * error
    of = f"mean of {len(values)} seeds"
    return Interval(low=mean - reach, high=mean + reach, of=of, method="Student's t", n=len(values))


def mann_whitney(ours: Sequence[float], theirs: Sequence[float]) -> RankTest:
    """Of two independent groups: exact where one is small and nothing is tied, else asymptotic."""
    n, m = len(ours), len(theirs)
    if len({*ours, *theirs}) == 1:
        statistic, p = n * m / 2, 1.0
    else:
        from scipy import stats

        found = stats.mannwhitneyu(ours, theirs)
        statistic, p = float(found.statistic), float(found.pvalue)
    return RankTest(
        method="Mann-Whitney U",
        statistic=statistic,
        p=p,
        superiority=1 - statistic / (n * m),
        n=n,
        n_reference=m,
        smallest_p=min(1.0, 2 / math.comb(n + m, n)),
    )


def wilcoxon(ours: Sequence[float], theirs: Sequence[float]) -> RankTest:
    """Of two groups whose values belong together one by one (signed ranks)."""
    n = len(ours)
    differences = np.asarray(ours) - np.asarray(theirs)
    statistic, p = 0.0, 1.0
    if differences.any():
        from scipy import stats

        found = stats.wilcoxon(differences)
        statistic, p = float(found.statistic), float(found.pvalue)
    return RankTest(
        method="Wilcoxon signed rank",
        statistic=statistic,
        p=p,
        superiority=float(np.mean(differences < 0) + np.mean(differences == 0) / 2),
        n=n,
        n_reference=n,
        smallest_p=min(1.0, 2 / 2**n),
    )


def pairs_needed() -> int:
    """Pairs from which on Wilcoxon's test can be significant at all."""
    return math.ceil(math.log2(2 / ALPHA))


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrected for their number (Holm, 1979), in the order given."""
    corrected = [0.0] * len(p_values)
    running = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, p_values[index] * (len(p_values) - place)))
        corrected[index] = running
    return corrected


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points that no other is as good as in both and better in one; smaller is better. In order of the
    first; of equal points the first one given. Cost: one sort."""
    front: list[int] = []
    best = math.inf
    for index in sorted(range(len(points)), key=lambda i: points[i]):
        if points[index][1] < best:
            best = points[index][1]
            front.append(index)
    return front


def _bootstrap(sample: np.ndarray, method: str) -> tuple[float, float]:
    if sample.min() == sample.max():
        return float(sample[0]), float(sample[0])
    from scipy import stats

    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        interval = stats.bootstrap(
            (sample,),
            np.median,
            n_resamples=RESAMPLES,
            batch=max(1, 2_000_000 // len(sample)),
            confidence_level=1 - ALPHA,
            method=method,
            rng=np.random.default_rng(0),
        ).confidence_interval
    return float(interval.low), float(interval.high)
