"""How the training loop reaches Ray: its place among workers, its data, and where its reports go.

A trial of one worker runs in its trial actor through Ray Train's local mode, one of several in a Ray Train worker
group; the loop is the same and sees only a `trainables.loop.Session`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.distributed as dist
from ray import train, tune

from data.feed import Feed
from data.streamed_split import StreamedSplit, open_feed

KeepGoing = Callable[[int], bool]
"""Told the epoch just reported; answers whether the trial should go on. May block until the answer is known."""


class TrialActorSession:
    """One worker, in the trial's own actor."""

    rank = 0
    world_size = 1

    def __init__(self, keep_going: KeepGoing, streamed: Mapping[str, StreamedSplit]) -> None:
        self._keep_going = keep_going
        self._streamed = streamed
        self.device = train.torch.get_device()

    def feed(self, split: str) -> Feed:
        return _feed(split, self._streamed)

    def report(self, metrics: dict[str, float]) -> bool:
        # Callbacks of Ray Train are not invoked in local mode, so Tune is told directly.
        tune.report(metrics)
        return self._keep_going(int(metrics["epoch"]))

    def sum(self, values: np.ndarray) -> np.ndarray:
        return values


class WorkerGroupSession:
    """One of several workers of a Ray Train worker group with a process group between them."""

    def __init__(self, keep_going: KeepGoing, streamed: Mapping[str, StreamedSplit]) -> None:
        context = train.get_context()
        self.rank: int = context.get_world_rank()
        self.world_size: int = context.get_world_size()
        self.device = train.torch.get_device()
        self._keep_going = keep_going
        self._streamed = streamed

    def feed(self, split: str) -> Feed:
        return _feed(split, self._streamed)

    def report(self, metrics: dict[str, float]) -> bool:
        train.report(metrics)
        return self._keep_going(int(metrics["epoch"]))

    def sum(self, values: np.ndarray) -> np.ndarray:
        tensor = torch.as_tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return tensor.cpu().numpy()


def _feed(split: str, streamed: Mapping[str, StreamedSplit]) -> Feed:
    """A split that is streamed, or what Ray Train hands to this worker of one that is shared: all of it."""
    return open_feed(streamed[split] if split in streamed else train.get_dataset_shard(split))
