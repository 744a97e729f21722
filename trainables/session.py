"""How the training loop reaches Ray: its place among workers, its data, and where its reports go.

A trial of one worker runs in its trial actor through Ray Train's local mode, one of several in a Ray Train worker
group; the loop is the same and sees only a `trainables.loop.Session`.

A report is put into a queue, from which a thread in the trial actor hands it to Tune: `tune.report` returns only when
the driver has dealt with everything that a report brings about, and Ray Train's own way from a worker group waits for
every worker and then for the controller's next look at them. The loop waits only for the decision.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from ray import train, tune

from data.feed import Feed
from data.streamed_split import StreamedSplit, open_feed
from trainables.decision import Decision
from trainables.usage import Usage

KeepGoing = Callable[[int], Decision]
"""Told the epoch just reported; answers how the trial should go on. May block until the answer is known."""


class ReportQueue(Protocol):
    """What `queue.Queue` and Ray's queue between processes have in common."""

    def put(self, item: Any) -> None: ...

    def get(self) -> Any: ...


Queue = TypeVar("Queue", bound=ReportQueue)


@contextmanager
def relayed(reports: Queue) -> Iterator[Queue]:
    """In a trial actor: hand to Tune, in order, what is put into the queue; all of it by the end of the block."""

    errors: list[BaseException] = []

    def relay() -> None:
        try:
            while (metrics := reports.get()) is not None:
                tune.report(metrics)
        except BaseException as error:  # Tune ends a thread by SystemExit
            errors.append(error)

    # A daemon: Tune may end the actor while a trial trains, and must not wait for reports that will never come.
    thread = threading.Thread(target=relay, daemon=True)
    thread.start()
    try:
        yield reports
    finally:
        reports.put(None)
        thread.join()
    if errors:
        raise errors[0]


class _RaySession:
    """What both kinds of session do alike."""

    def __init__(self, keep_going: KeepGoing, streamed: Mapping[str, StreamedSplit], reports: ReportQueue) -> None:
        self._keep_going = keep_going
        self._streamed = streamed
        self._reports = reports
        self._usage = Usage()
        self.device: torch.device = train.torch.get_device()

    def feed(self, split: str) -> Feed:
        """A split that is streamed, or what Ray Train hands to this worker of one that is shared: all of it."""
        return open_feed(self._streamed[split] if split in self._streamed else train.get_dataset_shard(split))

    def _tell(self, metrics: dict[str, float]) -> Decision:
        """Hand a report over and wait for the decision."""
        self._reports.put({**metrics, **self._usage()})
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

    def __init__(self, keep_going: KeepGoing, streamed: Mapping[str, StreamedSplit], reports: ReportQueue) -> None:
        super().__init__(keep_going, streamed, reports)
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
