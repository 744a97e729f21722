"""A sweep's trials as Optuna's study: in memory, rebuilt from their records, and then just as it was before.

A study numbers what it is given: trials of earlier sweeps, then each proposal in turn, those that were refused too. A
sweep's own numbers count its trials alone; where a trial stands in the study is known here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import json_to_distribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from infra.record.trials import COMPLETE, FAILED, PRUNED, RUNNING, TrialRecord
from infra.search.objectives import values_of
from infra.search.optuna_private import note_of_study, notes_of_study, notes_of_trial, trial_id
from infra.search.proposals import SearchSettings
from infra.search.samplers import FIRST_GENERATION, SAMPLERS, Known, make_sampler
from trainables.training.reports import OBJECTIVE

STATES = {
    RUNNING: TrialState.RUNNING,
    COMPLETE: TrialState.COMPLETE,
    PRUNED: TrialState.PRUNED,
    FAILED: TrialState.FAIL,
}


class RecordedStudy:
    """What a sampler goes by.

    Args:
        settings: with a sampler that is known, and objectives that `check_objectives` takes.
        earlier: ended trials of other sweeps, the same on every start.
    """

    def __init__(self, settings: SearchSettings, earlier: Sequence[TrialRecord] = ()) -> None:
        self._sampler = settings.sampler
        self._objectives = settings.objectives
        self._seed = settings.seed
        self._space = settings.space
        self._earlier = list(earlier)
        self._study = optuna.create_study(directions=["minimize"] * len(settings.objectives))
        self._ids: dict[int, int] = {}
        """Optuna's id of each trial of the sweep, by its number."""
        self.proposed = 0
        """Proposals made so far, over all starts."""
        for record in earlier:
            self._study.add_trial(self._frozen(record, FIRST_GENERATION))

    def restore(self, record: TrialRecord) -> None:
        """Put a trial where it was in the study that proposed it."""
        for _ in range(record.refused):
            self._study.add_trial(create_trial(state=TrialState.FAIL))
        self._study.add_trial(self._frozen(record, record.sampler.get("trial", {})))
        for key, value in record.sampler.get("study", {}).items():
            note_of_study(self._study, key, value)
        self._ids[record.number] = trial_id(self._trials()[-1])
        self.proposed += record.refused + 1

    def ask(self, records: Sequence[TrialRecord], at_random: bool = False) -> optuna.Trial:
        """The next proposal: a first point, else what a sampler with a seed of its own says, or one that just draws.

        Args:
            records: the sweep's trials as they are now.
        """
        seed = (self._seed * 1_000_003 + self.proposed) % 2**32
        self._study.sampler = RandomSampler(seed=seed) if at_random else make_sampler(self._sampler, seed)
        choose = SAMPLERS[self._sampler].choose
        if self.proposed < len(self._space.first):
            self._study.enqueue_trial(dict(self._space.first[self.proposed]))
        elif choose is not None and not at_random:
            known = Known(space=self._space, records=[*self._earlier, *records], seed=seed)
            self._study.enqueue_trial(dict(choose(known)))
        self.proposed += 1
        return self._study.ask()

    def refuse(self, trial: optuna.Trial) -> None:
        """A proposal that does not become a trial."""
        self._study.tell(trial, state=TrialState.FAIL)

    def accept(self, trial: optuna.Trial, number: int) -> None:
        """A proposal becomes the trial of this number."""
        self._ids[number] = trial_id(trial)

    def notes(self) -> dict[str, Any]:
        """What samplers noted of the study as a whole, e.g. the parents of each generation."""
        return notes_of_study(self._study)

    def notes_of(self, number: int) -> dict[str, Any]:
        """What the sampler noted of a trial; without it, another start would take the trial for a different one."""
        return notes_of_trial(self._study, self._ids[number])

    def tell(self, record: TrialRecord) -> None:
        """How a trial ended. Cost: its own reports, however many trials there are."""
        state, values, reports = self._outcome(record)
        trial = optuna.Trial(self._study, self._ids[record.number])
        for epoch, value in reports.items():
            trial.report(value, epoch)
        self._study.tell(trial, values if state == TrialState.COMPLETE else None, state)

    def trials(self) -> dict[int, FrozenTrial]:
        """The sweep's trials as Optuna has them, by number."""
        by_id = {trial_id(trial): trial for trial in self._trials()}
        return {number: by_id[id_] for number, id_ in self._ids.items()}

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _outcome(self, record: TrialRecord) -> tuple[TrialState, list[float] | None, dict[int, float]]:
        """State, values and reports by epoch. A complete trial without a value for each objective is a failed one."""
        state = STATES[record.state]
        if not record.ended:
            return state, None, {}
        values = values_of(record, self._objectives) if state == TrialState.COMPLETE else None
        if state == TrialState.COMPLETE and values is None:
            state = TrialState.FAIL
        if len(self._objectives) > 1:
            return state, values, {}  # Optuna takes reports of one objective only
        reports = {int(report["epoch"]): report[OBJECTIVE] for report in record.reports}
        if state == TrialState.PRUNED and reports:
            values = [list(reports.values())[-1]]  # as `Study.tell` does
        return state, values, reports

    def _frozen(self, record: TrialRecord, notes: Mapping[str, Any]) -> FrozenTrial:
        state, values, reports = self._outcome(record)
        return create_trial(
            state=state,
            values=values,
            params=record.params,
            distributions={name: json_to_distribution(text) for name, text in record.distributions.items()},
            intermediate_values=reports,
            system_attrs=dict(notes),
        )
