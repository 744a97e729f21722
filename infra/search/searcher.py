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
from collections.abc import Callable, Sequence
from typing import Any

from optuna.distributions import distribution_to_json
from ray.tune.search import Searcher

from data.errors import UserError
from infra.record.folder import SweepStore
from infra.record.trials import TrialRecord
from infra.search.driver_only import DriverOnly
from infra.search.objectives import measure
from infra.search.proposals import SearchSettings, propose
from infra.search.study import RecordedStudy
from trainables.config import TrialConfig
from trainables.config.tree import from_dict, to_dict
from trainables.training.reports import OBJECTIVE

logger = logging.getLogger(f"seldtune.{__name__}")

RANDOM_AFTER = 10
"""Refused proposals in a row after which they are drawn at random."""
MAX_REFUSALS = 100
"""Proposals in a row that may be refused before the search gives up."""


class StudySearcher(DriverOnly, Searcher):
    """Suggests until `settings.trials` are recorded, `is_over()` says so, or nothing is left to propose; then, nothing
    while trials still run that may come back, and FINISHED once all have ended.

    Every suggested trial is given back by `tell` when it has ended, or by `again` when it is to run once more.

    Args:
        settings: with a sampler that is known, and objectives that `check_objectives` takes. With two or more of them
            a stopped trial has no values and its reports are not looked at: TPE takes it for a bad one, the others
            leave it out.
        records: of the sweep's earlier starts, in order; new ones are added.
        refuses: why a config is not to be started, or nothing. The same config has to get the same answer each time.
        enough: why these trials are enough, or nothing.
        earlier: ended trials of other sweeps (`infra.search.warm_start`), the same on every start.
    """

    def __init__(
        self,
        settings: SearchSettings,
        store: SweepStore,
        records: list[TrialRecord],
        *,
        is_over: Callable[[], bool],
        refuses: Callable[[TrialConfig], str | None] | None = None,
        enough: Callable[[Sequence[TrialRecord]], str | None] = lambda records: None,
        earlier: Sequence[TrialRecord] = (),
    ) -> None:
        super().__init__(metric=OBJECTIVE, mode="min")
        self._settings = settings
        self._store = store
        self._records = records
        self._is_over = is_over
        self._refuses = refuses or (lambda config: None)
        self._enough = enough
        self.refusals: Counter[str] = Counter()
        """How often this start refused a proposal, by reason."""
        self.given_up: str | None = None
        """Why nothing more is proposed, though there is budget."""
        self._waiting = [r for r in records if not r.ended]
        self._active: set[int] = set()
        self._by_trial_id: dict[str, TrialRecord] = {}
        self._study = RecordedStudy(settings, earlier)
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
        if len(self._records) >= self._settings.trials or self.given_up is not None:
            return None
        if reason := self._enough(self._records):
            logger.info("no more trials are proposed: %s", reason)
            self.given_up = reason
            return None
        return self._ask()

    def _ask(self) -> TrialRecord | None:
        """The next trial, written down; nothing when the search gives up."""
        space = self._settings.space
        noted, number, before = self._study.notes(), len(self._records), self._study.proposed
        while self._study.proposed < before + MAX_REFUSALS:
            if space.only_first and self._study.proposed >= len(space.first):
                self.given_up = f"space {space.name!r} has no more points"
                return None
            # What is refused teaches a sampler nothing; one that is sure of itself would propose it for ever.
            at_random = self._study.proposed >= before + RANDOM_AFTER
            trial = self._study.ask(self._records, at_random)
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
            measures=measure(config, self._settings.objectives),
            sampler={of: what for of, what in notes.items() if what},
        )
        self._store.write(record)
        self._records.append(record)
        return record

    def _configured(self, trial: Any) -> TrialConfig | None:
        """The proposal's config; nothing where it is refused, with the reason counted."""
        asked = self._settings
        try:
            config = propose(asked.space, trial, asked.fixed, asked.seed)
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
