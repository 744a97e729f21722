"""What a sampler is, and the registry of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.samplers import BaseSampler

from data.errors import UserError
from data.names import near
from data.registry.parts import OWN, Registry
from data.registry.user_code import place_of
from infra.record.trials import TrialRecord
from search_spaces.space import SearchSpace

DEFAULT = "tpe"


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a point is chosen by."""

    space: SearchSpace
    records: Sequence[TrialRecord]
    """Trials of earlier sweeps, and the sweep's own as they are now, running ones too."""
    seed: int


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """How a search chooses its points; register with `SAMPLERS.register(Sampler(...))`."""

    name: str
    """What `--sampler` calls it."""
    make: Callable[[int], BaseSampler]
    """Optuna's sampler for one proposal, from a seed; it may remember nothing."""
    choose: Callable[[Known], Mapping[str, Any]] | None = None
    """Gives the next point outright, for the score alone; what a point leaves out, Optuna's sampler draws."""
    learns_only_shared: bool = False
    """It learns nothing about parameters which some trials do not have."""


SAMPLERS: Registry[Sampler] = Registry("sampler", Sampler, order=(DEFAULT, "forecast", "random", "gp", "nsga2"))


def make_sampler(name: str, seed: int) -> BaseSampler:
    """Optuna's sampler for one proposal.

    Raises:
        UserError: `make` gives something else.
    """
    make = SAMPLERS[name].make
    made = make(seed)
    if not isinstance(made, BaseSampler):
        raise UserError(
            f"sampler {name!r}: {place_of(make)} makes {made!r}, and one of Optuna is expected (a BaseSampler)"
        )
    return made


def check_sampler(name: str, space: str, points: Sequence[Collection[str]]) -> list[str]:
    """The parameters that this sampler can only draw at random, by name.

    Args:
        space: its name.
        points: of some points of the space, the names of their parameters.

    Raises:
        UserError: no such sampler, what it makes is none of Optuna's, or it could learn nothing at all in this space.
    """
    if name not in SAMPLERS:
        choices = f"choose one of {', '.join(SAMPLERS)}; {OWN}"
        raise UserError(f"sampler {name!r} is not known{near(name, SAMPLERS)}; {choices}")
    make_sampler(name, seed=0)
    if not SAMPLERS[name].learns_only_shared or not points:
        return []
    shared = set(points[0]).intersection(*points)
    if not shared:
        raise UserError(
            f"sampler {name!r} learns only of parameters that all trials have, and space {space!r} has none; "
            f"choose {DEFAULT}"
        )
    return sorted(set().union(*points) - shared)
