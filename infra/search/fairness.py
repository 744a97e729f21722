"""Early stopping that is fair to what a sweep compares.

A rule that holds all trials against each other soon leaves a variant that starts slowly without a trial that trained in
full, and what is then compared are first epochs. So such a rule is asked across all trials and once more within each
variant, and a trial stops when either says so, but:

- Of every variant so many trials train in full (`FLOOR`), if they do not fail: one is stopped only where as many of its
  kind, which have not been stopped themselves, were ahead of it after the same epoch.
- A variant loses this place while the evidence is against it: while, by the scores and the spread of the trials that
  trained in full, ten more of it would hardly bring the best of all (`infra.search.evidence`). Each trial in full is
  weighed anew. Where the rule reckons with chances, a trial also loses it that has hardly one to become the best.
- The rule is asked twice each time, by the score and by the validation loss: what has found no event yet has a score of
  1, whatever it has learnt, and goes by its loss.

What is answered follows from the reports in the order in which they came, as it does for the rules themselves. Cost of
a report: four answers of the rule; of a stop: the trials of the variant.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from infra.record.trials import FAILED, PRUNED, TrialRecord
from infra.search.evidence import LEAST_CHANCE, hopeless
from infra.search.stoppers import Stopper, StopperSettings, decision_of, make_stopper
from infra.search.stoppers.contract import Judging
from infra.search.stoppers.simulated import Judge, simulated_epochs
from trainables.training.decision import GO_ON, STOP, Decision
from trainables.training.reports import FOUND, LOSS, OBJECTIVE

logger = logging.getLogger(f"seldtune.{__name__}")

FLOOR = 1
"""Trials of each variant that train in full, if they do not fail."""

Standing = tuple[float, float]
"""Objective and loss after an epoch; smaller is ahead."""


class ByScoreAndLoss:
    """A rule that judges by the objective, or by the loss what has found nothing so far."""

    def __init__(self, rule: Callable[[], Stopper]) -> None:
        self._by_score, self._by_loss = rule(), rule()

    def judge(self, record: TrialRecord, report: Mapping[str, float]) -> Decision:
        by_score = decision_of(self._by_score, record, report)
        if self._by_score.looks_at_loss:
            return by_score  # and knows what silence is
        by_loss = decision_of(self._by_loss, record, {**report, OBJECTIVE: report.get(LOSS, report[OBJECTIVE])})
        return by_loss if report.get(FOUND) == 0 else by_score


@dataclass
class _Variant:
    rule: ByScoreAndLoss
    standings: dict[int, dict[int, Standing]] = field(default_factory=dict)
    """By trial that has not been stopped, and epoch."""
    records: dict[int, TrialRecord] = field(default_factory=dict)
    full: dict[int, float] = field(default_factory=dict)
    """Best objective of the trials that trained in full."""
    given_up: str = ""
    """Why, once it is."""


class FairStopper:
    """A rule that is asked across all trials and within each variant.

    Args:
        rule: makes a rule that remembers nothing.
        variant_of: which variant a trial belongs to.
        say: hears when a variant is given up, and why.
    """

    def __init__(
        self,
        rule: Callable[[], Stopper],
        variant_of: Callable[[TrialRecord], str],
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._rule, self._variant_of, self._say = rule, variant_of, say
        first = rule()
        self.name, self.keep_every = first.name, first.keep_every
        self._across = ByScoreAndLoss(rule)
        self._variants: dict[str, _Variant] = {}

    def judge(self, record: TrialRecord, report: Mapping[str, float]) -> Decision:
        """What becomes of a trial after a report."""
        name, epoch, number = self._variant_of(record), int(report["epoch"]), record.number
        variant = self._variants.setdefault(name, _Variant(ByScoreAndLoss(self._rule)))
        within, across = variant.rule.judge(record, report), self._across.judge(record, report)
        # A score above that of silence says as little as silence.
        standing = (min(report[OBJECTIVE], 1.0), report.get(LOSS, 0.0))
        variant.records[number] = record
        variant.standings.setdefault(number, {})[epoch] = standing
        if epoch >= record.config["training"]["epochs"]:
            variant.full[number] = min(objective for objective, _ in variant.standings[number].values())
            self._weigh()
            return GO_ON
        if record.told_to_stop and epoch == record.reports[-1]["epoch"]:
            # Replayed; a spent budget may have stopped it as well.
            del variant.standings[number]
            return replace(STOP, why=record.why_stopped)
        if within.go_on and across.go_on:
            return within
        has_no_hope = bool(variant.given_up) or (across.chance is not None and across.chance < LEAST_CHANCE)
        if not has_no_hope and self._ahead(variant, number, epoch, standing) < FLOOR:
            return GO_ON
        decision = across if within.go_on else within
        why = variant.given_up or "behind other trials" if within.go_on else f"behind other trials of {name}"
        del variant.standings[number]
        return replace(decision, why=decision.why or why)

    @staticmethod
    def _ahead(variant: _Variant, number: int, epoch: int, standing: Standing) -> int:
        """Trials of its kind that were ahead after that epoch, and have not been stopped since."""
        return sum(
            epochs.get(epoch, (math.inf,)) < standing and variant.records[other].state not in (FAILED, PRUNED)
            for other, epochs in variant.standings.items()
            if other != number
        )

    def _weigh(self) -> None:
        """Give up the variants that the trials in full speak against."""
        scores = {n: list(v.full.values()) for n, v in self._variants.items() if len(v.full) >= FLOOR}
        reasons = hopeless(scores)
        for name, variant in self._variants.items():
            if name in reasons and not variant.given_up:
                self._say(reasons[name])
            variant.given_up = reasons.get(name, "")


def make_fair(name: str, settings: StopperSettings, variant_of: Callable[[TrialRecord], str]) -> Judging:
    """The rule of that name as sweeps ask it; as it is where it judges each trial by itself.

    Raises:
        UserError: there is no rule of that name.
    """
    stopper = make_stopper(name, settings)
    if not stopper.holds_against_others:
        return stopper
    return FairStopper(partial(make_stopper, name, settings), variant_of, logger.info)


def expected_epochs(name: str, settings: StopperSettings, trials: int, concurrency: int, variants: int) -> float:
    """Epochs of the mean trial in a sweep of so many, with so many at a time, spread evenly over its variants."""
    stopper = make_stopper(name, settings)
    if not stopper.holds_against_others or variants == 1:
        return stopper.expected_epochs(trials, concurrency)

    def new() -> Judge:
        return FairStopper(partial(make_stopper, name, settings), lambda record: str(record.number % variants)).judge

    return simulated_epochs(new, settings.max_epochs, trials, concurrency)
