"""What a sweep may spend and what it has spent: trials, time on the clock, and time of CPUs and GPUs.

CPU- and GPU-hours count what trials hold: the seconds of every attempt, whether it ended, was stopped, failed or was
interrupted, times the processors of all its workers. They are in the trials' records, so a resumed sweep knows them. Of
an attempt that died with its driver, what is known is counted: until the driver's last sign of life.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from data.errors import UserError
from infra.record.trials import Attempt, TrialRecord

if TYPE_CHECKING:
    from trainables.training.resources import TrialResources

HOUR_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits over all starts of a sweep; the first that is reached ends it.

    Time and hours end a sweep gracefully: running trials stop after their next report, so each may go over by an epoch.
    """

    trials: int
    wall_s: float
    cpu_hours: float | None = None
    gpu_hours: float | None = None
    least_gain: float | None = None
    """No trial is begun while ten more are expected to better the best objective by less (`infra.search.evidence`)."""

    def check(self) -> None:
        """UserError where trials or time leave nothing to do."""
        if self.trials < 1 or not self.wall_s > 0:
            raise UserError(f"a budget of {self.trials} trials and {self.wall_s:g} s leaves nothing to do; raise it")
        if self.least_gain is not None and not 0 < self.least_gain < 1:
            raise UserError(f"--least-gain {self.least_gain:g}: has to be a SELD between 0 and 1, such as 0.002")

    def check_hours(self, resources: TrialResources) -> None:
        """UserError where hours leave nothing to do, or count what no trial uses."""
        for option, hours in (("--cpu-hours", self.cpu_hours), ("--gpu-hours", self.gpu_hours)):
            if hours is not None and not 0 < hours < math.inf:
                raise UserError(f"{option} {hours:g} leaves nothing to do; raise it, or leave it out for no limit")
        if self.gpu_hours is not None and not resources.gpus_per_worker:
            raise UserError(
                f"--gpu-hours {self.gpu_hours:g}, but trials use no GPU; say how many a worker gets with --gpus, or "
                "limit --cpu-hours"
            )


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What a sweep has used, over all its starts."""

    wall_s: float = 0.0
    cpu_hours: float = 0.0
    gpu_hours: float = 0.0


class Ledger:
    """Keeps the account while a sweep runs; asking it costs no more for a thousand trials than for one.

    Args:
        wall_s: time on the clock that earlier starts used.
        clock: seconds since 1970.
    """

    def __init__(
        self, budget: Budget, records: Iterable[TrialRecord], wall_s: float, clock: Callable[[], float] = time.time
    ) -> None:
        self.budget = budget
        self._clock = clock
        self._wall_s = wall_s
        self._since: float | None = None
        self._cpu_s = self._gpu_s = 0.0
        self._open: list[Attempt] = []
        for record in records:
            for attempt in record.attempts:
                self._count(attempt)

    def start(self) -> None:
        """Time on the clock counts from now on."""
        self._since = self._clock()

    def begin(self, record: TrialRecord, cpus: float, gpus: float) -> None:
        """A trial has got its resources."""
        attempt = Attempt(started_at=self._clock(), cpus=cpus, gpus=gpus)
        record.attempts.append(attempt)
        self._open.append(attempt)

    def measure(self, record: TrialRecord) -> None:
        """Bring the record up to date with what was used so far."""
        record.budget_spent_s = self.spent().wall_s
        if attempt := record.attempt:
            attempt.seconds = self._length(attempt)

    def end(self, record: TrialRecord, outcome: str, error: str | None = None) -> None:
        """A trial has given its resources back. One that never got any is noted as an attempt of no length."""
        if record.attempt is None:
            self.begin(record, 0.0, 0.0)
        self.measure(record)
        attempt = record.attempts[-1]
        attempt.outcome, attempt.error = outcome, error
        self._open.remove(attempt)
        self._count(attempt)

    def spent(self) -> Spent:
        wall_s = self._wall_s + (0.0 if self._since is None else max(0.0, self._clock() - self._since))
        cpu_s = self._cpu_s + sum(attempt.cpus * self._length(attempt) for attempt in self._open)
        gpu_s = self._gpu_s + sum(attempt.gpus * self._length(attempt) for attempt in self._open)
        return Spent(wall_s=wall_s, cpu_hours=cpu_s / HOUR_S, gpu_hours=gpu_s / HOUR_S)

    def used_up(self) -> str | None:
        """The limit that is reached, in words; trials, which the searcher counts, are no part of it."""
        spent, budget = self.spent(), self.budget
        if spent.wall_s >= budget.wall_s:
            return f"{budget.wall_s:g} s"
        if budget.cpu_hours is not None and spent.cpu_hours >= budget.cpu_hours:
            return f"{budget.cpu_hours:g} CPU-hours"
        if budget.gpu_hours is not None and spent.gpu_hours >= budget.gpu_hours:
            return f"{budget.gpu_hours:g} GPU-hours"
        return None

    def _length(self, attempt: Attempt) -> float:
        return max(0.0, self._clock() - attempt.started_at)

    def _count(self, attempt: Attempt) -> None:
        self._cpu_s += attempt.cpus * attempt.seconds
        self._gpu_s += attempt.gpus * attempt.seconds
