"""The sweep's own record: what was asked, what was told, how each trial ended.

One JSON document for the sweep and one for each trial, each replaced in one atomic write:

    <root>/sweeps/<name>/sweep.json            settings that must not change while the sweep lives
    <root>/sweeps/<name>/trials/00007.json     parameters, reports, state, error
    <root>/sweeps/<name>/work/00007/           the trial's checkpoints and best model (`trainables.checkpoint`)

This record, not Tune's snapshot, the Optuna study or MLflow, is the truth: after any crash the study, the scheduler's
rungs and the MLflow runs are rebuilt from it. Cost: one small write per report, one small read per trial on resume.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from data import storage
from data.errors import UserError
from search_spaces.table1 import PRESET
from trainables.checkpoint import TrialStore, trial_uri
from trainables.loop import OBJECTIVE

RUNNING, COMPLETE, PRUNED, FAILED = "running", "complete", "pruned", "failed"
"""A trial runs, has trained all its epochs, was stopped early, or raised."""


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
    """Metrics of each epoch, in order, each epoch once."""
    error: str | None = None
    budget_spent_s: float = 0.0
    """Wall-clock time the sweep had used at the last report, over all its starts."""

    @property
    def label(self) -> str:
        """What tells the trial from others at a glance: the published system that it is, else its fusion."""
        return str(self.params.get(PRESET) or self.config["fusion"]["name"])

    @property
    def ended(self) -> bool:
        return self.state != RUNNING

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
        self.reports.append(metrics)
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
        return [TrialRecord(**json.loads(storage.read_bytes(f"{self.uri}/trials/{name}"))) for name in names]

    def write(self, record: TrialRecord) -> None:
        storage.write_bytes(f"{self.uri}/trials/{record.number:05d}.json", json.dumps(asdict(record)).encode())


def best_trial(records: Iterable[TrialRecord]) -> TrialRecord | None:
    """The trial with the smallest objective at any of its epochs; failed trials do not count."""
    scored = [r for r in records if r.best is not None and r.state != FAILED]
    return min(scored, key=lambda r: r.best[OBJECTIVE] if r.best else float("inf"), default=None)
