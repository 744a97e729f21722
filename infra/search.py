"""Optuna as Tune's search algorithm, with nothing kept that the sweep's record does not hold.

The study lives in memory and is rebuilt from the trial records on every start. The sampler is seeded anew for each
trial from (sweep seed, trial number), so a resumed sweep suggests what an uninterrupted one would have, given the
same results. Trials that a crash interrupted are handed out first, under their old numbers; they continue from their
checkpoints.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.trial import TrialState
from ray.tune.search import Searcher

from infra.driver_only import DriverOnly
from infra.records import COMPLETE, FAILED, PRUNED, RUNNING, SweepStore, TrialRecord
from search_spaces.space import SearchSpace
from trainables.config import TrialConfig
from trainables.config_tree import from_dict, override, to_dict
from trainables.loop import OBJECTIVE

logger = logging.getLogger(__name__)

STATES = {
    RUNNING: TrialState.RUNNING,
    COMPLETE: TrialState.COMPLETE,
    PRUNED: TrialState.PRUNED,
    FAILED: TrialState.FAIL,
}


def propose(space: SearchSpace, trial: Any, fixed: Mapping[str, Any], seed: int) -> TrialConfig:
    """One config of the space, with the sweep's fixed fields and seed in place.

    Raises:
        UserError: the fixed fields do not go with what the space suggests.
    """
    return override(space.suggest(trial), {**fixed, "training.seed": seed})


def try_out(space: SearchSpace, fixed: Mapping[str, Any], seed: int, samples: int = 64) -> list[TrialConfig]:
    """Sample the space at random, so that a config that cannot be built is refused before anything starts.

    Raises:
        UserError: from the first such config.
    """
    study = _study(optuna.samplers.RandomSampler(seed=seed))
    for start in space.first:
        study.enqueue_trial(start)
    return [propose(space, study.ask(), fixed, seed) for _ in range(samples)]


class StudySearcher(DriverOnly, Searcher):
    """Suggests until `num_trials` are recorded, `is_over()` says so, or nothing is left to continue."""

    def __init__(
        self,
        space: SearchSpace,
        store: SweepStore,
        records: list[TrialRecord],
        *,
        fixed: Mapping[str, Any],
        seed: int,
        num_trials: int,
        is_over: Callable[[], bool],
    ) -> None:
        super().__init__(metric=OBJECTIVE, mode="min")
        self._space = space
        self._store = store
        self._records = records
        self._fixed = dict(fixed)
        self._seed = seed
        self._num_trials = num_trials
        self._is_over = is_over
        self._interrupted = [r for r in records if not r.ended]
        self._by_trial_id: dict[str, TrialRecord] = {}
        self._study = _study()
        for record in records:
            self._study.add_trial(_frozen(record))
        for start in space.first[len(records) :]:
            self._study.enqueue_trial(start)

    def record_of(self, trial_id: str) -> TrialRecord:
        """The record behind Tune's name for a trial."""
        return self._by_trial_id[trial_id]

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self._is_over():
            return Searcher.FINISHED
        if self._interrupted:
            record = self._interrupted.pop(0)
            logger.info("trial %d continues after epoch %d", record.number, len(record.reports))
        elif len(self._records) < self._num_trials:
            record = self._ask()
        else:
            return Searcher.FINISHED
        self._by_trial_id[trial_id] = record
        return {"number": record.number, "config": record.config}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Optuna is told once, when a trial has ended, with all its reports."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing to do: `tell` follows once the record says how the trial ended."""

    def tell(self, record: TrialRecord) -> None:
        """Give an ended trial's reports and result to the study."""
        trial = optuna.trial.Trial(self._study, self._study.trials[record.number]._trial_id)
        for report in record.reports:
            trial.report(report[OBJECTIVE], int(report["epoch"]))
        value = record.best[OBJECTIVE] if record.state == COMPLETE and record.best else None
        self._study.tell(record.number, values=value, state=STATES[record.state])

    def _ask(self) -> TrialRecord:
        number = len(self._records)
        self._study.sampler = _sampler(self._seed, number)
        trial = self._study.ask()
        assert trial.number == number, "the study and the record number trials differently"
        config = propose(self._space, trial, self._fixed, self._seed)
        record = TrialRecord(
            number=number,
            params=dict(trial.params),
            distributions={name: distribution_to_json(d) for name, d in trial.distributions.items()},
            config=to_dict(config),
        )
        self._store.write(record)
        self._records.append(record)
        return record

    def save(self, checkpoint_path: str) -> None:
        """Tune's snapshot holds nothing of ours: the sweep's record does."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a sweep is resumed from its own record, not from Tune's snapshot")


def _sampler(seed: int, number: int) -> optuna.samplers.BaseSampler:
    mixed = (seed * 1_000_003 + number) % 2**32
    return optuna.samplers.TPESampler(seed=mixed, multivariate=True, group=True, n_startup_trials=6)


def _study(sampler: optuna.samplers.BaseSampler | None = None) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(direction="minimize", sampler=sampler)


def _frozen(record: TrialRecord) -> optuna.trial.FrozenTrial:
    """The record as Optuna knows trials."""
    from_dict(record.config)  # a record of another version of the project is refused here, not in a worker
    reports = {int(report["epoch"]): report[OBJECTIVE] for report in record.reports}
    value = None
    if record.state == COMPLETE and record.best:
        value = record.best[OBJECTIVE]
    elif record.state == PRUNED and record.reports:
        value = record.reports[-1][OBJECTIVE]  # as `Study.tell` does
    return optuna.trial.create_trial(
        state=STATES[record.state],
        value=value,
        params=record.params,
        distributions={name: json_to_distribution(text) for name, text in record.distributions.items()},
        intermediate_values=reports if record.ended else {},
    )
