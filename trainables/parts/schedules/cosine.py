"""Half a cosine downwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainables.checks import check_share
from trainables.parts.schedules.contract import SCHEDULES, Multiplier, Schedule, half_cosine


@SCHEDULES.register
@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """Half a cosine from the base rate down to `final_fraction` of it."""

    name: ClassVar[str] = "cosine"
    final_fraction: float = 0.01

    def __post_init__(self) -> None:
        check_share(self, "schedule", "final_fraction")

    def multiplier(self, epochs: int, steps_per_epoch: int) -> Multiplier:
        last = epochs * steps_per_epoch - 1
        return lambda step: half_cosine(1.0, self.final_fraction, step / max(1, last))
