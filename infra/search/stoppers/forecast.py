"""Early stopping by what a trial is forecast to come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from infra.record.trials import FAILED, TrialRecord
from infra.search.forecast import Forecasts
from infra.search.stoppers.contract import STOPPERS, Stopper, StopperSettings
from trainables.training.decision import GO_ON, STOP, Decision


@STOPPERS.register
class ByForecast(Stopper):
    """Stops a trial whose chance to end better than each of the others is small (`infra.search.forecast`).

    Others are those in full, by what they came to, and those that go on, by what they are forecast to come to. Cost of
    a report: a forecast of each that goes on.
    """

    name: ClassVar[str] = "forecast"
    holds_against_others = True
    looks_at_loss = True
    LEAST_CHANCE = 0.1

    def __init__(self, settings: StopperSettings) -> None:
        super().__init__(settings)
        self._forecasts = Forecasts()
        self._others: dict[int, TrialRecord] = {}
        """All that it has not stopped."""

    def judge(self, record: TrialRecord, report: Mapping[str, float]) -> Decision:
        number = record.number
        self._forecasts.hear(number, record.config, report)
        self._others[number] = record
        own = self._forecasts.of(number)
        if self._forecasts.curve(number).is_full or int(report["epoch"]) < self.settings.grace_epochs:
            return GO_ON
        chances = {}
        for other, its in self._others.items():
            if other == number or its.state == FAILED:
                continue
            rival = self._forecasts.of(other)
            in_full = self._forecasts.curve(other).is_full
            chances[other] = own.chance_below(rival.quantile(0.5)) if in_full else own.chance_below_that_of(rival)
        if not chances:
            return GO_ON
        best = min(chances, key=chances.__getitem__)
        if chances[best] >= self.LEAST_CHANCE:
            return GO_ON
        del self._others[number]
        low, median, high = own.spread()
        return replace(
            STOP,
            chance=chances[best],
            why=f"it would come to {median:.3f} ({low:.3f} to {high:.3f}), better than trial {best} with a chance of "
            f"{chances[best]:.1%}",
        )
