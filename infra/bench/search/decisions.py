"""How often decisions are wrong, and what they cost beside a fixed number of seeds.

    python -m infra.bench.search.decisions --save

Two variants are drawn as `seldtune decide` sees them: a test score for each seed, and what each recording makes of it,
both with a wide spread (or as `--seeds-deviation` and `--recordings-deviation` say). Where both are drawn
from one distribution, `better` and `worse` are wrong. Where one is better by `--difference`, the seeds that it takes
until that is said are set against the smallest fixed number of seeds, tested once by Welch's test with the same
variances, that says it as often.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from infra.bench.measure import finish, parser, stamp
from infra.finals.looks import FIRST_SEEDS, Difference, Trained, level_of_look

MOST_FIXED = 40


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Standard deviations of test SELD."""

    seeds: float
    """Of a training, over seeds."""
    recordings: float
    """Of what a recording makes of the difference between two variants."""
    num_recordings: int


def draw(rng: np.random.Generator, spread: Spread, seeds: int, mean: float) -> Trained:
    """A variant's trainings with so many seeds."""
    # Two variants make one difference.
    of_recordings = rng.normal(0, spread.recordings / math.sqrt(2), spread.num_recordings)
    parts = mean + rng.normal(0, spread.seeds, (seeds, 1)) + of_recordings
    return Trained(parts.mean(axis=1), parts)


def first(trained: Trained, seeds: int) -> Trained:
    return Trained(trained.scores[:seeds], trained.parts[:seeds])


def decide(ours: Trained, theirs: Trained, most: int, alpha: float) -> tuple[bool, int]:
    """Whether one is called better, and after how many seeds of either it ends."""
    for seeds in range(FIRST_SEEDS, most + 1):
        found = Difference.of(first(ours, seeds), first(theirs, seeds))
        if abs(found.value) > found.reach(level_of_look(alpha, most, seeds)):
            return True, seeds
    return False, most


def fixed(pairs: Sequence[tuple[Trained, Trained]], seeds: int, alpha: float) -> float:
    """Share of the pairs of which one is called better by one look at so many seeds."""
    found = [Difference.of(first(ours, seeds), first(theirs, seeds)) for ours, theirs in pairs]
    return statistics.fmean(abs(one.value) > one.welch_reach(alpha) for one in found)


def measure(spread: Spread, difference: float, most: int, alpha: float, decisions: int) -> dict[str, Any]:
    """Errors among equals, and the cost of telling a difference."""
    rng = np.random.default_rng(0)
    equal = [decide(draw(rng, spread, most, 0), draw(rng, spread, most, 0), most, alpha) for _ in range(decisions)]
    pairs = [(draw(rng, spread, MOST_FIXED, difference), draw(rng, spread, MOST_FIXED, 0.0)) for _ in range(decisions)]
    apart = [decide(ours, theirs, most, alpha) for ours, theirs in pairs]
    power, seeds = (statistics.fmean(column) for column in zip(*apart, strict=True))
    as_often = next((n for n in range(2, MOST_FIXED + 1) if fixed(pairs, n, alpha) >= power), None)
    return {
        "wrong": statistics.fmean(told for told, _ in equal),
        "power": power,
        "seeds": seeds,
        "fixed_seeds": as_often,
        "ratio": None if as_often is None else seeds / as_often,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, repeats=1)
    options.add_argument("--decisions", type=int, default=2000, help="of each kind (default %(default)s)")
    options.add_argument("--seeds-deviation", type=float, default=0.02, help="(default %(default)s)")
    options.add_argument("--recordings-deviation", type=float, default=0.02, help="(default %(default)s)")
    options.add_argument("--recordings", type=int, default=4, help="of the test split (default %(default)s)")
    options.add_argument("--difference", type=float, default=0.05, help="to be told (default %(default)s)")
    options.add_argument("--most-seeds", type=int, default=8, help="(default %(default)s)")
    options.add_argument("--alpha", type=float, default=0.05, help="(default %(default)s)")
    chosen = options.parse_args(arguments)
    spread = Spread(
        seeds=chosen.seeds_deviation, recordings=chosen.recordings_deviation, num_recordings=chosen.recordings
    )
    found = measure(spread, chosen.difference, chosen.most_seeds, chosen.alpha, chosen.decisions)
    alike = f"of two that are alike one is called better in {100 * found['wrong']:.1f} %"
    print(f"{alike} of {chosen.decisions:,} decisions")
    print(
        f"a difference of {chosen.difference:g} is told in {100 * found['power']:.0f} %, after {found['seeds']:.1f} "
        f"seeds on average; one look at {found['fixed_seeds']} seeds tells it as often"
    )
    outcome = {
        "benchmark": "decisions",
        "unit": "decision",
        **found,
        "parameters": {
            **vars(spread),
            "difference": chosen.difference,
            "most_seeds": chosen.most_seeds,
            "alpha": chosen.alpha,
            "decisions": chosen.decisions,
        },
        **stamp(),
    }
    finish(outcome, chosen.save)


if __name__ == "__main__":
    main()
