"""Samplers that Optuna has."""

from __future__ import annotations

import optuna
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler

from infra.search.optuna_private import NSGA2_GENERATION
from infra.search.samplers.contract import DEFAULT, SAMPLERS, Sampler

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


SAMPLERS.register(Sampler(name=DEFAULT, make=_tpe))
SAMPLERS.register(Sampler(name="random", make=_random))
SAMPLERS.register(Sampler(name="gp", make=_gp, learns_only_shared=True))
SAMPLERS.register(Sampler(name="nsga2", make=_nsga2, learns_only_shared=True))
