"""Trials as they are compared, with their score at equal epochs (`infra.comparison.compare` says why)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from infra.record.groupings import architecture_of, variant_of
from infra.record.trials import COMPLETE, FAILED, PRUNED, TrialRecord
from infra.search.forecast import Forecasts
from search_spaces.registry import SPACES
from search_spaces.space import GROUPINGS
from trainables.config.tree import from_dict
from trainables.networks.model import count_parameters
from trainables.training.reports import OBJECTIVE


@dataclass(frozen=True, kw_only=True)
class LoadedSweep:
    """A sweep as it lies on storage."""

    name: str
    settings: Mapping[str, Any]
    records: Sequence[TrialRecord]
    tested: Sequence[Mapping[str, Any]] = ()
    """What finals found controls to be worth on the test split (`gains` of their report), where the sweep is theirs."""
    decision: Mapping[str, Any] | None = None
    """What was decided between its variants by what is compared (`infra.finals.decision`)."""

    @property
    def grace_epochs(self) -> int:
        """Epochs before early stopping may judge a trial."""
        space = SPACES.get(str(self.settings.get("space")))
        return 1 if space is None or self.settings.get("stopper") == "none" else space.grace_epochs


@dataclass(frozen=True, kw_only=True)
class ComparedTrial:
    """A trial with all that is derived from its record."""

    sweep: str
    record: TrialRecord = field(repr=False)
    variants: Mapping[str, str]
    """Grouping -> the variant that the trial belongs to."""
    config_key: str
    """What the config says apart from its seed."""
    seed: int
    parameters: int
    score: float | None
    """Best within the first `Comparison.epochs`; None: left out of the comparison."""
    started_at: float
    """When its sweep's first report came, in seconds since 1970."""
    outlook: tuple[float, float, float] | None = None
    """Of a trial that was stopped early: the best SELD that it would have come to by its last epoch, as its curve is
    forecast; the 5 %, 50 % and 95 % quantiles (`infra.search.forecast`)."""

    @property
    def label(self) -> str:
        return f"{self.sweep}/{self.record.number}"

    @property
    def best_score(self) -> float | None:
        """Of any epoch; a failed trial has none, having left no model."""
        best = self.record.best
        return None if best is None or self.record.state == FAILED else best[OBJECTIVE]

    @property
    def seconds(self) -> float:
        return self.record.seconds


def equal_epochs(sweeps: Sequence[LoadedSweep]) -> int:
    """The most epochs that every trial reached which says something about its variant."""
    reached = [
        len(record.reports)
        for sweep in sweeps
        for record in sweep.records
        if record.reports
        and (record.state == COMPLETE or (record.state == PRUNED and len(record.reports) >= sweep.grace_epochs))
    ]
    # None has ended so far: as far as all have come.
    others = [len(record.reports) for sweep in sweeps for record in sweep.records if record.reports]
    return min(reached or others, default=1)


def compared_trials(sweep: LoadedSweep, epochs: int) -> list[ComparedTrial]:
    """The trials of a sweep, with their scores after so many epochs."""
    first = min((r.reports[0].get("at", 0.0) for r in sweep.records if r.reports), default=0.0)
    forecasts = Forecasts.after(sweep.records)
    trials = [_compared_trial(sweep.name, record, epochs, first) for record in sweep.records]
    return [
        replace(trial, outlook=forecasts.of(place).spread())
        if trial.record.state == PRUNED and trial.record.reports
        else trial
        for place, trial in enumerate(trials)
    ]


def _compared_trial(sweep: str, record: TrialRecord, epochs: int, started_at: float) -> ComparedTrial:
    config = record.config
    comparable = record.state != FAILED and len(record.reports) >= epochs
    without_seed = {**config, "training": {k: v for k, v in config["training"].items() if k != "seed"}}
    return ComparedTrial(
        sweep=sweep,
        record=record,
        variants={by: variant_of(record, by) for by in GROUPINGS},
        config_key=json.dumps(without_seed, sort_keys=True),
        seed=int(config["training"]["seed"]),
        parameters=_parameters(architecture_of(config)),
        score=min(report[OBJECTIVE] for report in record.reports[:epochs]) if comparable else None,
        started_at=started_at,
    )


@lru_cache(maxsize=4096)
def _parameters(architecture: str) -> int:
    """Of the network that follows from these parts of a config."""
    return count_parameters(from_dict(json.loads(architecture)))
