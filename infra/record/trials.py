"""The sweep's own record: what was asked, what was told, how each trial ended.

One JSON document for the sweep and one for each trial, each replaced in one atomic write:

    <root>/sweeps/<name>/sweep.json            settings that must not change while the sweep lives
    <root>/sweeps/<name>/driver.json           who runs it, and how far it is (`infra.record.claim`)
    <root>/sweeps/<name>/trials/00007.json     parameters, reports, attempts, state, error
    <root>/sweeps/<name>/work/00007/           the trial's checkpoints and best model (`trainables.training.checkpoint`)

This record, not Tune's snapshot, the Optuna study or MLflow, is the truth: after any crash the study, the scheduler's
rungs and the MLflow runs are rebuilt from it. Cost: one small write per report, one small read per trial on resume
(some side by side), and in the driver's memory about 3.5 kB a report: 0.2 GB for a thousand trials of fifty epochs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from data import storage
from data.errors import UserError
from search_spaces.space import PRESET
from trainables.training.reports import OBJECTIVE

if TYPE_CHECKING:
    from trainables.training.checkpoint import TrialStore

_READERS = 16
"""Trials that are read at a time: S3 answers after tens of milliseconds, and to many as fast as to one."""

RUNNING, COMPLETE, PRUNED, FAILED = "running", "complete", "pruned", "failed"
"""A trial runs (or is to go on), has trained all its epochs, was stopped early, or has failed for good."""

ENDED, INTERRUPTED = "ended", "interrupted"
"""How an attempt ends that did not fail."""
DIVERGED, OUT_OF_MEMORY, NODE_LOST, RAISED = "diverged", "out of memory", "node lost", "raised"
FAILURES = (DIVERGED, OUT_OF_MEMORY, NODE_LOST, RAISED)
"""How one ends that did, told apart by what can be done about it (`infra.record.failures`)."""


@dataclass
class Attempt:
    """A stretch of time in which a trial held its resources."""

    started_at: float
    """Seconds since 1970."""
    cpus: float = 0.0
    gpus: float = 0.0
    """Of all its workers."""
    seconds: float = 0.0
    """How long it was; while it lasts, as of the record's last write."""
    outcome: str | None = None
    """Nothing while it lasts."""
    error: str | None = None
    """What went wrong, on one line."""


@dataclass
class TrialRecord:
    """All that is known of one trial."""

    number: int
    params: dict[str, Any]
    """What Optuna suggested, by its names."""
    distributions: dict[str, str]
    """The same names' distributions, as Optuna writes them in JSON."""
    config: dict[str, Any]
    """The resulting `TrialConfig`, nested."""
    state: str = RUNNING
    reports: list[dict[str, float]] = field(default_factory=list)
    """Metrics of each epoch, in order, each epoch once; `at` is when the driver had them, in seconds since 1970."""
    error: str | None = None
    """Why it failed for good: a line with the kind and the reason, then the traceback."""
    refused: int = 0
    """Proposals before this one, since the trial before, that could not be run."""
    measures: dict[str, float] = field(default_factory=dict)
    """Objectives beside the score that follow from the config alone, by name."""
    sampler: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the sampler noted with its proposal, of the trial and of the study."""
    budget_spent_s: float = 0.0
    """Wall-clock time the sweep had used at the last report, over all its starts."""
    told_to_stop: bool = False
    """After its last report, by the early stopping or by a spent budget."""
    attempts: list[Attempt] = field(default_factory=list)
    """The first, and one for each time that the trial was taken up again."""
    run_id: str | None = None
    """The trial's run in MLflow, once it is known."""

    @property
    def label(self) -> str:
        """What tells the trial from others at a glance: the published system that it is, else its fusion."""
        return str(self.params.get(PRESET) or self.config["fusion"]["name"])

    @property
    def ended(self) -> bool:
        return self.state != RUNNING

    @property
    def earned_state(self) -> str | None:
        """How a trial ends that has nothing left to do, whether or not its process came to say so."""
        if self.told_to_stop:
            return PRUNED
        done = self.reports and self.reports[-1]["epoch"] >= self.config["training"]["epochs"]
        return COMPLETE if done else None

    @property
    def attempt(self) -> Attempt | None:
        """The one that lasts."""
        return self.attempts[-1] if self.attempts and self.attempts[-1].outcome is None else None

    @property
    def failures(self) -> int:
        """Attempts that failed for what the trial itself did."""
        return sum(attempt.outcome in FAILURES and attempt.outcome != NODE_LOST for attempt in self.attempts)

    @property
    def reason(self) -> str | None:
        """Why it failed, on one line."""
        return self.error.splitlines()[0] if self.error else None

    @property
    def best(self) -> dict[str, float] | None:
        """Metrics of the best epoch."""
        return min(self.reports, key=lambda report: report[OBJECTIVE], default=None)

    @property
    def seconds(self) -> float:
        """Training and evaluation time over all epochs."""
        return sum(report["epoch_s"] for report in self.reports)

    def add_report(self, metrics: dict[str, float]) -> bool:
        """Append an epoch's metrics; False when that epoch is there already (reported again after a resume)."""
        if self.reports and metrics["epoch"] <= self.reports[-1]["epoch"]:
            return False
        # The names are the same in every report, and a report that came from another process brings its own.
        self.reports.append({sys.intern(name): value for name, value in metrics.items()})
        return True


