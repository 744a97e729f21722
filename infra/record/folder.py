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
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from data import storage
from data.errors import UserError
from data.registry.plugins import identities, loaded
from data.remembered import read_back, read_document
from infra.record.trials import INTERRUPTED, Attempt, TrialRecord

if TYPE_CHECKING:
    from trainables.training.checkpoint import TrialStore

_READERS = 16
"""Trials that are read at a time: S3 answers after tens of milliseconds, and to many as fast as to one."""
_RESTORE = "restore it, or begin anew under another --name"
"""What to do about a broken file: without it a sweep is not what it was."""
FINALS_NAME = "finals.json"
"""In the folder of a sweep of finals, once they have ended."""


class SweepStore:
    """A sweep's folder on storage."""

    def __init__(self, root: str, name: str) -> None:
        self.name = name
        self.uri = f"{root.rstrip('/')}/sweeps/{name}"

    @property
    def work_uri(self) -> str:
        return f"{self.uri}/work"

    def decision_uri(self, by: str) -> str:
        """Where it says what was decided last between its variants by fusion, say."""
        return f"{self.uri}/decided-{by}.json"

    def trial_store(self, number: int) -> TrialStore:
        """Where a trial keeps its checkpoints and best model."""
        from trainables.training.checkpoint import TrialStore, trial_uri  # torch: whoever reads records needs none

        return TrialStore(trial_uri(self.work_uri, number))

    def settings(self) -> dict[str, Any] | None:
        """Settings the sweep was created with; nothing if it does not exist."""
        uri = f"{self.uri}/sweep.json"
        if not storage.exists(uri):
            return None
        with read_back(uri, _RESTORE):
            return {**json.loads(read_document(uri))}

    def check(self, settings: dict[str, Any], space: Mapping[str, Any] | None = None) -> bool:
        """Whether the sweep is there already; refuses to continue it otherwise than it was begun.

        Raises:
            UserError: the sweep exists with other settings; what differs is listed.
        """
        there = self.settings()
        if there is None:
            return False
        # A sweep of an earlier build held all trials against each other; it goes on with whatever is asked for now.
        there = {"by": settings.get("by"), **there}
        different = [
            f"{key}: was {there.get(key)!r}, now {settings.get(key)!r}"
            for key in sorted({*there, *settings})
            if there.get(key) != settings.get(key)
        ]
        if there.get("space_identity") != settings.get("space_identity"):
            told = self._space_differences(space)
            different = [*(line for line in different if not (told and line.startswith("space_identity"))), *told]
        if different:
            raise UserError(
                f"sweep {self.name!r} exists with other settings ({'; '.join(different)}); "
                "repeat them to resume, or choose another --name"
            )
        return True

    def create(self, settings: dict[str, Any], space: Mapping[str, Any] | None = None) -> None:
        """Write down how the sweep is begun; and what decides its points, where that is known as values."""
        if space:
            storage.write_bytes(f"{self.uri}/space.json", json.dumps(space, indent=2).encode())
        storage.write_bytes(f"{self.uri}/sweep.json", json.dumps(settings, indent=2, sort_keys=True).encode())

    def _space_differences(self, now: Mapping[str, Any] | None) -> list[str]:
        """What decides the points otherwise than when the sweep was begun, where that was written down."""
        uri = f"{self.uri}/space.json"
        if not now or not storage.exists(uri):
            return []
        was, new = _leaves(json.loads(read_document(uri))), _leaves(json.loads(json.dumps(now)))
        names = sorted(name for name in was.keys() | new.keys() if was.get(name) != new.get(name))
        return [f"{name}: was {was.get(name)!r}, now {new.get(name)!r}" for name in names]

    def trials(self) -> list[TrialRecord]:
        """All trials, by number."""
        names = sorted(n for n in storage.list_files(f"{self.uri}/trials") if n.endswith(".json"))
        with ThreadPoolExecutor(_READERS) as readers:
            return list(readers.map(lambda name: self.read(f"trials/{name}"), names))

    def read(self, path: str) -> TrialRecord:
        """One trial, from its file below the sweep's folder."""
        uri = f"{self.uri}/{path}"
        with read_back(uri, _RESTORE):
            fields = json.loads(read_document(uri))
            return TrialRecord(**{**fields, "attempts": [Attempt(**attempt) for attempt in fields.get("attempts", [])]})

    def write(self, record: TrialRecord) -> None:
        storage.write_bytes(f"{self.uri}/trials/{record.number:05d}.json", json.dumps(asdict(record)).encode())


def _leaves(value: Any, name: str = "") -> dict[str, Any]:
    """Dotted names and what they hold, of mappings in mappings."""
    if not isinstance(value, dict):
        return {name: value}
    below = (_leaves(of, f"{name}.{key}" if name else key) for key, of in value.items())
    return {leaf: of for leaves in below for leaf, of in leaves.items()}


def require_plugins(sweep: str, settings: Mapping[str, Any]) -> None:
    """UserError unless this process has the plugins that a sweep with these settings was run with."""
    have = identities(loaded())
    for name, identity in settings.get("plugins", {}).items():
        if have.get(name) != identity:
            here = f"here is {have[name]}" if name in have else "which is not here"
            fix = f"give --plugin PATH/{name}"
            raise UserError(f"sweep {sweep!r} was run with plugin {name} ({identity}), {here}: {fix}")


def put_right(records: Iterable[TrialRecord], last_sign: float) -> list[TrialRecord]:
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
