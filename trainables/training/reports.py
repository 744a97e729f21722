"""What a trial says of itself after each epoch, and by which of its numbers it is judged.

Imports no torch, so that whoever only reads reports need not wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainables.scores.flat import AVERAGES
from trainables.scores.metrics import SCORE_NAMES

OBJECTIVE = "present/SELD"
"""What a trial is judged by, smaller is better: the SELD score over the classes present in the validation rooms."""

LOSS = "val_loss"
"""Of the validation split, as the loss of training is reckoned."""

FOUND = "present/LR"
"""The share of reference events whose class was found at all, in whatever direction."""

LATENCY = "latency_ms"
"""Milliseconds of forward passes for one window of the validation split, at the trial's batch size on its machine."""

REPORT_KEYS = (
    "epoch",
    "train_loss",
    LOSS,
    "lr",
    "windows_per_s",
    "epoch_s",
    "best_epoch",
    LATENCY,
    *(f"{average}/{name}" for average in AVERAGES for name in SCORE_NAMES),
)
"""The numbers of every report."""

REPORT_GROUPS = ("class/", "axes/", "system/", "pbt/")
"""What the names of a report's other numbers begin with: scores of the classes there are, how far azimuth and elevation
of what was matched are off, what a worker used, and what was taken over from another trial."""


def report_of(result: Mapping[str, Any]) -> dict[str, float]:
    """A trial's own report among what Tune adds to it."""
    return {key: value for key, value in result.items() if key in REPORT_KEYS or key.startswith(REPORT_GROUPS)}


class Diverged(RuntimeError):
    """The loss is no longer a number; the message holds the step and the learning rate."""
