"""What the trials in full say of those to come.

The best epochs of a variant's trials in full are taken as draws from a normal distribution, with one spread for all
variants; how sure mean and spread are, a t distribution says. Cost: the number of trials.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.record.groupings import variant_of
from infra.record.trials import COMPLETE, TrialRecord
from trainables.training.reports import OBJECTIVE

MORE_TRIALS = 10
LEAST_CHANCE = 0.01
FEWEST_SCORES = 4
"""Trials in full over all variants, before their spread says anything."""
LEAST_SPREAD = 1e-4
"""Of scores that are the same but for rounding."""
_STEPS = 1_000

Scores = Mapping[str, Sequence[float]]
"""Best objectives of the trials in full, by variant."""


@dataclass(frozen=True, kw_only=True)
class NextTrial:
    """The best objective of a variant's next trial in full."""

    mean: float
    spread: float
    """Of such trials, were the mean known."""
    scale: float
    degrees: int

    def chance_below(self, values: Any) -> NDArray[np.float64]:
        from scipy.stats import t

        return np.asarray(t.cdf((values - self.mean) / self.scale, self.degrees))


def next_trials(scores: Scores) -> dict[str, NextTrial]:
    """By variant; empty where there are too few trials to say anything."""
    degrees = sum(len(own) - 1 for own in scores.values())
    if sum(map(len, scores.values())) < FEWEST_SCORES or degrees < 1:
        return {}
    means = {name: math.fsum(own) / len(own) for name, own in scores.items()}
    squares = math.fsum((score - means[name]) ** 2 for name, own in scores.items() for score in own)
    spread = math.sqrt(squares / degrees)
    return {
        name: NextTrial(
            mean=means[name],
            spread=spread,
            scale=max(spread, LEAST_SPREAD) * math.sqrt(1 + 1 / len(own)),
            degrees=degrees,
        )
        for name, own in scores.items()
    }


def hopeless(scores: Scores) -> dict[str, str]:
    """Variants whose next trials will hardly bring the best of all, and why.

    Whose best is within a spread of the best of all is not given up, whatever its others came to.
    """
    leader = min(scores, key=lambda name: min(scores[name]), default="")
    reasons = {}
    for name, upcoming in next_trials(scores).items():
        own, best, spread = scores[name], min(scores[leader]), upcoming.spread
        if name == leader or spread < LEAST_SPREAD or min(own) - best < spread:
            continue
        chance = 1 - (1 - float(upcoming.chance_below(best))) ** MORE_TRIALS
        if chance < LEAST_CHANCE:
            figures = " ".join(f"{score:.3f}" for score in sorted(own))
            reasons[name] = (
                f"{name} is given up: {figures} in full, with a spread of {spread:.3f}, against {best:.3f} of "
                f"{leader}; that one of {MORE_TRIALS} more is better has a chance of {chance:.1%}"
            )
    return reasons


def expected_gain(scores: Scores, ended: int) -> float | None:
    """By how much the best of all is expected to become better by ten more trials; `None` where too few say anything.

    Of the ten as many are taken to train in full, of each variant, as of the trials that have ended.
    """
    upcoming = next_trials(scores)
    if not upcoming:
        return None
    values = np.linspace(0.0, min(min(own) for own in scores.values()), _STEPS)
    none_below = np.ones(_STEPS)
    for name, trial in upcoming.items():
        none_below *= (1 - trial.chance_below(values)) ** (MORE_TRIALS * len(scores[name]) / ended)
    # The mean of what is below the best is the area under the chance to be below.
    return float(np.trapezoid(1 - none_below, values))


def too_little_gain(records: Iterable[TrialRecord], by: str, least: float | None) -> str | None:
    """Why a search may end that is to gain so much by its next ten trials; `None` while it may gain it."""
    if least is None:
        return None
    scores: dict[str, list[float]] = {}
    ended = 0
    for record in records:
        ended += record.ended
        if record.state == COMPLETE and record.best is not None:
            scores.setdefault(variant_of(record, by), []).append(record.best[OBJECTIVE])
    gain = expected_gain(scores, ended)
    if gain is None or gain >= least:
        return None
    best = min(min(own) for own in scores.values())
    return f"{MORE_TRIALS} more trials are expected to better {best:.3f} by {gain:.4f}, less than {least:g}"
