"""A linear rise, then half a cosine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainables.checks import check, check_share
from trainables.parts.schedules.contract import SCHEDULES, Multiplier, Schedule, half_cosine


@SCHEDULES.register
@dataclass(frozen=True, kw_only=True)
class WarmupCosine(Schedule):
    """Linear warm-up over `warmup_fraction` of the steps, then half a cosine to `final_fraction`."""

    name: ClassVar[str] = "warmup_cosine"
    warmup_fraction: float = 0.1
    final_fraction: float = 0.01

    def __post_init__(self) -> None:
        check(0.0 < self.warmup_fraction < 1.0, "schedule.warmup_fraction", self.warmup_fraction, "has to be in (0, 1)")
        check_share(self, "schedule", "final_fraction")

    def multiplier(self, epochs: int, steps_per_epoch: int) -> Multiplier:
        last = epochs * steps_per_epoch - 1
        warmup = max(1.0, self.warmup_fraction * (last + 1))

        def at(step: float) -> float:
            if step + 1 < warmup:
                return (step + 1) / warmup
            return half_cosine(1.0, self.final_fraction, (step + 1 - warmup) / max(1.0, last + 1 - warmup))

        return at
