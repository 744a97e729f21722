"""How a sweep stands: computed from its trials' records and what its driver last said, and from nothing else.

The live view of the driver and `seldtune status SWEEP` of any other terminal are the same overview. It costs one pass
over the trials, in which ended ones are looked at once and for all.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from infra.record.budget import HOUR_S
from infra.record.claim import FINISHED, RUNNING, Driver
from infra.record.trials import COMPLETE, ENDED, FAILED, INTERRUPTED, PRUNED, TrialRecord
from trainables.scores.metrics import SCORE_NAMES
from trainables.training.reports import OBJECTIVE

GONE = "gone"
"""Of a sweep whose driver ended without saying so."""
EVENTS = 6
TRIAL_STATES = ("running", COMPLETE, PRUNED, FAILED)


@dataclass(frozen=True, kw_only=True)
class SweepFacts:
    """What only the driver knows; it is in `driver.json`."""

    space: str
    data: str
    """URI of the store."""
    concurrency: int
    trials: int
    wall_s: float
    cpu_hours: float | None
    gpu_hours: float | None
    spent_wall_s: float
    mlflow: str
    """The sweep's page."""
    used_up: str | None = None
    """The limit that is reached, in words."""
    rss_bytes: int = 0
    """Memory of the driver."""
    cluster: dict[str, tuple[float, float]] = field(default_factory=dict)
    """CPU, GPU and object_store_memory (bytes): used, and in all."""
    away: dict[str, float] = field(default_factory=dict)
    """What its driver cannot do now, in words ("writing to http://..."), and since when (seconds since 1970)."""


@dataclass(frozen=True, kw_only=True)
class Spending:
    """One limit of the budget, or an amount without a limit."""

    unit: str
    """trials, s, CPU-hours or GPU-hours."""
    spent: float
    limit: float | None


@dataclass(frozen=True, kw_only=True)
class RunningTrial:
    number: int
    label: str
    attempt: int
    """Counted from 1."""
    epoch: int
    """Done; 0 before the first report."""
    epochs: int
    train_loss: float | None
    objective: float | None
    windows_per_s: float | None
    seconds: float
    """Since this attempt began."""


@dataclass(frozen=True, kw_only=True)
class BestTrial:
    number: int
    label: str
    epoch: int
    params: dict[str, Any]
    scores: dict[str, float]
    """ER, F, LE, LR and SELD over the classes present."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """A trial was stopped, failed, or is tried again."""

    at: float
    number: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Overview:
    """How a sweep stands."""

    name: str
    state: str
    """running, finished, interrupted, failed, or gone."""
    driver: Driver
    facts: SweepFacts
    spending: list[Spending]
    eta_s: float | None
    counts: dict[str, int]
    waiting: int
    """Of those that have begun and not ended, how many hold no resources: not yet, or not any more."""
    running: list[RunningTrial]
    best: BestTrial | None
    events: list[Event]

    def as_json(self) -> dict[str, Any]:
        fields = asdict(self)
        fields["driver"].pop("facts")
        return fields

    def next_step(self) -> str:
        """What to do about it; nothing while it runs well."""
        trials = self.spending[0]
        all_done = trials.limit is not None and trials.spent >= trials.limit
        over = None if all_done else self.facts.used_up
        if self.state == RUNNING:
            return f"the budget of {over} is spent: running trials stop after their next report" if over else ""
        if self.state == FINISHED and over:
            return f"the budget of {over} is spent; the same command with a larger budget goes on"
        if self.state == FINISHED and all_done:
            return "all its trials are done; the same command with more --trials goes on"
        if self.state == FINISHED:
            return "there is no more to try in its space, nothing that can be run, or too little to gain (--least-gain)"
        return "the same command goes on from here"


class Overseer:
    """Makes overviews of one sweep, again and again."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._ended: dict[int, _Digest] = {}

    def look(self, records: Sequence[TrialRecord], driver: Driver, now: float | None = None) -> Overview:
        """The overview now (seconds since 1970).

        Args:
            records: all trials, by number.
        """
        now = time.time() if now is None else now
        facts = SweepFacts(**driver.facts)
        state = driver.state if driver.state != RUNNING or driver.lives else GONE
        counts: Counter[str] = Counter(dict.fromkeys(TRIAL_STATES, 0))
        running: list[RunningTrial] = []
        events: list[Event] = []
        waiting = 0
        cpu_s = gpu_s = progress = 0.0
        best, least = None, math.inf
        until = now if state == RUNNING else driver.beat
        for record in records:
            counts[record.state] += 1
            digest = self._ended.get(record.number) or _digest(record, until)
            if record.ended:
                self._ended[record.number] = digest
                progress += 1.0
            else:
                progress += len(record.reports) / record.config["training"]["epochs"]
                if record.attempt is not None and state == RUNNING:
                    running.append(_running(record, now))
                else:
                    waiting += 1
            cpu_s, gpu_s = cpu_s + digest.cpu_s, gpu_s + digest.gpu_s
            events += digest.events
            if record.state != FAILED and digest.objective < least:
                best, least = record, digest.objective
        wall_s = facts.spent_wall_s + (max(0.0, now - driver.beat) if state == RUNNING else 0.0)
        spending = [
            Spending(unit="trials", spent=sum(counts[name] for name in TRIAL_STATES[1:]), limit=facts.trials),
            Spending(unit="s", spent=wall_s, limit=facts.wall_s),
            Spending(unit="CPU-hours", spent=cpu_s / HOUR_S, limit=facts.cpu_hours),
            Spending(unit="GPU-hours", spent=gpu_s / HOUR_S, limit=facts.gpu_hours),
        ]
        return Overview(
            name=self._name,
            state=state,
            driver=driver,
            facts=facts,
            spending=[one for one in spending if one.limit is not None or (one.unit != "CPU-hours" and one.spent)],
            eta_s=_eta_s(spending, progress, wall_s) if state == RUNNING else None,
            counts=dict(counts),
            waiting=waiting,
            running=running,
            best=None if best is None else _best(best),
            events=sorted(events, key=lambda event: event.at)[-EVENTS:],
        )