class SweepStore:
    """A sweep's folder on storage."""

    def __init__(self, root: str, name: str) -> None:
        self.name = name
        self.uri = f"{root.rstrip('/')}/sweeps/{name}"

    @property
    def work_uri(self) -> str:
        return f"{self.uri}/work"

    def trial_store(self, number: int) -> TrialStore:
        """Where a trial keeps its checkpoints and best model."""
        from trainables.training.checkpoint import TrialStore, trial_uri  # torch: whoever reads records needs none

        return TrialStore(trial_uri(self.work_uri, number))

    def settings(self) -> dict[str, Any] | None:
        """Settings the sweep was created with; nothing if it does not exist."""
        uri = f"{self.uri}/sweep.json"
        return json.loads(storage.read_bytes(uri)) if storage.exists(uri) else None

    def check(self, settings: dict[str, Any]) -> bool:
        """Whether the sweep is there already; refuses to continue it otherwise than it was begun.

        Raises:
            UserError: the sweep exists with other settings; what differs is listed.
        """
        there = self.settings()
        if there is None:
            return False
        different = [
            f"{key}: was {there.get(key)!r}, now {settings.get(key)!r}"
            for key in sorted({*there, *settings})
            if there.get(key) != settings.get(key)
        ]
        if different:
            raise UserError(
                f"sweep {self.name!r} exists with other settings ({'; '.join(different)}); "
                "repeat them to resume, or choose another --name"
            )
        return True

    def create(self, settings: dict[str, Any]) -> None:
        storage.write_bytes(f"{self.uri}/sweep.json", json.dumps(settings, indent=2, sort_keys=True).encode())

    def trials(self) -> list[TrialRecord]:
        """All trials, by number."""
        names = sorted(n for n in storage.list_files(f"{self.uri}/trials") if n.endswith(".json"))
        with ThreadPoolExecutor(_READERS) as readers:
            return list(readers.map(lambda name: self.read(f"trials/{name}"), names))

    def read(self, path: str) -> TrialRecord:
        """One trial, from its file below the sweep's folder."""
        fields = json.loads(storage.read_bytes(f"{self.uri}/{path}"))
        return TrialRecord(**{**fields, "attempts": [Attempt(**attempt) for attempt in fields.get("attempts", [])]})

    def write(self, record: TrialRecord) -> None:
        storage.write_bytes(f"{self.uri}/trials/{record.number:05d}.json", json.dumps(asdict(record)).encode())


def settle(records: Iterable[TrialRecord], last_sign: float) -> list[TrialRecord]:
    """Bring records in order that a driver left in the middle of things; those that this changed.

    Attempts that it left open have ended with it, and trials that only had not come to say so have ended.

    Args:
        last_sign: when the driver was last known to live, in seconds since 1970.
    """
    changed = []
    for record in records:
        if attempt := record.attempt:
            attempt.seconds = max(attempt.seconds, last_sign - attempt.started_at)
            attempt.outcome = INTERRUPTED
            changed.append(record)
        if not record.ended and (state := record.earned_state):
            record.state = state
            changed.append(record)
    return changed


def best_trial(records: Iterable[TrialRecord]) -> TrialRecord | None:
    """The trial with the smallest objective at any of its epochs; failed trials do not count."""
    scored = [r for r in records if r.best is not None and r.state != FAILED]
    return min(scored, key=lambda r: r.best[OBJECTIVE] if r.best else float("inf"), default=None)
