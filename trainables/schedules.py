"""Learning-rate schedules as pure functions of the step, so that a resumed trial needs no state of theirs.

Each maker takes its config entry, the epochs of the whole run and the optimiser steps in one, and returns
step (from 0) -> multiplier of the base rate. Steps past the end get the last value.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from trainables.config import ConstantDecay, Cosine, OneCycle, Schedule, WarmupCosine

Multiplier = Callable[[float], float]


def _constant_decay(config: ConstantDecay, epochs: int, steps_per_epoch: int) -> Multiplier:
    def at(step: float) -> float:
        # Epochs count from 1; the first decayed one is number constant_epochs + 1.
        decayed = max(0, int(step // steps_per_epoch) + 1 - config.constant_epochs)
        return config.decay ** (decayed * (decayed + 1) // 2 if config.compounding else decayed)

    return at


def _cosine(config: Cosine, epochs: int, steps_per_epoch: int) -> Multiplier:
    last = epochs * steps_per_epoch - 1
    return lambda step: _half_cosine(1.0, config.final_fraction, step / max(1, last))


def _one_cycle(config: OneCycle, epochs: int, steps_per_epoch: int) -> Multiplier:
    last = epochs * steps_per_epoch - 1
    peak = config.rise_fraction * last

    def at(step: float) -> float:
        if step < peak:
            return _half_cosine(config.initial_fraction, 1.0, step / peak)
        return _half_cosine(1.0, config.final_fraction, (step - peak) / max(1.0, last - peak))

    return at


def _warmup_cosine(config: WarmupCosine, epochs: int, steps_per_epoch: int) -> Multiplier:
    last = epochs * steps_per_epoch - 1
    warmup = max(1.0, config.warmup_fraction * (last + 1))

    def at(step: float) -> float:
        if step + 1 < warmup:
            return (step + 1) / warmup
        return _half_cosine(1.0, config.final_fraction, (step + 1 - warmup) / max(1.0, last + 1 - warmup))

    return at


def _half_cosine(start: float, stop: float, progress: float) -> float:
    return stop + (start - stop) * 0.5 * (1.0 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))


SCHEDULE_MAKERS: dict[str, Callable[[Any, int, int], Multiplier]] = {
    ConstantDecay.name: _constant_decay,
    Cosine.name: _cosine,
    OneCycle.name: _one_cycle,
    WarmupCosine.name: _warmup_cosine,
}


def make_schedule(config: Schedule, total_epochs: int, steps_per_epoch: int) -> Multiplier:
    """The multiplier of the base rate at each step, for the entry that `config` is."""
    return SCHEDULE_MAKERS[config.name](config, total_epochs, steps_per_epoch)
