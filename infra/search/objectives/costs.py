"""The score, and what a model costs."""

from __future__ import annotations

import statistics

from infra.record.trials import TrialRecord
from infra.search.objectives.contract import OBJECTIVES, SELD, Objective
from trainables.networks.model import count_parameters
from trainables.training.reports import LATENCY, OBJECTIVE


def _score(record: TrialRecord) -> float | None:
    return None if record.best is None else record.best[OBJECTIVE]


def _latency_ms(record: TrialRecord) -> float | None:
    """The middle one of all epochs: the first has everything to warm up."""
    measured = [report[LATENCY] for report in record.reports if LATENCY in report]
    return statistics.median(measured) if measured else None


OBJECTIVES.register(Objective(name=SELD, summary="SELD score of the best epoch", of_record=_score))
OBJECTIVES.register(
    Objective(
        name="parameters",
        summary="parameters of the model",
        of_record=lambda record: record.measures.get("parameters"),
        of_config=lambda config: float(count_parameters(config)),
    )
)
OBJECTIVES.register(
    Objective(name="latency", summary="ms of forward passes for a window of validation", of_record=_latency_ms)
)
