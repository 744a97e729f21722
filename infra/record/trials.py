"""What is known of a trial: what was suggested, what it reported, how each attempt at it ended, and which was best."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from search_spaces.space import PRESET
from trainables.training.reports import OBJECTIVE

RUNNING, COMPLETE, PRUNED, FAILED = "running", "complete", "pruned", "failed"
"""A trial runs (or is to go on), has trained all its epochs, was stopped early, or has failed for good."""

ENDED, INTERRUPTED = "ended", "interrupted"
"""How an attempt ends that did not fail."""
DIVERGED, OUT_OF_MEMORY, NODE_LOST, RAISED = "diverged", "out of memory", "node lost", "raised"
FAILURES = (DIVERGED, OUT_OF_MEMORY, NODE_LOST, RAISED)
"""How one ends that did, told apart by what can be done about it (`infra.record.failures`)."""


@dataclass
class Attempt:
    """A stretch of time in which a trial held its resources."""

    started_at: float
    """Seconds since 1970."""
    cpus: float = 0.0
    gpus: float = 0.0
    """Of all its workers."""
    seconds: float = 0.0
    """How long it was; while it lasts, as of the record's last write."""
    outcome: str | None = None
    """Nothing while it lasts."""
    error: str | None = None
    """What went wrong, on one line."""


@dataclass
class TrialRecord:
    """All that is known of one trial."""

    number: int
    params: dict[str, Any]
    """What Optuna suggested, by its names."""
    distributions: dict[str, str]
    """The same names' distributions, as Optuna writes them in JSON."""
    config: dict[str, Any]
    """The resulting `TrialConfig`, nested."""
    state: str = RUNNING
    reports: list[dict[str, float]] = field(default_factory=list)
    """Metrics of each epoch, in order, each epoch once; `at` is when the driver had them, in seconds since 1970."""
    error: str | None = None
    """Why it failed for good: a line with the kind and the reason, then the traceback."""
    refused: int = 0
    """Proposals before this one, since the trial before, that could not be run."""
    measures: dict[str, float] = field(default_factory=dict)
    """Objectives beside the score that follow from the config alone, by name."""
    sampler: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the sampler noted with its proposal, of the trial and of the study."""
    budget_spent_s: float = 0.0
    """Wall-clock time the sweep had used at the last report, over all its starts."""
    told_to_stop: bool = False
    """After its last report, by the early stopping or by a spent budget."""
    why_stopped: str = ""
    """For people, where it was told to stop."""
    attempts: list[Attempt] = field(default_factory=list)
    """The first, and one for each time that the trial was taken up again."""
    run_id: str | None = None
    """The trial's run in MLflow, once it is known."""

    @property
    def label(self) -> str:
        """What tells the trial from others at a glance: the published system that it is, else its fusion."""
        return str(self.params.get(PRESET) or self.config["fusion"]["name"])

    @property
    def ended(self) -> bool:
        return self.state != RUNNING

    @property
    def earned_state(self) -> str | None:
        """How a trial ends that has nothing left to do, whether or not its process came to say so."""
        if self.told_to_stop:
            return PRUNED
        done = self.reports and self.reports[-1]["epoch"] >= self.config["training"]["epochs"]
        return COMPLETE if done else None

    @property
    def attempt(self) -> Attempt | None:
        """The one that lasts."""
        return self.attempts[-1] if self.attempts and self.attempts[-1].outcome is None else None

    @property
    def failures(self) -> int:
        """Attempts that failed for what the trial itself did."""
        return sum(attempt.outcome in FAILURES and attempt.outcome != NODE_LOST for attempt in self.attempts)

    @property
    def reason(self) -> str | None:
        """Why it failed, on one line."""
        return self.error.splitlines()[0] if self.error else None

    @property
    def best(self) -> dict[str, float] | None:
        """Metrics of the best epoch."""
        return min(self.reports, key=lambda report: report[OBJECTIVE], default=None)

    @property
    def seconds(self) -> float:
        """Training and evaluation time over all epochs."""
        return sum(report["epoch_s"] for report in self.reports)

    def add_report(self, metrics: dict[str, float]) -> bool:
        """Append an epoch's metrics; False when that epoch is there already (reported again after a resume)."""
        if self.reports and metrics["epoch"] <= self.reports[-1]["epoch"]:
            return False
        # The names are the same in every report, and a report that came from another process brings its own.
        self.reports.append({sys.intern(name): value for name, value in metrics.items()})
        return True


def best_trial(records: Iterable[TrialRecord]) -> TrialRecord | None:
    """The trial with the smallest objective at any of its epochs; failed trials do not count."""
    scored = [r for r in records if r.best is not None and r.state != FAILED]
    return min(scored, key=lambda r: r.best[OBJECTIVE] if r.best else float("inf"), default=None)
