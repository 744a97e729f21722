"""What a search proposes: one config of its space at a time, or some drawn at random to see what would come of it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import optuna
from optuna.samplers import RandomSampler
from optuna.trial import FixedTrial

from data.errors import UserError
from infra.search.objectives import SELD
from infra.search.optuna_private import contains
from infra.search.samplers import DEFAULT
from search_spaces.space import SearchSpace
from trainables.config import TrialConfig
from trainables.config.tree import override

logger = logging.getLogger(f"seldtune.{__name__}")

DRAWN = 64
"""Points of a space that a sweep looks at before it starts."""
_TRIED = 9
"""Of them, those among which parameters are tried for their effect."""


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """What is searched and how: all that a proposal follows from, beside the trials before it."""

    space: SearchSpace
    trials: int
    """To be recorded, over all starts."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Fields that every trial takes, by dotted name."""
    seed: int = 0
    sampler: str = DEFAULT
    """A name of `infra.search.samplers.SAMPLERS`."""
    objectives: tuple[str, ...] = (SELD,)
    """Names of `infra.search.objectives.OBJECTIVES`, the score first."""


def propose(space: SearchSpace, trial: Any, fixed: Mapping[str, Any], seed: int) -> TrialConfig:
    """One config of the space, with the sweep's fixed fields in place, and its seed unless the space sets seeds itself.

    Raises:
        UserError: the fixed fields do not go with what the space suggests, or one of its first points lies outside it.
    """
    config = space.suggest(trial)
    for name, value in trial.params.items():
        # Optuna would run such a point, and refuse it when the study is made again from the trials' records.
        if not contains(trial.distributions[name], value):
            raise UserError(
                f"a first point of space {space.name!r} has {name} = {value!r}, which the space never suggests: "
                f"{trial.distributions[name]}; choose a value of these"
            )
    return override(config, {**fixed, **({} if space.sets_seed else {"training.seed": seed})})


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point of a space: its config, or why there is none."""

    parameters: frozenset[str]
    """Names of what was suggested."""
    config: TrialConfig | None = None
    refusal: str | None = None


@dataclass(frozen=True, kw_only=True)
class Draws:
    """The first points of a space and random ones after them, in order."""

    space: SearchSpace
    points: tuple[Point, ...]
    idle: tuple[str, ...] = ()
    """Parameters that change nothing, since what is fixed takes the place of what they would set."""

    def first(self, count: int) -> Draws:
        """The same as if so many had been drawn."""
        return replace(self, points=self.points[:count])

    @property
    def configs(self) -> list[TrialConfig]:
        """Those that can be built."""
        return [point.config for point in self.points if point.config is not None]

    @property
    def parameters(self) -> list[frozenset[str]]:
        """Of each point that can be built, the names of what was suggested."""
        return [point.parameters for point in self.points if point.config is not None]

    @property
    def refusals(self) -> list[str]:
        """Why the others cannot, one for each."""
        return [point.refusal for point in self.points if point.refusal is not None]

    def require_configs(self) -> list[TrialConfig]:
        """`configs`; a warning counts the points that cannot be built.

        Raises:
            UserError: none can be, with what the first one says.
        """
        configs, refusals = self.configs, self.refusals
        if not configs:
            raise UserError(refusals[0])
        if refusals:
            ((commonest, _),) = Counter(refusals).most_common(1)
            text = f"{len(refusals)} of {len(self.points)} points of space {self.space.name!r}"
            logger.warning("%s cannot be built and will not be started: %s", text, commonest)
        if self.idle:
            logger.warning(
                "%s of space %r: searched, but without effect, since --set replaces the part that it belongs to; fix "
                "or search the part's own field",
                ", ".join(self.idle),
                self.space.name,
            )
        return configs


def points_to_draw(space: SearchSpace) -> int:
    """So many show a sweep what its space holds."""
    return len(space.first) if space.only_first else max(DRAWN, len(space.first))


def draw(space: SearchSpace, fixed: Mapping[str, Any], seed: int, count: int | None = None) -> Draws:
    """So many points, the space's first ones among them; `points_to_draw` where no count is given."""
    study = optuna.create_study(sampler=RandomSampler(seed=seed))
    for start in space.first:
        study.enqueue_trial(start)
    points, trials = [], []
    for _ in range(points_to_draw(space) if count is None else count):
        trial = study.ask()
        trials.append(trial)
        try:
            config, refusal = propose(space, trial, fixed, seed), None
        except UserError as error:
            config, refusal = None, str(error)
        points.append(Point(parameters=frozenset(trial.params), config=config, refusal=refusal))
    idle = _idle(space, [trial.params for trial in trials], fixed, seed) if fixed else ()
    return Draws(space=space, points=tuple(points), idle=idle)


def _idle(
    space: SearchSpace, points: Sequence[Mapping[str, Any]], fixed: Mapping[str, Any], seed: int
) -> tuple[str, ...]:
    """Parameters that no config follows: with another point's value of one, every point has the config that it had."""
    effect: dict[str, bool] = {}
    for point, other in pairwise(points[-_TRIED:]):
        config = _config_at(space, point, fixed, seed)
        for name in point.keys() & other.keys():
            if effect.get(name) or point[name] == other[name] or config is None:
                continue
            changed = _config_at(space, {**point, name: other[name]}, fixed, seed)
            if changed is not None:
                effect[name] = changed != config
    return tuple(sorted(name for name, seen in effect.items() if not seen))


def _config_at(space: SearchSpace, point: Mapping[str, Any], fixed: Mapping[str, Any], seed: int) -> TrialConfig | None:
    """Nothing where the point is none, or cannot be built."""
    try:
        return propose(space, FixedTrial(dict(point)), fixed, seed)
    except (UserError, ValueError):
        return None
