"""The rules by which trials are stopped early, each one entry of a registry.

A rule hears of every report, in the order in which they come, and answers at once with a decision; it knows trials by
their number alone. What it answers follows from those reports and the sweep's seed, so a rule is rebuilt after a crash
by telling it the recorded reports again.

Synchronous HyperBand and anything else that pauses trials is left out: a paused trial keeps others waiting or is torn
from its worker group, while trials here end only by returning. `hyperband` runs its brackets asynchronously instead.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Protocol

import numpy as np
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from data.errors import UserError
from infra.record.trials import TrialRecord
from infra.search.population import Population
from trainables.training.decision import GO_ON, STOP, Decision
from trainables.training.reports import OBJECTIVE


@dataclass(frozen=True, kw_only=True)
class StopperSettings:
    """What rules are made from."""

    max_epochs: int
    """Epochs of the longest trial."""
    grace_epochs: int
    """No trial is stopped before; population-based training decides every so many."""
    reduction: int = 3
    """Successive halving keeps one in this many at each rung."""
    seed: int = 0


class Stopper(Protocol):
    """A rule, and all it remembers."""

    keep_every: int
    """Checkpoints of every so many epochs have to stay for other trials; 0: none."""

    def judge(self, record: TrialRecord, report: Mapping[str, float]) -> Decision:
        """What becomes of a trial after a report. Of the record only what never changes may be used."""
        ...

    def expected_epochs(self, trials: int, concurrency: int) -> float:
        """Epochs of the mean trial in a sweep of so many, with so many at a time, under this rule from the start.

        What the rule remembers does not matter. Whoever stops nothing says the epochs of the longest trial.
        """
        ...


class NoStopper:
    """Every trial trains all its epochs."""

    keep_every = 0

    def __init__(self, settings: StopperSettings) -> None:
        self._max_epochs = settings.max_epochs

    def judge(self, record: TrialRecord, report: Mapping[str, float]) -> Decision:
        return GO_ON

    def expected_epochs(self, trials: int, concurrency: int) -> float:
        return float(self._max_epochs)


class Halving:
    """Asynchronous successive halving (Li et al., 2020) over epochs, in one bracket or in those of HyperBand (2018).

    Bracket s leaves a trial alone for grace x reduction^s epochs. Where there are several, they get shares of the
    trials in proportion to HyperBand's, reduction^s / (s + 1) counted from the laziest one; which bracket a trial
    belongs to follows from its number alone, spread evenly (golden-ratio sequence), so that a resume finds it again.
    """

    keep_every = 0

    def __init__(self, settings: StopperSettings, brackets: int | None) -> None:
        """Nothing for `brackets`: as many as the epochs have room for."""
        self._settings = settings
        grace = min(settings.grace_epochs, settings.max_epochs)
        if brackets is None:
            brackets = 1 + int(math.log(settings.max_epochs / grace) / math.log(settings.reduction) + 1e-9)
        self._brackets = [
            AsyncHyperBandScheduler(
                time_attr="epoch",
                metric=OBJECTIVE,
                mode="min",
                max_t=settings.max_epochs,
                grace_period=grace * settings.reduction**s,
                reduction_factor=settings.reduction,
                stop_last_trials=False,
            )
            for s in range(brackets)
        ]
        lazy = [brackets - 1 - s for s in range(brackets)]
        shares = list(itertools.accumulate(settings.reduction**k / (k + 1) for k in lazy))
        self._bounds = [share / shares[-1] for share in shares]

    def bracket_of(self, number: int) -> int:
        place = (number + 0.5) * (math.sqrt(5) - 1) / 2 % 1.0
        return next(i for i, bound in enumerate(self._bounds) if place < bound)

    def judge(self, record: TrialRecord, report: Mapping[str, float]) -> Decision:
        bracket, trial = self._brackets[self.bracket_of(record.number)], SimpleNamespace(trial_id=record.number)
        bracket.on_trial_add(None, trial)  # says which of its one bracket's trials this is; again does no harm
        verdict = bracket.on_trial_result(None, trial, dict(report))
        return STOP if verdict == TrialScheduler.STOP else GO_ON

    def expected_epochs(self, trials: int, concurrency: int) -> float:
        brackets = len(self._brackets)
        return _simulated_epochs(
            lambda: Halving(self._settings, brackets), self._settings.max_epochs, trials, concurrency
        )


class MedianRule:
    """The median stopping rule (Golovin et al., 2017, section 3.2.2).

    A trial stops when its best objective so far is worse than the median of what the others' objectives were on average
    up to the same epoch. Others are all that have got there, running or ended: waiting for ended ones alone would let
    a first generation of trials run out unjudged. Cost of a report: the number of trials.
    """

    keep_every = 0
    MIN_OTHERS = 3

    def __init__(self, settings: StopperSettings) -> None:
        self._settings = settings
        self._reported: dict[int, list[float]] = {}
        self._averages: dict[int, dict[int, float]] = {}
        """By epoch and trial."""

    def judge(self, record: TrialRecord, report: Mapping[str, float]) -> Decision:
        epoch, reported = int(report["epoch"]), self._reported.setdefault(record.number, [])
        reported.append(report[OBJECTIVE])
        averages = self._averages.setdefault(epoch, {})
        others = list(averages.values())
        averages[record.number] = statistics.fmean(reported)
        if epoch < self._settings.grace_epochs or len(others) < self.MIN_OTHERS:
            return GO_ON
        return STOP if min(reported) > statistics.median(others) else GO_ON

    def expected_epochs(self, trials: int, concurrency: int) -> float:
        return _simulated_epochs(lambda: MedianRule(self._settings), self._settings.max_epochs, trials, concurrency)


# More than that many trials change the mean by less than the draws differ; the cost grows with the square.
_MOST_TRIALS = 128
_DRAWS = 8
_FALL = 3.0
"""The objective's distance to where it ends falls by e^3 over a trial: so the median rule stops as many of these trials
as of the quickstart's recorded ones (`infra/bench/results/quickstart_curves.json.gz`)."""


