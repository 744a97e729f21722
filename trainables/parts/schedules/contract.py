"""What a learning-rate schedule is, and the registry of them."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable

from data.registry.parts import Registry
from trainables.parts.contract import Part

Multiplier = Callable[[float], float]
"""Step, counted from 0 over all epochs -> what the base rate is multiplied by."""


class Schedule(Part):
    """How the rate moves over the steps; register with `@SCHEDULES.register`."""

    @abstractmethod
    def multiplier(self, epochs: int, steps_per_epoch: int) -> Multiplier:
        """A pure function of the step, so that a resumed trial needs no state of it.

        Steps past the end get the last value.

        Args:
            epochs: of the whole run.
            steps_per_epoch: optimiser steps in one.
        """


def half_cosine(start: float, stop: float, progress: float) -> float:
    """From `start` to `stop` as progress goes from 0 to 1; constant outside."""
    return stop + (start - stop) * 0.5 * (1.0 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))


SCHEDULES: Registry[type[Schedule]] = Registry(
    "schedule", Schedule, order=("constant_decay", "cosine", "one_cycle", "warmup_cosine")
)
