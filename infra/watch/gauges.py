"""A sweep among Ray's metrics, which Prometheus reads from the driver's node: `ray_seldtune_...`, by sweep."""

from __future__ import annotations

from ray.util import metrics

from infra.watch.overview import Overview
from trainables.scores.metrics import SCORE_NAMES

SCORE = SCORE_NAMES[-1]


class SweepGauges:
    """What a dashboard shows of a sweep. Needs a running Ray."""

    def __init__(self, sweep: str) -> None:
        self._sweep = sweep
        self._best = self._gauge("best_seld", "Best SELD of the validation rooms so far, over the classes present.")
        self._trials = self._gauge("trials", "Trials by state.", "state")
        self._spent = self._gauge("budget_spent_ratio", "Of the budget's limit that is nearest.")
        self._pending = self._gauge("tracking_pending", "Trials, facts and files that MLflow has not taken yet.")

    def _gauge(self, name: str, description: str, *tags: str) -> metrics.Gauge:
        gauge = metrics.Gauge(f"seldtune_{name}", description=description, tag_keys=("sweep", *tags))
        return gauge.set_default_tags({"sweep": self._sweep})

    def show(self, overview: Overview, pending: int) -> None:
        """How it stands, with so much waiting for MLflow."""
        if overview.best is not None:
            self._best.set(overview.best.scores[SCORE])
        for state, count in overview.counts.items():
            self._trials.set(count, tags={"state": state})
        self._spent.set(max(spending.spent / spending.limit for spending in overview.spending if spending.limit))
        self._pending.set(pending)
