"""The median stopping rule."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import ClassVar

from infra.record.trials import TrialRecord
from infra.search.stoppers.contract import STOPPERS, Stopper, StopperSettings
from trainables.training.decision import GO_ON, STOP, Decision
from trainables.training.reports import OBJECTIVE


@STOPPERS.register
class MedianRule(Stopper):
    """The median stopping rule (Golovin et al., 2017, section 3.2.2).

    A trial stops when its best objective so far is worse than the median of what the others' objectives were on average
    up to the same epoch. Others are all that have got there, running or ended: waiting for ended ones alone would let
    a first generation of trials run out unjudged. Cost of a report: the number of trials.
    """

    name: ClassVar[str] = "median"
    holds_against_others = True
    MIN_OTHERS = 3

    def __init__(self, settings: StopperSettings) -> None:
        super().__init__(settings)
        self._reported: dict[int, list[float]] = {}
        self._averages: dict[int, dict[int, float]] = {}
        """By epoch and trial."""

    def judge(self, record: TrialRecord, report: Mapping[str, float]) -> Decision:
        epoch, reported = int(report["epoch"]), self._reported.setdefault(record.number, [])
        reported.append(report[OBJECTIVE])
        averages = self._averages.setdefault(epoch, {})
        others = list(averages.values())
        averages[record.number] = statistics.fmean(reported)
        if epoch < self.settings.grace_epochs or len(others) < self.MIN_OTHERS:
            return GO_ON
        return STOP if min(reported) > statistics.median(others) else GO_ON
