"""Constant, then less by a share each epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainables.checks import check
from trainables.parts.schedules.contract import SCHEDULES, Multiplier, Schedule


@SCHEDULES.register
@dataclass(frozen=True, kw_only=True)
class ConstantDecay(Schedule):
    """The paper's: the base rate, and after `constant_epochs` 5 % less each epoch."""

    name: ClassVar[str] = "constant_decay"
    constant_epochs: int = 30
    decay: float = 0.95
    compounding: bool = False
    """As in the authors' release, where the decay multiplies the already decayed rate."""

    def __post_init__(self) -> None:
        check(self.constant_epochs >= 0, "schedule.constant_epochs", self.constant_epochs, "has to be 0 or more")
        check(0.0 < self.decay <= 1.0, "schedule.decay", self.decay, "has to be in (0, 1]")

    def multiplier(self, epochs: int, steps_per_epoch: int) -> Multiplier:
        def at(step: float) -> float:
            # Epochs count from 1; the first decayed one is number constant_epochs + 1.
            decayed = max(0, int(step // steps_per_epoch) + 1 - self.constant_epochs)
            return self.decay ** (decayed * (decayed + 1) // 2 if self.compounding else decayed)

        return at
