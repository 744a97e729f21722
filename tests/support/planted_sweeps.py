"""Records of sweeps that nobody ran, with scores that can be worked out by hand."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from infra.comparison.trials import LoadedSweep
from infra.record.trials import COMPLETE, TrialRecord
from search_spaces.quickstart import suggest
from trainables.config.tree import to_dict
from trainables.scores.flat import AVERAGES
from trainables.scores.metrics import SCORE_NAMES
from trainables.training.reports import REPORT_KEYS

DISTRIBUTIONS = {
    "fusion": CategoricalDistribution(["audio_only", "av_conformer", "gru", "cmaf"]),
    "depth": IntDistribution(1, 2),
    "schedule": CategoricalDistribution(["one_cycle", "warmup_cosine"]),
    "lr": FloatDistribution(3e-4, 3e-2, log=True),
}
DATA = "5eed" * 16


class Point:
    """A point of the space, as a trial."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    def suggest_categorical(self, name: str, choices: object) -> Any:
        return self.values[name]

    suggest_int = suggest_float = lambda self, name, low, high, log=False: self.values[name]


def trial(
    number: int,
    fusion: str,
    scores: Sequence[float],
    *,
    state: str = COMPLETE,
    seed: int = 0,
    depth: int = 1,
    schedule: str = "one_cycle",
    lr: float = 1e-3,
    epoch_s: float = 2.0,
    classes: Mapping[str, tuple[float, float, float]] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> TrialRecord:
    """A trial with these scores after its epochs, two seconds each; trials come one after another.

    Args:
        classes: name -> F, LE, LR, the same after each epoch.
        extra: parameters that only this variant has, uniform between 0 and 1.
    """
    params = {"fusion": fusion, "depth": depth, "schedule": schedule, "lr": lr}
    config = copy.deepcopy(_config(fusion, depth, schedule))
    config["optimiser"]["lr"], config["training"]["seed"] = lr, seed
    flat = {}
    for name, values in (classes or {}).items():
        flat |= {f"class/{name}/{key}": float(value) for key, value in zip(("F", "LE", "LR"), values, strict=True)}
    reports = []
    for epoch, score in enumerate(scores, start=1):
        report = dict.fromkeys(REPORT_KEYS, 0.5) | {f"{a}/{name}": 0.5 for a in AVERAGES for name in SCORE_NAMES}
        at = 1000.0 + 1000 * number + epoch
        reports.append({**report, "epoch": epoch, "epoch_s": epoch_s, "present/SELD": score, "at": at, **flat})
    distributions = {name: distribution_to_json(DISTRIBUTIONS[name]) for name in params}
    distributions |= {name: distribution_to_json(FloatDistribution(0, 1)) for name in extra or {}}
    return TrialRecord(
        number=number,
        params={**params, **(extra or {})},
        distributions=distributions,
        config=config,
        state=state,
        reports=reports,
    )


@lru_cache
def _config(fusion: str, depth: int, schedule: str) -> dict[str, Any]:
    return to_dict(suggest(Point({"fusion": fusion, "depth": depth, "schedule": schedule, "lr": 1e-3})))


def sweep(records: Sequence[TrialRecord], name: str = "planted", **settings: Any) -> LoadedSweep:
    """A sweep of the quickstart space that holds these trials."""
    known = {"space": "quickstart", "data": DATA, "seed": 0, "stopper": "asha", "fixed": {}, "workers": 1}
    return LoadedSweep(name=name, settings={**known, **settings}, records=records)
