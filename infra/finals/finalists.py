"""Who goes to the finals, and the space that trains them: every config with every seed, in full."""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Sequence
from dataclasses import replace

from data.errors import UserError
from infra.record.trials import FAILED, TrialRecord
from search_spaces.registry import SPACES
from search_spaces.space import SearchSpace, Trial
from trainables.config import TrialConfig
from trainables.config.tree import fingerprint, from_dict, override, to_dict
from trainables.training.reports import OBJECTIVE

logger = logging.getLogger(f"seldtune.{__name__}")

FINALIST_PARAM, SEED_PARAM = "finalist", "seed"
_BUDGET_S = 30 * 24 * 3600.0


def choose(records: Sequence[TrialRecord], best: int | None, sweep: str) -> list[TrialRecord]:
    """The trials with the best distinct configs by the objective on validation, best first.

    Configs that differ in the seed alone are one. Fewer than asked for, where there are no more; all, for `None`.

    Raises:
        UserError: a trial has not ended, or none has a model.
    """
    running = [record.number for record in records if not record.ended]
    if running:
        raise UserError(f"trial {running[0]} of sweep {sweep!r} has not ended; run `seldtune sweep` to its end first")
    scored = [(record.best[OBJECTIVE], record) for record in records if record.best and record.state != FAILED]
    chosen: dict[str, TrialRecord] = {}
    for _, record in sorted(scored, key=lambda pair: (pair[0], pair[1].number)):
        chosen.setdefault(fingerprint(_with_seed(from_dict(record.config), 0)), record)
    if not chosen:
        raise UserError(f"no trial of sweep {sweep!r} has a model: there is nothing to take to the finals")
    if best is not None and len(chosen) < best:
        logger.warning("sweep %s has %d distinct configs with a model, not %d", sweep, len(chosen), best)
    return list(chosen.values())[:best]


def new_seeds(chosen: Sequence[TrialRecord], count: int) -> tuple[int, ...]:
    """The first seeds that none of them was searched with: a score that was chosen for its luck is not taken again."""
    searched = {from_dict(record.config).training.seed for record in chosen}
    return tuple(itertools.islice((seed for seed in itertools.count() if seed not in searched), count))


def seed_by_seed(configs: Sequence[TrialRecord], seeds: Sequence[int]) -> list[tuple[int, int]]:
    """Every config with every seed, in an order in which more seeds come after those that were trained."""
    return [(record.number, seed) for seed in seeds for record in configs]


def finals_space(
    sweep: str, searched: str, chosen: Sequence[TrialRecord], points: Sequence[tuple[int, int]]
) -> SearchSpace:
    """Configs with their new seeds as fixed points; more may be asked for later, of other configs none.

    Args:
        searched: name of the space that the sweep searched, whose resources are taken.
        points: (number of a chosen trial, seed).
    """
    configs = {record.number: from_dict(record.config) for record in chosen}
    identity = hashlib.sha256("".join(fingerprint(_with_seed(c, 0)) for c in configs.values()).encode()).hexdigest()

    def suggest(trial: Trial) -> TrialConfig:
        number = trial.suggest_categorical(FINALIST_PARAM, list(configs))
        return _with_seed(configs[number], trial.suggest_int(SEED_PARAM, 0, 2**31 - 1))

    resources = SPACES.get(searched)
    return SearchSpace(
        name=f"finals-{sweep}-{identity[:12]}",
        summary=f"the best of {sweep}, with several seeds",
        suggest=suggest,
        first=tuple({FINALIST_PARAM: number, SEED_PARAM: seed} for number, seed in points),
        trials=len(points),
        budget_s=_BUDGET_S,
        grace_epochs=max(config.training.epochs for config in configs.values()),
        reduction=2,
        cpus_per_worker=resources.cpus_per_worker if resources else 1,
        gpus_per_worker=resources.gpus_per_worker if resources else 0.0,
        sets_seed=True,
    )


def _with_seed(config: TrialConfig, seed: int) -> TrialConfig:
    return override(config, {"training.seed": seed})


def closed_twins(chosen: Sequence[TrialRecord], control: str) -> list[TrialRecord]:
    """The finalists that hear and see, as they are with their eyes, or ears, closed.

    Raises:
        UserError: there is none.
    """
    configs = {record.number: from_dict(record.config) for record in chosen}
    open_ones = [r for r in chosen if (c := configs[r.number]).hears and c.sees and c.fusion.closed is None]
    if not open_ones:
        raise UserError(f"--control {control}: no finalist both hears and sees; take more of them with --best")
    return [
        replace(record, config=to_dict(override(configs[record.number], {"fusion.closed": control})))
        for record in open_ones
    ]
