"""Population-based training of optimiser and schedule (Jaderberg et al., 2017), as decisions on trials that go on.

Every `interval` epochs a trial among the worst quarter of its population goes on with the weights of one among the best
quarter (exploit), and with that one's optimiser and schedule, slightly changed (explore): the rate and each number of
the schedule by a factor of 0.8 or 1.25. Nothing is stopped; the budget in trials is spent in full.

A population is the trials whose configs differ in nothing but optimiser and schedule, however many of them run at the
same time. It is asynchronous: nobody waits. A trial is compared with what the others had reached by the same epoch:
their report of that epoch, or of the last interval before it where they are not there yet. Trials that run later can
thus take over from ended ones, for which checkpoints of every `interval` epochs stay on storage. While fewer than four
trials can be compared, none is the worst quarter, and each goes on with its own.

What a trial takes over is random by (seed, its number, epoch) alone. Cost of a report: the number of trials.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from data.errors import UserError
from infra.record.trials import TrialRecord
from infra.search.stoppers.contract import STOPPERS, Stopper, StopperSettings
from trainables.config.tree import from_dict
from trainables.training.decision import GO_ON, Decision, TakeOver
from trainables.training.learner import EXCHANGED, kinship
from trainables.training.reports import OBJECTIVE

QUANTILE = 0.25
FACTORS = (0.8, 1.25)

Parts = dict[str, dict[str, Any]]


@STOPPERS.register
class Population(Stopper):
    """Decides who takes over from whom; knows by what each trial trains now."""

    name: ClassVar[str] = "pbt"

    def __init__(self, settings: StopperSettings) -> None:
        super().__init__(settings)
        self.keep_every = settings.grace_epochs
        self._kinships: dict[int, str] = {}
        self._parts: dict[int, Parts] = {}
        """What each trial goes by now."""
        self._scores: dict[str, dict[int, dict[int, float]]] = {}
        """By population, trial and epoch."""
        self._asked: dict[int, tuple[int, Parts]] = {}
        """The last take-over each trial was asked for: after which epoch, and to go on with what."""

    def expected_epochs(self, trials: int, concurrency: int) -> float:
        return float(self.settings.max_epochs)

    def judge(self, record: TrialRecord, report: Mapping[str, float]) -> Decision:
        number, epoch = record.number, int(report["epoch"])
        if number not in self._kinships:
            self._kinships[number] = kinship(from_dict(record.config))
            self._parts[number] = {part: record.config[part] for part in EXCHANGED}
        if number in self._asked and report.get("pbt/epoch") == self._asked[number][0]:
            self._parts[number] = self._asked[number][1]  # it says that it did
        if epoch % self.keep_every:
            return GO_ON
        population = self._scores.setdefault(self._kinships[number], {})
        population.setdefault(number, {})[epoch] = report[OBJECTIVE]
        if epoch >= record.config["training"]["epochs"]:
            return GO_ON
        reached = {
            other: max(earlier)
            for other, scores in population.items()
            if (earlier := [scored for scored in scores if scored <= epoch])
        }
        ranked = sorted(reached, key=lambda other: (population[other][reached[other]], other))
        quarter = int(len(ranked) * QUANTILE)
        # Who took over after that very epoch no longer has the weights that it was measured with.
        donors = [o for o in ranked[:quarter] if self._asked.get(o, (0,))[0] != reached[o]]
        if number not in ranked[len(ranked) - quarter :] or not donors:
            return GO_ON
        rng = np.random.default_rng((self.settings.seed, number, epoch))
        donor = donors[int(rng.integers(len(donors)))]
        changes = _explored(record.config, self._parts[donor], rng)
        self._asked[number] = (epoch, changes)
        return Decision(take_over=TakeOver(donor=donor, donor_epoch=reached[donor], changes=changes))


def _explored(config: Mapping[str, Any], parts: Parts, rng: np.random.Generator) -> Parts:
    """The parts with their rate and the schedule's numbers changed, as far as they may be."""
    explored = copy.deepcopy(parts)
    optimiser, schedule = explored["optimiser"], explored["schedule"]
    numbers = [(schedule, name) for name, value in schedule.items() if isinstance(value, float)]
    for fields, name in [(optimiser, "lr"), *numbers]:
        before, fields[name] = fields[name], fields[name] * float(rng.choice(FACTORS))
        try:
            from_dict({**config, **explored})
        except UserError:
            fields[name] = before
    return explored
