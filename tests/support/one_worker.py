"""The training loop without Ray, on rows that a tiny model learns something from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from data.feeding.feed import HeldRows
from support.learnable_rows import CONFIG, INPUTS, make_rows
from trainables.config import (
    TrialConfig,
)
from trainables.config.tree import override
from trainables.training.checkpoint import TrialStore
from trainables.training.decision import GO_ON, STOP, Decision
from trainables.training.loop import train_trial
from trainables.training.reports import LATENCY

ROWS = {"train": make_rows("train", 6, 0), "val": make_rows("val", 3, 1)}
SHORT = override(CONFIG, {"training.epoch_windows": 8})
"""One step an epoch."""


MEAN, STD = np.zeros((7, 1, INPUTS.n_mels), np.float32), np.ones((7, 1, INPUTS.n_mels), np.float32)


class OneWorker:
    rank, world_size, device = 0, 1, torch.device("cpu")

    def __init__(self, stop_after: int | None = None, decisions: dict[int, Decision] | None = None) -> None:
        self.reports: list[dict[str, float]] = []
        self._stop_after = stop_after
        self._decisions = decisions or {}

    def feed(self, split: str) -> HeldRows:
        return HeldRows(ROWS[split])

    def report(self, metrics: dict[str, float]) -> Decision:
        self.reports.append(metrics)
        told = STOP if metrics["epoch"] == self._stop_after else GO_ON
        return self._decisions.get(int(metrics["epoch"]), told)

    def sum(self, values: np.ndarray) -> np.ndarray:
        return values


def run(
    config: TrialConfig,
    folder: Path,
    stop_after: int | None = None,
    decisions: dict[int, Decision] | None = None,
    attempt: int = 0,
    keep_every: int = 0,
) -> list[dict[str, float]]:
    session = OneWorker(stop_after, decisions)
    train_trial(config, session, TrialStore(str(folder), keep_every), MEAN, STD, {"data": "test"}, attempt)
    return session.reports


def numbers(reports: list[dict[str, float]]) -> list[dict[str, float]]:
    """Reports without what a clock measured."""
    return [{k: v for k, v in report.items() if k not in ("windows_per_s", "epoch_s", LATENCY)} for report in reports]
