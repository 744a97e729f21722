"""How the training loop reaches Ray: its place among workers, its data, and where its reports go.

A trial of one worker runs in its trial actor through Ray Train's local mode, one of several in a Ray Train worker
group; the loop is the same and sees only a `trainables.training.loop.Session`.

A report is handed over (`trainables.training.worker`) and the loop waits only for the decision: `tune.report` returns
when the driver has dealt with everything that a report brings about, and Ray Train's own way from a worker group waits
for every worker and then for the controller's next look at them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.distributed as dist
from ray import train

from data.feeding.feed import Feed
from data.feeding.streamed_split import StreamedSplit, open_feed
from trainables.training.decision import Decision
from trainables.training.usage import Usage

KeepGoing = Callable[[int], Decision]
"""Told the epoch just reported; answers how the trial should go on. May block until the answer is known."""

HandOver = Callable[[dict[str, float]], None]
"""Takes a report on its way to Tune."""


class _RaySession:
    """What both kinds of session do alike."""

    def __init__(self, keep_going: KeepGoing, streamed: Mapping[str, StreamedSplit], hand_over: HandOver) -> None:
        self._keep_going = keep_going
        self._streamed = streamed
        self._hand_over = hand_over
        self._usage = Usage()
        self.device: torch.device = train.torch.get_device()

    def feed(self, split: str) -> Feed:
        """A split that is streamed, or what Ray Train hands to this worker of one that is shared: all of it."""
        return open_feed(self._streamed[split] if split in self._streamed else train.get_dataset_shard(split))

    def _tell(self, metrics: dict[str, float]) -> Decision:
        """Hand a report over and wait for the decision."""
        self._hand_over({**metrics, **self._usage()})
        return self._keep_going(int(metrics["epoch"]))


class TrialActorSession(_RaySession):
    """One worker, in the trial's own actor."""

    rank = 0
    world_size = 1

    def report(self, metrics: dict[str, float]) -> Decision:
        return self._tell(metrics)

    def sum(self, values: np.ndarray) -> np.ndarray:
        return values


class WorkerGroupSession(_RaySession):
    """One of several workers of a Ray Train worker group with a process group between them."""

    def __init__(self, keep_going: KeepGoing, streamed: Mapping[str, StreamedSplit], hand_over: HandOver) -> None:
        super().__init__(keep_going, streamed, hand_over)
        context = train.get_context()
        self.rank: int = context.get_world_rank()
        self.world_size: int = context.get_world_size()

    def report(self, metrics: dict[str, float]) -> Decision:
        # One asks for all, so that no worker goes on while another stops.
        decision = [self._tell(metrics) if self.rank == 0 else None]
        dist.broadcast_object_list(decision, src=0)
        assert decision[0] is not None
        return decision[0]

    def sum(self, values: np.ndarray) -> np.ndarray:
        tensor = torch.as_tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return tensor.cpu().numpy()
