"""A sweep as a start leaves it: finished, interrupted, or out of budget."""

from __future__ import annotations

from dataclasses import dataclass

from data.stores.chunks import Store
from infra.record.folder import SweepStore
from infra.record.trials import FAILED, PRUNED, TrialRecord
from infra.search.evidence import too_little_gain
from infra.sweep.data import SharedData
from infra.sweep.standing import Standing, trials_owed
from infra.tracking.tracker import SweepTracker


@dataclass(frozen=True, kw_only=True)
class SweepOutcome:
    """A sweep as it stands, finished or interrupted."""

    name: str
    records: list[TrialRecord]
    tracker: SweepTracker
    store: Store
    shared: SharedData | None
    """`None` when no trial was left to run."""
    sweep: SweepStore
    finished: bool
    seconds: float
    """Wall-clock time over all starts."""
    used_up: str | None
    """The limit of the budget that ended it, in words; `None`: its trials are done, or enough."""
    enough: str | None
    """Why fewer trials were enough than it had budget for."""

    @property
    def status(self) -> str:
        """What the sweep's run in MLflow ends with."""
        if not self.finished:
            return "KILLED"
        return "FAILED" if all(record.state == FAILED for record in self.records) else "FINISHED"


def outcome_of(standing: Standing, tracker: SweepTracker, shared: SharedData | None, *, finished: bool) -> SweepOutcome:
    """Where the sweep stands after its trials ran, or when none was left to run; trials that are overdue end with it.

    Args:
        finished: whether the search came to its end, uninterrupted.
    """
    records, ledger = standing.records, standing.ledger
    used_up, enough = None, None
    if trials_owed(records, ledger.budget.trials):
        used_up = ledger.used_up()
        if least := ledger.budget.least_gain:
            enough = too_little_gain(records, standing.asked.by, least)
    if finished and used_up:
        _end_overdue(records, standing.sweep, tracker)
    return SweepOutcome(
        name=standing.sweep.name,
        records=records,
        tracker=tracker,
        store=standing.store,
        shared=shared,
        sweep=standing.sweep,
        finished=finished and all(record.ended for record in records),
        seconds=ledger.spent().wall_s,
        used_up=used_up,
        enough=enough,
    )


def _end_overdue(records: list[TrialRecord], sweep: SweepStore, tracker: SweepTracker) -> None:
    """Trials that an earlier start left open, and that the time budget has no room for, end with what they have."""
    for record in records:
        if not record.ended:
            record.state = PRUNED if record.reports else FAILED
            if not record.reports:
                last = record.attempts[-1].error if record.attempts else None
                record.error = f"{last or 'interrupted'} before its first report, and the budget is spent"
            sweep.write(record)
            tracker.update(record)
