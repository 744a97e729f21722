"""What MLflow has not taken yet of a sweep: put here by the driver, taken by the thread that writes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from mlflow.entities import Metric

from infra.record.trials import TrialRecord
from infra.tracking.contents import Progress
from infra.tracking.outbox import Outbox

SAMPLE_EVERY_S = 10.0


@dataclass(frozen=True)
class Waiting:
    """A trial to be written: its record as it was handed over, and the live one, which is told the run's id."""

    record: TrialRecord
    live: TrialRecord


class Pending:
    """All that the two halves of a tracker share; whoever reads or changes more of it than the outbox holds `changed`.

    Args:
        written: points of the sweep's progress that its run holds already.
    """

    def __init__(self, outbox: Outbox, written: int, first_pause_s: float) -> None:
        self.changed = threading.Condition()
        self.outbox = outbox
        """Facts and files, for the sweep's run or a trial's."""
        self.held: set[int] = set()
        """Entries of the outbox for trials that had no run when they were looked at."""
        self.waiting: dict[int, Waiting] = {}
        """Trials by number, the one that waits for longest first."""
        self.progress = Progress(written)
        self.points: list[Metric] = []
        """Of the progress."""
        self.samples: list[list[Metric]] = []
        """Of the cluster's use."""
        self.sample: Callable[[], dict[str, float]] | None = None
        self.sample_every_s = SAMPLE_EVERY_S
        self.busy = False
        """Whether the thread writes."""
        self.closing = False
        """Whether the thread is to end."""
        self.retry_at = 0.0
        """When a server that was away is asked again, on the monotonic clock."""
        self.pause_s = first_pause_s
        """After which, if it is away still, it is asked once more."""

    @property
    def idle(self) -> bool:
        """Whether nothing is left to be written."""
        return not (self.busy or self.waiting or self.points or self.samples or len(self.outbox))

    @property
    def counts(self) -> dict[str, int]:
        """By what waits."""
        return {"trials": len(self.waiting), "facts and files": len(self.outbox)}

    @property
    def can_write(self) -> bool:
        """Whether something waits that could be written now."""
        return bool(self.waiting or self.points or self.samples or len(self.outbox) > len(self.held))
