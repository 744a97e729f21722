"""Successive halving and HyperBand, both asynchronous."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import ClassVar

from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from infra.record.trials import TrialRecord
from infra.search.stoppers.contract import STOPPERS, Stopper, StopperSettings
from trainables.training.decision import GO_ON, STOP, Decision
from trainables.training.reports import OBJECTIVE


class Halving(Stopper):
    """Asynchronous successive halving (Li et al., 2020) over epochs, in one bracket or in those of HyperBand (2018).

    Bracket s leaves a trial alone for grace x reduction^s epochs. Where there are several, they get shares of the
    trials in proportion to HyperBand's, reduction^s / (s + 1) counted from the laziest one; which bracket a trial
    belongs to follows from its number alone, spread evenly (golden-ratio sequence), so that a resume finds it again.
    """

    holds_against_others = True

    def __init__(self, settings: StopperSettings, brackets: int | None) -> None:
        """`None` for `brackets`: as many as the epochs have room for."""
        super().__init__(settings)
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


@STOPPERS.register
class Asha(Halving):
    """One bracket: every trial may be stopped once its grace is over."""

    name: ClassVar[str] = "asha"

    def __init__(self, settings: StopperSettings) -> None:
        super().__init__(settings, brackets=1)


@STOPPERS.register
class HyperBand(Halving):
    """As many brackets as the epochs have room for."""

    name: ClassVar[str] = "hyperband"

    def __init__(self, settings: StopperSettings) -> None:
        super().__init__(settings, brackets=None)
