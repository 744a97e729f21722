"""Which of the suggested parameters a score depends on, over all trials and within each variant.

Two questions, two measures. fANOVA (Hutter et al., 2014): how much of the spread of all scores does a parameter
explain by itself? PED-ANOVA (Watanabe et al., 2023): how much does it matter for being among the best tenth? Both take
parameters that every trial has. A trial without one that others have is given a value of it at random, on which its
score does not depend: were such a parameter left out, the others would share what it explains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import optuna
from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.samplers import RandomSampler

from infra.record.trials import TrialRecord

FEWEST_TRIALS = 10
"""Below, a forest of regression trees finds patterns in noise."""
MOST_TRIALS = 160
"""fANOVA takes ten seconds for a thousand trials; beyond these, trials are taken evenly from best to worst."""
EVERYTHING = "all trials"


@dataclass(frozen=True, kw_only=True)
class Importance:
    """Of the parameters that vary among the trials of a scope, summing up to one."""

    scope: str
    """`EVERYTHING` or a variant."""
    trials: int
    spread: dict[str, float]
    """By fANOVA, the largest first."""
    top: dict[str, float]
    """By PED-ANOVA, of the same parameters."""


def importances(trials: Sequence[tuple[TrialRecord, str, float | None]]) -> list[Importance]:
    """Over all trials, then over those of each variant; scopes with too few trials or parameters are left out.

    Args:
        trials: record, variant and score (smaller is better; trials without one do not count).
    """
    scored = [(record, variant, score) for record, variant, score in trials if score is not None]
    scopes = {EVERYTHING: [(record, score) for record, _, score in scored]}
    for record, variant, score in scored:
        scopes.setdefault(variant, []).append((record, score))
    found = [_importance(scope, members) for scope, members in scopes.items()]
    return [importance for importance in found if importance is not None]


def _importance(scope: str, trials: list[tuple[TrialRecord, float]]) -> Importance | None:
    scores = {score for _, score in trials}
    names = [
        name for name in dict.fromkeys(name for record, _ in trials for name in record.params) if _varies(name, trials)
    ]
    if len(trials) < FEWEST_TRIALS or len(names) < 2 or len(scores) < 2:
        return None
    # scikit-learn comes with it, most of a second that a sweep of few trials is spared.
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances

    ordered = sorted(trials, key=lambda trial: trial[1])
    few = [ordered[i * len(ordered) // MOST_TRIALS] for i in range(MOST_TRIALS)] if len(ordered) > MOST_TRIALS else None
    forest = FanovaImportanceEvaluator(n_trees=24, max_depth=32, seed=0)
    spread = get_param_importances(_study(few or ordered, names), evaluator=forest, params=names)
    top = get_param_importances(_study(ordered, names), evaluator=PedAnovaImportanceEvaluator(), params=names)
    return Importance(
        scope=scope,
        trials=len(trials),
        spread={name: float(value) for name, value in spread.items()},
        top={name: float(top[name]) for name in spread},
    )


def _varies(name: str, trials: list[tuple[TrialRecord, float]]) -> bool:
    """Whether all trials that have the parameter have it from one distribution, and not all the same value."""
    having = [record for record, _ in trials if name in record.params]
    texts = {record.distributions.get(name) for record in having}
    return len(texts) == 1 and None not in texts and len({record.params[name] for record in having}) > 1


def _study(trials: list[tuple[TrialRecord, float]], names: Sequence[str]) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {
        name: _distribution(record.distributions[name])
        for record, _ in trials
        for name in names
        if name in record.params
    }
    drawn = optuna.create_study(sampler=RandomSampler(seed=0))
    study = optuna.create_study(direction="minimize")
    for record, score in trials:
        missing = {name: own for name, own in distributions.items() if name not in record.params}
        params = drawn.ask(missing).params | {name: record.params[name] for name in names if name in record.params}
        study.add_trial(optuna.trial.create_trial(value=score, params=params, distributions=distributions))
    return study


@lru_cache(maxsize=1024)
def _distribution(text: str) -> BaseDistribution:
    return json_to_distribution(text)
