"""Which of the suggested parameters a score depends on, over all trials and within each variant.

Two questions, two measures. fANOVA (Hutter et al., 2014): how much of the spread of all scores does a parameter
explain by itself? PED-ANOVA (Watanabe et al., 2023): how much does it matter for being among the best tenth? Both see
only parameters that every trial of a scope has; those that exist in one variant alone are weighed within that variant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import optuna
from optuna.distributions import BaseDistribution, json_to_distribution

from infra.record.trials import TrialRecord

FEWEST_TRIALS = 10
"""Below, a forest of regression trees finds patterns in noise."""
MOST_TRIALS = 160
"""fANOVA takes ten seconds for a thousand trials; beyond these, trials are taken evenly from best to worst."""
EVERYTHING = "all trials"


@dataclass(frozen=True, kw_only=True)
class Importance:
    """Of the parameters that all trials of a scope have, summing up to one."""

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
    names = [name for name in (trials[0][0].params if trials else {}) if _varies(name, trials)]
    if len(trials) < FEWEST_TRIALS or len(names) < 2 or len(scores) < 2:
        return None
    # scikit-learn comes with it, most of a second that a sweep of few trials is spared.
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances

    ordered = sorted(trials, key=lambda trial: trial[1])
    few = [ordered[i * len(ordered) // MOST_TRIALS] for i in range(MOST_TRIALS)] if len(ordered) > MOST_TRIALS else None
    forest = FanovaImportanceEvaluator(n_trees=24, max_depth=32, seed=0)
    spread = get_param_importances(_study(few or ordered), evaluator=forest, params=names)
    top = get_param_importances(_study(ordered), evaluator=PedAnovaImportanceEvaluator(), params=names)
    return Importance(
        scope=scope,
        trials=len(trials),
        spread={name: float(value) for name, value in spread.items()},
        top={name: float(top[name]) for name in spread},
    )


def _varies(name: str, trials: list[tuple[TrialRecord, float]]) -> bool:
    """Whether all trials have the parameter, from one distribution, and not all have the same value."""
    texts = {record.distributions.get(name) for record, _ in trials}
    return len(texts) == 1 and None not in texts and len({record.params[name] for record, _ in trials}) > 1


def _study(trials: list[tuple[TrialRecord, float]]) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="minimize")
    study.add_trials(
        optuna.trial.create_trial(
            value=score,
            params=record.params,
            distributions={name: _distribution(text) for name, text in record.distributions.items()},
        )
        for record, score in trials
    )
    return study


@lru_cache(maxsize=1024)
def _distribution(text: str) -> BaseDistribution:
    return json_to_distribution(text)
