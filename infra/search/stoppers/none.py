"""No early stopping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from infra.record.trials import TrialRecord
from infra.search.stoppers.contract import STOPPERS, Stopper
from trainables.training.decision import GO_ON, Decision


@STOPPERS.register
class NoStopper(Stopper):
    """Every trial trains all its epochs."""

    name: ClassVar[str] = "none"

    def judge(self, record: TrialRecord, report: Mapping[str, float]) -> Decision:
        return GO_ON

    def expected_epochs(self, trials: int, concurrency: int) -> float:
        return float(self.settings.max_epochs)
