"""How the training loop reaches Ray: its place among workers, its rows, and where its reports go.

A trial of one worker runs in its trial actor through Ray Train's local mode, one of several in a Ray Train worker
group; the loop is the same and sees only a `trainables.loop.Session`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from ray import train, tune

from data.stream import rows_of

KeepGoing = Callable[[int], bool]
"""Told the epoch just reported; answers whether the trial should go on. May block until the answer is known."""


class TrialActorSession:
    """One worker, in the trial's own actor."""

    rank = 0
    world_size = 1

    def __init__(self, keep_going: KeepGoing) -> None:
        self._keep_going = keep_going
        self.device = train.torch.get_device()

    def rows(self, split: str) -> list[dict[str, Any]]:
        return rows_of(train.get_dataset_shard(split))

    def report(self, metrics: dict[str, float]) -> bool:
        # Callbacks of Ray Train are not invoked in local mode, so Tune is told directly.
        tune.report(metrics)
        return self._keep_going(int(metrics["epoch"]))

    def sum(self, values: np.ndarray) -> np.ndarray:
        return values


class WorkerGroupSession:
    """One of several workers of a Ray Train worker group with a process group between them."""

    def __init__(self, keep_going: KeepGoing) -> None:
        context = train.get_context()
        self.rank: int = context.get_world_rank()
        self.world_size: int = context.get_world_size()
        self.device = train.torch.get_device()
        self._keep_going = keep_going

    def rows(self, split: str) -> list[dict[str, Any]]:
        return rows_of(train.get_dataset_shard(split))

    def report(self, metrics: dict[str, float]) -> bool:
        train.report(metrics)
        return self._keep_going(int(metrics["epoch"]))

    def sum(self, values: np.ndarray) -> np.ndarray:
        tensor = torch.as_tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return tensor.cpu().numpy()
