"""Optuna as Tune's search algorithm, with nothing kept that the sweep's record does not hold.

The study (`infra.search.study`) lives in memory and is rebuilt from the trial records on every start. A sampler is made
anew for each proposal, seeded from (sweep seed, number of the proposal), so a resumed sweep suggests what an
uninterrupted one would have, given the same results. A proposal that cannot be run is told to the study as failed and
never becomes a trial: the numbers of trials have no gaps, and a record says how many proposals were refused before it.
Trials that a crash interrupted, or that are to run again, are handed out first, under their old numbers; they continue
from their checkpoints.

Cost of a proposal: one sampler's, which looks at all ended trials (`infra.search.samplers`); of telling: the trial's
own reports, however many trials there are.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optuna.distributions import distribution_to_json
from optuna.samplers import RandomSampler
from ray.tune.search import Searcher

from data.errors import UserError
from infra.record.trials import SweepStore, TrialRecord
from infra.search.driver_only import DriverOnly
from infra.search.objectives import SELD, check_objectives, measure
from infra.search.samplers import DEFAULT, check_sampler
from infra.search.study import RecordedStudy, new_study
from search_spaces.space import SearchSpace
from trainables.config import TrialConfig
from trainables.config.tree import from_dict, override, to_dict
from trainables.training.reports import OBJECTIVE

logger = logging.getLogger(f"seldtune.{__name__}")

RANDOM_AFTER = 10
"""Refused proposals in a row after which they are drawn at random."""
MAX_REFUSALS = 100
"""Proposals in a row that may be refused before the search gives up."""


def propose(space: SearchSpace, trial: Any, fixed: Mapping[str, Any], seed: int) -> TrialConfig:
    """One config of the space, with the sweep's fixed fields in place, and its seed unless the space sets seeds itself.

    Raises:
        UserError: the fixed fields do not go with what the space suggests.
    """
    return override(space.suggest(trial), {**fixed, **({} if space.sets_seed else {"training.seed": seed})})


def try_out(space: SearchSpace, fixed: Mapping[str, Any], seed: int, samples: int = 64) -> list[TrialConfig]:
    """The space's first points and random ones, as far as they can be built; a warning counts those that cannot.

    Raises:
        UserError: none can be, with what the first one says.
    """
    study = new_study(RandomSampler(seed=seed))
    for start in space.first:
        study.enqueue_trial(start)
    configs, refusals = [], Counter[str]()
    for _ in range(len(space.first) if space.only_first else max(samples, len(space.first))):
        try:
            configs.append(propose(space, study.ask(), fixed, seed))
        except UserError as error:
            refusals[str(error)] += 1
    if not configs:
        raise UserError(next(iter(refusals)))
    if refusals:
        tried = len(configs) + refusals.total()
        text = f"{refusals.total()} of {tried} points of space {space.name!r} cannot be built and will not be started"
        logger.warning("%s: %s", text, refusals.most_common(1)[0][0])
    return configs


class StudySearcher(DriverOnly, Searcher):
    """Suggests until `num_trials` are recorded, `is_over()` says so, or nothing is left to propose; then, nothing while
    trials still run that may come back, and FINISHED once all have ended.

    Every suggested trial is given back by `tell` when it has ended, or by `again` when it is to run once more.

    Args:
        records: of the sweep's earlier starts, in order; new ones are added.
        fixed: fields that every trial takes, by dotted name.
        sampler: a name of `infra.search.samplers.SAMPLERS`.
        objectives: names of `infra.search.objectives.OBJECTIVES`, the score first. With two or more, a stopped trial
            has no values and its reports are not looked at: TPE takes it for a bad one, the others leave it out.
        refuses: why a config is not to be started, or nothing. The same config has to get the same answer each time.
        earlier: ended trials of other sweeps (`infra.search.warm_start`), the same on every start.

    Raises:
        UserError: an unknown sampler or objective, or a sampler that can learn nothing in this space.
    """

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
        sampler: str = DEFAULT,
        objectives: Sequence[str] = (SELD,),
        refuses: Callable[[TrialConfig], str | None] | None = None,
        earlier: Sequence[TrialRecord] = (),
    ) -> None:
        super().__init__(metric=OBJECTIVE, mode="min")
        check_objectives(objectives)
        drawn = check_sampler(sampler, space)
        if drawn:
            logger.info("sampler %s draws at random what not all trials have: %s", sampler, ", ".join(drawn))
        self._space = space
        self._store = store
        self._records = records
        self._fixed = dict(fixed)
        self._seed = seed
        self._num_trials = num_trials
        self._is_over = is_over
        self._objectives = tuple(objectives)
        self._refuses = refuses or (lambda config: None)
        self.refusals: Counter[str] = Counter()
        """How often this start refused a proposal, by reason."""
        self.given_up: str | None = None
        """Why nothing more is proposed, though there is budget."""
        self._waiting = [r for r in records if not r.ended]
        self._active: set[int] = set()
        self._by_trial_id: dict[str, TrialRecord] = {}
        self._study = RecordedStudy(sampler, objectives, seed, space.first, earlier)
        for record in records:
            from_dict(record.config)  # a record of another version of the project is refused here, not in a worker
            self._study.restore(record)

    def record_of(self, trial_id: str) -> TrialRecord:
        """The record behind Tune's name for a trial."""
        return self._by_trial_id[trial_id]

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        record = None if self._is_over() else self._next()
        if record is None:
            return None if self._active else Searcher.FINISHED
        self._active.add(record.number)
        self._by_trial_id[trial_id] = record
        # A trial that failed by itself gets another chance with other random numbers.
        attempt = {"attempt": record.failures} if record.failures else {}
        return {"number": record.number, "config": record.config, **attempt}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Optuna is told once, when a trial has ended, with all its reports."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing to do: `tell` follows once the record says how the trial ended."""

    def tell(self, record: TrialRecord) -> None:
        """Give an ended trial's reports and result to the study."""
        self._active.discard(record.number)
        self._study.tell(record)

    def again(self, record: TrialRecord) -> None:
        """Hand a running trial out once more, before any other, in place of telling how it ended."""
        assert not record.ended, "a trial that has ended does not run again"
        self._active.discard(record.number)
        self._waiting.insert(0, record)

    def _next(self) -> TrialRecord | None:
        if self._waiting:
            record = self._waiting.pop(0)
            logger.info("trial %d continues after epoch %d", record.number, len(record.reports))
            return record
        return self._ask() if len(self._records) < self._num_trials and self.given_up is None else None

    def _ask(self) -> TrialRecord | None:
        """The next trial, written down; nothing when the search gives up."""
        noted, number, before = self._study.notes(), len(self._records), self._study.proposed
        while self._study.proposed < before + MAX_REFUSALS:
            if self._space.only_first and self._study.proposed >= len(self._space.first):
                self.given_up = f"space {self._space.name!r} has no more points"
                return None
            # What is refused teaches a sampler nothing; one that is sure of itself would propose it for ever.
            trial = self._study.ask(at_random=self._study.proposed >= before + RANDOM_AFTER)
            config = self._configured(trial)
            if config is not None:
                break
            self._study.refuse(trial)
        else:
            reasons = "; ".join(f"{reason} ({count} times)" for reason, count in self.refusals.most_common(3))
            self.given_up = f"{MAX_REFUSALS} proposals in a row cannot be run: {reasons}"
            logger.error("no more trials are proposed: %s", self.given_up)
            return None
        self._study.accept(trial, number)
        notes = {
            "trial": self._study.notes_of(number),
            "study": {key: value for key, value in self._study.notes().items() if key not in noted},
        }
        record = TrialRecord(
            number=number,
            params=dict(trial.params),
            distributions={name: distribution_to_json(d) for name, d in trial.distributions.items()},
            config=to_dict(config),
            refused=self._study.proposed - before - 1,
            measures=measure(config, self._objectives),
            sampler={of: what for of, what in notes.items() if what},
        )
        self._store.write(record)
        self._records.append(record)
        return record

    def _configured(self, trial: Any) -> TrialConfig | None:
        """The proposal's config; nothing where it is refused, with the reason counted."""
        try:
            config = propose(self._space, trial, self._fixed, self._seed)
            reason = self._refuses(config)
        except UserError as error:
            reason = str(error)
        if reason is None:
            return config
        if reason not in self.refusals:
            logger.warning("a proposal cannot be run and is not started: %s", reason)
        self.refusals[reason] += 1
        return None

    def save(self, checkpoint_path: str) -> None:
        """Tune's snapshot holds nothing of ours: the sweep's record does."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a sweep is resumed from its own record, not from Tune's snapshot")
