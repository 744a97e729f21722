"""What a search paid for its best score: epochs and trial-seconds until it was reached."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from infra.record.trials import TrialRecord
from trainables.training.reports import OBJECTIVE


@dataclass(frozen=True, kw_only=True)
class Step:
    """A point at which the best score so far got better."""

    epochs: int
    seconds: float
    """Trained by all trials together until then; trials side by side add up."""
    score: float


@dataclass(frozen=True, kw_only=True)
class SearchCost:
    """The best score so far over what was spent, trials in the order in which they reported."""

    steps: tuple[Step, ...]
    epochs: int
    seconds: float
    """Spent in all."""
    reached: Step | None
    """Where the score asked for was reached."""

    def as_json(self) -> dict[str, Any]:
        reached = None if self.reached is None else asdict(self.reached)
        return {"epochs": self.epochs, "seconds": self.seconds, "reached": reached}


def search_cost(trials: Iterable[tuple[TrialRecord, float]], target: float) -> SearchCost:
    """Cost until the best score so far is `target` or less; of trials and the time at which their sweep started.

    Sweeps count as if they had started together. Reports without a time keep the order of their trials.
    """
    reports = [
        (report.get("at", started_at) - started_at, record.number, report)
        for record, started_at in trials
        for report in record.reports
    ]
    reports.sort(key=lambda entry: entry[:2])
    steps: list[Step] = []
    seconds = 0.0
    for epochs, (_, _, report) in enumerate(reports, start=1):
        seconds += report["epoch_s"]
        if not steps or report[OBJECTIVE] < steps[-1].score:
            steps.append(Step(epochs=epochs, seconds=seconds, score=report[OBJECTIVE]))
    reached = next((step for step in steps if step.score <= target), None)
    return SearchCost(steps=tuple(steps), epochs=len(reports), seconds=seconds, reached=reached)