@dataclass(frozen=True, kw_only=True)
class _Digest:
    """What an overview takes from one trial."""

    objective: float
    """Of its best epoch; infinite without one."""
    cpu_s: float
    gpu_s: float
    events: list[Event]


def _digest(record: TrialRecord, until: float) -> _Digest:
    """An attempt that lasts is counted until then."""
    events, cpu_s, gpu_s, end = [], 0.0, 0.0, 0.0
    for index, attempt in enumerate(record.attempts):
        seconds = attempt.seconds if attempt.outcome else max(attempt.seconds, until - attempt.started_at)
        cpu_s, gpu_s, end = cpu_s + attempt.cpus * seconds, gpu_s + attempt.gpus * seconds, attempt.started_at + seconds
        if attempt.outcome == INTERRUPTED:
            events.append(Event(at=end, number=record.number, text=INTERRUPTED))
        elif attempt.outcome not in (None, ENDED):
            for_good = record.state == FAILED and index == len(record.attempts) - 1
            verdict = "failed" if for_good else "tried again"
            events.append(Event(at=end, number=record.number, text=f"{verdict}, {attempt.outcome}: {attempt.error}"))
    if record.state == PRUNED:
        why = f": {record.why_stopped}" if record.why_stopped else ""
        text = f"stopped after epoch {len(record.reports)} of {record.config['training']['epochs']}{why}"
        events.append(Event(at=end, number=record.number, text=text))
    objective = record.best[OBJECTIVE] if record.best else math.inf
    return _Digest(objective=objective, cpu_s=cpu_s, gpu_s=gpu_s, events=events)


def _running(record: TrialRecord, now: float) -> RunningTrial:
    report = record.reports[-1] if record.reports else {}
    attempt = record.attempts[-1]
    return RunningTrial(
        number=record.number,
        label=record.label,
        attempt=len(record.attempts),
        epoch=int(report.get("epoch", 0)),
        epochs=record.config["training"]["epochs"],
        train_loss=report.get("train_loss"),
        objective=report.get(OBJECTIVE),
        windows_per_s=report.get("windows_per_s"),
        seconds=max(0.0, now - attempt.started_at),
    )


def _best(record: TrialRecord) -> BestTrial:
    report = record.best
    assert report is not None
    average = OBJECTIVE.split("/")[0]
    return BestTrial(
        number=record.number,
        label=record.label,
        epoch=int(report["epoch"]),
        params=dict(record.params),
        scores={name: report[f"{average}/{name}"] for name in SCORE_NAMES},
    )


def _eta_s(spending: Sequence[Spending], progress: float, wall_s: float) -> float | None:
    """Time until the first limit is reached, each used up at its mean rate so far; nothing before a first epoch.

    Args:
        progress: trials that have ended, and of those that run the share of their epochs that is done.
    """
    left: list[float] = []
    for one in spending if progress else ():
        done = progress if one.unit == "trials" else one.spent
        if one.limit is not None and done > 0 and wall_s > 0:
            left.append(max(0.0, one.limit - done) * wall_s / done)
    return min(left, default=None)
