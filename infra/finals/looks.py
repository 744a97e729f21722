"""How far apart two configs are that were trained with several seeds and tested on several recordings, looked at again
after every seed.

Both are drawn: other seeds and other recordings would give another difference. Its variance is that over recordings
(paired: both are tested on the same) and that over the seeds of either; what a training and a recording have in common
counts in both, which makes intervals a little too wide. Who looks again after each seed, and stops when an interval
leaves 0 out, is wrong more often than one look is; so every look has a level of its own, the early ones a stricter one
(Wang and Tsiatis, 1987), such that the intervals of all looks hold the truth together (repeated confidence intervals:
Jennison and Turnbull, 1989). Several pairs share the error among them (Bonferroni), so that this holds of all pairs and
looks together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy import stats

from trainables.scores.matching import FloatArray
from trainables.scores.metrics import SeldCounts, leave_one_out

FIRST_SEEDS = 2
"""Trainings of a config before the first look: one says nothing of how far seeds are apart."""
_PATHS = 400_000
_SHAPE = 0.4
"""How levels rise from look to look: 0.5 has them all alike (Pocock, 1977), 0 hardly looks at few seeds (O'Brien and
Fleming, 1979). 0.4 tells a large difference after two seeds, and leaves later looks what a small one takes."""
_CAUTION = 0.92
"""Variances are estimated anew at each look, so that looks are less alike than those that the levels are simulated for;
with the whole of `alpha`, up to 5.3 % of decisions between equals were wrong in place of 5 %."""
POWER = 0.8
"""Probability with which the seeds that `seeds_for` names show a difference."""
_MOST_SEEDS_TOLD = 100


def level_of_look(alpha: float, most_seeds: int, seeds: int) -> float:
    """The level of the look after so many seeds, such that all looks up to `most_seeds` together have `alpha`.

    Source: Wang and Tsiatis, "Approximately optimal one-parameter boundaries for group sequential trials" (Biometrics,
    1987).
    """
    return float(2 * stats.norm.sf(_last_bound(alpha, most_seeds) * (seeds / most_seeds) ** (_SHAPE - 0.5)))


@lru_cache
def _last_bound(alpha: float, most_seeds: int) -> float:
    """Deviations from 0 that the last look asks for; simulated, always from the same random numbers."""
    seeds = np.arange(FIRST_SEEDS, most_seeds + 1)
    rng = np.random.default_rng(0)
    farthest = np.zeros(_PATHS)
    sums = np.zeros(_PATHS)
    for now, before in zip(seeds, [0, *seeds[:-1]], strict=True):
        sums += rng.standard_normal(_PATHS) * math.sqrt(now - before)
        np.maximum(farthest, np.abs(sums) / math.sqrt(now) * (now / most_seeds) ** (0.5 - _SHAPE), out=farthest)
    return float(np.quantile(farthest, 1 - _CAUTION * alpha))


@dataclass(frozen=True, eq=False)
class Trained:
    """A config's trainings on the test split."""

    scores: FloatArray
    """(trainings,)"""
    parts: FloatArray
    """(trainings, recordings): each recording's share in the score (the jackknife's pseudo-values)."""

    @classmethod
    def of(cls, trainings: Sequence[Sequence[SeldCounts]], score: Callable[[SeldCounts], float]) -> Trained:
        """From the counts of each recording of each training, two recordings or more."""
        scores, parts = [], []
        for counts in trainings:
            value, without = leave_one_out(counts, lambda total: np.array(score(total)))
            scores.append(value)
            parts.append(value + (len(counts) - 1) * (value - without))
        return cls(np.array(scores), np.array(parts))

    @property
    def seeds(self) -> int:
        return len(self.scores)

    @property
    def seeds_variance(self) -> float:
        """Of the mean score, over seeds."""
        return float(self.scores.var(ddof=1)) / self.seeds


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The mean score of one config's trainings minus that of another's, and the parts of its variance."""

    value: float
    of_recordings: float
    of_seeds: tuple[float, float]
    recordings: int
    seeds: tuple[int, int]

    @classmethod
    def of(cls, ours: Trained, theirs: Trained) -> Difference:
        """Of trainings on the same recordings, two or more of each."""
        by_recording = ours.parts.mean(axis=0) - theirs.parts.mean(axis=0)
        return cls(
            value=float(ours.scores.mean() - theirs.scores.mean()),
            of_recordings=float(by_recording.var(ddof=1)) / len(by_recording),
            of_seeds=(ours.seeds_variance, theirs.seeds_variance),
            recordings=len(by_recording),
            seeds=(ours.seeds, theirs.seeds),
        )

    @property
    def variance(self) -> float:
        return self.of_recordings + sum(self.of_seeds)

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the variance (Satterthwaite, 1946)."""
        squares = self.of_recordings**2 / (self.recordings - 1)
        squares += sum(part**2 / (n - 1) for part, n in zip(self.of_seeds, self.seeds, strict=True))
        return self.variance**2 / squares if squares else math.inf

    def reach(self, level: float) -> float:
        """Half the width of the interval that leaves the truth out with this probability.

        Two seeds are often near each other by chance. The degrees of freedom by `freedom` are then those of recordings,
        and the interval is too narrow, wrong twice as often as it says. So the seeds of both are taken to be equally
        far apart, and recordings and seeds each have a t of their own, which is never wrong more often, whatever the
        two variances are.

        Source: Banerjee, "On confidence interval for two-means problem based on separate estimates of variances"
        (Sankhya, 1961).
        """
        if min(self.seeds) > FIRST_SEEDS:
            return self.welch_reach(level)
        of_recordings, of_seeds = stats.t.isf(level / 2, [self.recordings - 1, 2 * (min(self.seeds) - 1)])
        return float(
            math.hypot(of_recordings * math.sqrt(self.of_recordings), of_seeds * math.sqrt(sum(self.of_seeds)))
        )

    def welch_reach(self, level: float) -> float:
        """The same by `freedom` alone, whatever the number of seeds."""
        return float(stats.t.isf(level / 2, self.freedom)) * math.sqrt(self.variance)

    @property
    def of_endless_seeds(self) -> Difference:
        """What it would be with as many seeds as one likes: the variance over recordings stays."""
        return replace(self, of_seeds=(0.0, 0.0))


def seeds_for(value: float, seen: Sequence[Difference], level: Callable[[int], float]) -> int | None:
    """Seeds of either config that would show a difference as large as `value` with a probability of `POWER`.

    Args:
        seen: differences with the spread that is expected, at least one.
        level: of the look after so many seeds.

    Returns:
        From `FIRST_SEEDS` on; None where recordings alone leave too much open, or it takes more than a hundred.
    """
    of_recordings = sum(one.of_recordings for one in seen) / len(seen)
    of_one = sum(part * n for one in seen for part, n in zip(one.of_seeds, one.seeds, strict=True)) / len(seen) / 2
    for seeds in range(FIRST_SEEDS, _MOST_SEEDS_TOLD + 1):
        expected = Difference(
            value=value,
            of_recordings=of_recordings,
            of_seeds=(of_one / seeds, of_one / seeds),
            recordings=seen[0].recordings,
            seeds=(seeds, seeds),
        )
        if expected.reach(level(seeds)) + float(stats.norm.ppf(POWER)) * math.sqrt(expected.variance) <= value:
            return seeds
    return None
