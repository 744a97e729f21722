"""Up once, down once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainables.checks import check, check_share
from trainables.parts.schedules.contract import SCHEDULES, Multiplier, Schedule, half_cosine


@SCHEDULES.register
@dataclass(frozen=True, kw_only=True)
class OneCycle(Schedule):
    """Smith's one-cycle: cosine up over `rise_fraction` of the steps, cosine down to almost nothing."""

    name: ClassVar[str] = "one_cycle"
    rise_fraction: float = 0.3
    initial_fraction: float = 0.04
    final_fraction: float = 1e-4

    def __post_init__(self) -> None:
        check(0.0 < self.rise_fraction < 1.0, "schedule.rise_fraction", self.rise_fraction, "has to be in (0, 1)")
        check_share(self, "schedule", "initial_fraction", "final_fraction")

    def multiplier(self, epochs: int, steps_per_epoch: int) -> Multiplier:
        last = epochs * steps_per_epoch - 1
        peak = self.rise_fraction * last

        def at(step: float) -> float:
            if step < peak:
                return half_cosine(self.initial_fraction, 1.0, step / peak)
            return half_cosine(1.0, self.final_fraction, (step - peak) / max(1.0, last - peak))

        return at
