"""What MLflow's runs hold of a sweep: each is a function of the trials' records alone, so it can be written again.

A metric of a trial has the epoch as its step and the time of its report, whenever it is written. Parameters are what
the trial was started with; what changes while it trains (a learning rate, a donor) is in its reports, hence a metric.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

from mlflow.entities import Metric

from infra.record.trials import COMPLETE, FAILED, PRUNED, RUNNING, TrialRecord
from trainables.config import TrialConfig
from trainables.config.tree import to_flat
from trainables.training.reports import OBJECTIVE

SWEEP_TAG, TRIAL_TAG, KIND_TAG = "seldtune.sweep", "seldtune.trial", "seldtune.kind"
SPACE_TAG = "seldtune.space"
MAX_TAG_LENGTH = 8000
"""Of MLflow, which cuts off the rest of a longer one without a word."""
STATE_TAG, ERROR_TAG, ATTEMPTS_TAG = "seldtune.state", "seldtune.error", "seldtune.attempts"
PARENT_TAG = "mlflow.parentRunId"
PROTOCOL_TAG = "protocol"
SEARCH_PROTOCOL = "search: validation"
RUN_STATUS = {RUNNING: "RUNNING", COMPLETE: "FINISHED", PRUNED: "FINISHED", FAILED: "FAILED"}

EPOCH_METRIC = "epoch"
"""Comes last among a report's metrics: its value tells how many reports a run holds."""
ENDED_METRIC = "trials/ended"


def trial_tags(record: TrialRecord, config: TrialConfig) -> dict[str, str]:
    """What tells a trial's run from others, from its first moment on."""
    return {
        TRIAL_TAG: str(record.number),
        "audio": config.audio.name,
        "visual": config.visual.name,
        "fusion": config.fusion.name,
        "schedule": config.schedule.name,
        "depth": str(config.fusion.depth),
        "seed": str(config.training.seed),
        **_sampled(record),
    }


def _sampled(record: TrialRecord) -> dict[str, str]:
    """What a later sweep needs to go by this trial: each parameter's value, and what it was sampled from."""
    text = json.dumps(
        {
            name: {"value": value, "from": json.loads(record.distributions[name])}
            for name, value in record.params.items()
        }
    )
    return {SPACE_TAG: text} if len(text) <= MAX_TAG_LENGTH else {}


def trial_params(record: TrialRecord, config: TrialConfig) -> dict[str, Any]:
    """Every field of the config by its dotted name, and what was suggested, as `space.<name>`."""
    return {**to_flat(config), **{f"space.{name}": value for name, value in record.params.items()}}


def state_tags(record: TrialRecord) -> dict[str, str]:
    """How the trial stands; the state comes last."""
    attempts = {ATTEMPTS_TAG: str(len(record.attempts))}
    return {**({ERROR_TAG: record.error} if record.error else {}), **attempts, STATE_TAG: record.state}


def report_metrics(reports: Iterable[dict[str, float]]) -> list[Metric]:
    """All numbers of these reports, in order."""
    return [
        Metric(key, float(report[key]), int(report["at"] * 1000), int(report["epoch"]))
        for report in reports
        for key in (*sorted(report.keys() - {"at", EPOCH_METRIC}), EPOCH_METRIC)
    ]


def best_metrics(record: TrialRecord) -> list[Metric]:
    """Scores of an ended trial's best epoch, as `best/<score>`, at that epoch and its time."""
    best = record.best
    if best is None:
        return []
    at_ms, step = int(best["at"] * 1000), int(best["epoch"])
    return [Metric(f"best/{key}", float(value), at_ms, step) for key, value in best.items() if "/" in key]


class Progress:
    """How the whole sweep stands, a point for each trial that ended.

    Args:
        written: points that the sweep's run holds already; these are not made again.
    """

    def __init__(self, written: int = 0) -> None:
        self._written = written
        self._states: dict[int, str] = {}
        self._ended: set[int] = set()
        self._best_of_ended = float("inf")
        self._best = float("inf")
        self.last_report_s = 0.0
        """When the latest report was made, in seconds since 1970; 0 before the first."""

    @property
    def ended(self) -> int:
        return len(self._ended)

    def live(self) -> dict[str, float]:
        """Trials that run, and the best objective at any epoch of any trial."""
        running = float(sum(state == RUNNING for state in self._states.values()))
        best = {"system/best_so_far": self._best} if self._best < float("inf") else {}
        return {"system/trials_running": running, **best}

    def add(self, records: Iterable[TrialRecord]) -> list[Metric]:
        """Take in records as they are now; the points of those that ended, in the order in which they did.

        The step of a point is the number of ended trials, its time that of the trial's last report.
        """
        points: list[Metric] = []
        for record in sorted(records, key=lambda record: record.budget_spent_s):
            self._states[record.number] = record.state
            at_s = record.reports[-1]["at"] if record.reports else time.time()
            if record.reports:
                self.last_report_s = max(self.last_report_s, at_s)
            score = record.best[OBJECTIVE] if record.best and record.state != FAILED else float("inf")
            self._best = min(self._best, score)
            if record.ended and record.number not in self._ended:
                self._ended.add(record.number)
                self._best_of_ended = min(self._best_of_ended, score)
                if self.ended > self._written:
                    points += self._point(record, int(at_s * 1000))
        return points

    def _point(self, record: TrialRecord, at_ms: int) -> list[Metric]:
        states = Counter(self._states[number] for number in self._ended)
        values = {f"trials/{state}": float(states[state]) for state in (COMPLETE, PRUNED, FAILED)}
        values["budget/spent_s"] = record.budget_spent_s
        if self._best_of_ended < float("inf"):
            values[f"best/{OBJECTIVE}"] = self._best_of_ended
        values[ENDED_METRIC] = float(self.ended)
        return [Metric(key, value, at_ms, self.ended) for key, value in values.items()]