def _simulated_epochs(new: Callable[[], Stopper], max_epochs: int, trials: int, concurrency: int) -> float:
    """Epochs of the mean trial, by asking a rule about trials of random quality.

    Each trial's objective falls from 1 to its quality. A trial's rank is thus the same at all epochs, which is when
    halving saves least wrongly.
    """
    totals, trials = [], min(trials, _MOST_TRIALS)
    for draw in range(_DRAWS):
        rng, stopper = np.random.default_rng(draw), new()
        records = [TrialRecord(number=number, params={}, distributions={}, config={}) for number in range(trials)]
        waiting = [(record, rng.random()) for record in records]
        running: list[tuple[TrialRecord, float, int]] = []
        spent = 0
        while waiting or running:
            while waiting and len(running) < concurrency:
                running.append((*waiting.pop(0), 0))
            spent += len(running)
            after = []
            for record, quality, done in running:
                objective = quality + (1 - quality) * math.exp(-_FALL * (done + 1) / max_epochs)
                decision = stopper.judge(record, {"epoch": done + 1, OBJECTIVE: objective})
                if decision.go_on and done + 1 < max_epochs:
                    after.append((record, quality, done + 1))
            running = after
        totals.append(spent / trials)
    return statistics.mean(totals)


STOPPERS: dict[str, Callable[[StopperSettings], Stopper]] = {
    "asha": lambda settings: Halving(settings, brackets=1),
    "hyperband": lambda settings: Halving(settings, brackets=None),
    "median": MedianRule,
    "pbt": lambda settings: Population(settings.grace_epochs, settings.seed, settings.max_epochs),
    "none": NoStopper,
}


def unknown_stopper(name: str) -> str | None:
    """What is wrong with a name that no rule has; nothing where one has it."""
    return None if name in STOPPERS else f"{name!r} is not known; choose one of {', '.join(STOPPERS)}"


def check_stopper(name: str) -> None:
    """UserError unless there is a rule of that name."""
    if reason := unknown_stopper(name):
        raise UserError(f"stopper {reason}")


def make_stopper(name: str, settings: StopperSettings) -> Stopper:
    """A rule that remembers nothing yet.

    Raises:
        UserError: there is no rule of that name.
    """
    check_stopper(name)
    return STOPPERS[name](settings)
