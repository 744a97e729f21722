"""The samplers of a search by name. A new one is one function and one entry here.

A sampler is made anew for each proposal, from a seed of its own, and remembers nothing from one to the next: what it
goes by is in the study, so that a study rebuilt from a sweep's record is continued as the first one would have been.

`tpe` goes by complete and by stopped trials, these by how far they came, and learns each group of parameters that
comes and goes together. `gp` and `nsga2` go by complete trials alone and learn only what all trials have; the rest they
draw at random. `random` draws everything.

Cost of a proposal among n ended trials: `tpe` n, `nsga2` n, and for each generation n squared; `gp` n cubed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import optuna
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler

from data.errors import UserError
from data.near import near
from infra.search.optuna_private import NSGA2_GENERATION

optuna.logging.set_verbosity(optuna.logging.WARNING)  # a line for each study that is made says nothing to anyone

STARTUP_TRIALS = 6
"""Ended trials before a model of them is made."""
POPULATION = 16
"""Of a generation of NSGA-II, which a sweep has to complete before the next one has parents."""
FIRST_GENERATION = {NSGA2_GENERATION: 0}
"""What makes a trial of an earlier sweep one that NSGA-II may take parents from."""


def _tpe(seed: int) -> BaseSampler:
    return TPESampler(seed=seed, multivariate=True, group=True, n_startup_trials=STARTUP_TRIALS)


def _random(seed: int) -> BaseSampler:
    return RandomSampler(seed=seed)


def _gp(seed: int) -> BaseSampler:
    return GPSampler(seed=seed, n_startup_trials=STARTUP_TRIALS, warn_independent_sampling=False)


def _nsga2(seed: int) -> BaseSampler:
    return NSGAIISampler(seed=seed, population_size=POPULATION)


DEFAULT = "tpe"
SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    DEFAULT: _tpe,
    "random": _random,
    "gp": _gp,
    "nsga2": _nsga2,
}
LEARN_ONLY_SHARED = ("gp", "nsga2")
"""Those that learn nothing about parameters which some trials do not have."""


def check_sampler(name: str, space: str, points: Sequence[Collection[str]]) -> list[str]:
    """The parameters that this sampler can only draw at random, by name.

    Args:
        space: its name.
        points: of some points of the space, the names of their parameters.

    Raises:
        UserError: no such sampler, or it could learn nothing at all in this space.
    """
    if name not in SAMPLERS:
        raise UserError(f"sampler {name!r} is not known{near(name, SAMPLERS)}; choose one of {', '.join(SAMPLERS)}")
    if name not in LEARN_ONLY_SHARED or not points:
        return []
    shared = set(points[0]).intersection(*points)
    if not shared:
        raise UserError(
            f"sampler {name!r} learns only of parameters that all trials have, and space {space!r} has none; "
            f"choose {DEFAULT}"
        )
    return sorted(set().union(*points) - shared)
