"""A decision: the best config of each variant of a sweep, trained with new seeds until it is clear which is better.

Every variant gets as many seeds as a first look takes; then one more at a time, for those that something is still open
between. Configs, epochs and thresholds are chosen on validation; the test split says how far apart they are, each
training is put to it once, and the error of looking again and again is paid for (`infra.finals.looks`). What follows
from the trainings follows from them alone, so that whoever goes on after an interruption trains nothing twice and ends
with the same verdicts.

Cost: variants x seeds trainings in full at most; after each round the test split once for each new training.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from data import storage
from data.errors import UserError
from data.remembered import remembered
from infra.finals.decision import Decision, Question
from infra.finals.finalists import choose, new_seeds, seed_by_seed
from infra.finals.finals import conclude, rank
from infra.finals.looks import FIRST_SEEDS, Trained
from infra.finals.report import COMPARED, Finals
from infra.finals.trainings import Searched, Trainings, TrainingsRequest, find_searched, put_to_test
from infra.record.folder import SweepStore
from infra.record.groupings import variant_of
from infra.record.trials import TrialRecord
from infra.stack.settings import Settings
from infra.sweep.outcome import SweepOutcome
from infra.sweep.run import run_sweep
from trainables.scores.metrics import SeldCounts, scores

logger = logging.getLogger(f"seldtune.{__name__}")

_QUESTION_NAME = "question.json"


@dataclass(frozen=True, kw_only=True)
class DecisionRequest(TrainingsRequest):
    """What the user asked for."""

    suffix: ClassVar[str] = "decide"
    question: Question = field(default_factory=Question)
    budget_s: float | None = None
    """Wall-clock time after which no further round begins; nothing: as long as something is open."""


@dataclass(frozen=True, kw_only=True)
class Decided:
    """A decision, and the finals that its trainings make."""

    decision: Decision
    finals: Finals

    def as_json(self) -> dict[str, Any]:
        return {**self.decision.as_json(), "finals": self.finals.as_json()}

    def lines(self) -> list[str]:
        """For a terminal."""
        return [*self.decision.lines(), *self.finals.registered()]


def run_decide(request: DecisionRequest, settings: Settings) -> Decided | None:
    """Decide between the variants of a sweep; nothing when interrupted: the same call goes on from there.

    Writes `decision.{md,json}` beside the trainings' sweep and into its run in MLflow, and the latter beside the sweep
    that was decided too, where comparisons find it; the best by validation is registered as finalist, with the verdicts
    in its evidence.

    Raises:
        UserError: no such sweep, one that has not ended, other data than its own, nothing to decide between, or another
            question than the one that this decision was begun with; see `run_sweep` for the rest.
        RuntimeError: no config could be trained.
    """
    question, name = request.question, request.trainings_name
    searched = find_searched(request, settings)
    chosen = best_of_variants(searched, question.by)
    question.pairs(list(chosen))
    asked_uri = f"{SweepStore(settings.root, name).uri}/{_QUESTION_NAME}"
    _require_same(question, asked_uri, name)
    if searched.recordings < 2:
        raise UserError(f"the test split of {searched.data} is one recording: two or more say how far others are off")
    configs = list(chosen.values())
    seeds = new_seeds(configs, question.most_seeds)
    points = seed_by_seed(configs, seeds[:FIRST_SEEDS])
    decision: Decision | None = None
    for looked in itertools.count(FIRST_SEEDS):
        with run_sweep(searched.trainings(request, configs, points, name), settings) as outcome:
            # Before anything is seen.
            remembered(asked_uri, lambda: asdict(question))
            if not outcome.finished:
                return None
            # Not those of later looks, which an interrupted start may have left: each look sees what it saw then.
            trainings = put_to_test(outcome, points, settings)
            decision = _look(request.sweep, outcome, question, chosen, trainings, decision)
            going = decision.open_variants() if looked < question.most_seeds else []
            if going and request.budget_s is not None and outcome.seconds >= request.budget_s:
                logger.warning("the budget is spent; the same command with more of it goes on")
                going = []
            if not going:
                outcome.tracker.require_written()
                verdicts = {chosen[variant].number: decision.against(variant) for variant in chosen}
                finals = conclude(request, outcome, rank(outcome, configs, trainings, {}, settings), verdicts)
                _write(decision, outcome, searched, settings)
                return Decided(decision=decision, finals=finals)
        logger.info("after %d seeds: %s One more for %s", looked, decision.sentence, ", ".join(going))
        points += [(chosen[variant].number, seeds[looked]) for variant in going]
    raise AssertionError("the last look ends it")


def best_of_variants(searched: Searched, by: str) -> dict[str, TrialRecord]:
    """Variant -> the trial with its best config on validation, in the order of these scores.

    Raises:
        UserError: a trial of the sweep has not ended, or none has a model.
    """
    chosen: dict[str, TrialRecord] = {}
    for record in choose(searched.records, None, searched.name):
        chosen.setdefault(variant_of(record, by), record)
    return chosen


def _look(
    sweep: str,
    outcome: SweepOutcome,
    question: Question,
    chosen: Mapping[str, TrialRecord],
    trainings: Trainings,
    before: Decision | None,
) -> Decision:
    """What the trainings there are say, after the look before."""
    trained = {
        variant: Trained.of([training.counts for training in trainings.get(record.number, [])], seld)
        for variant, record in chosen.items()
    }
    trial = {variant: record.number for variant, record in chosen.items()}
    return Decision.of(sweep, outcome.name, question, trained, trial, before)


def seld(counts: SeldCounts) -> float:
    """The score that is decided by."""
    return scores(counts, COMPARED).seld


def _require_same(question: Question, uri: str, name: str) -> None:
    if not storage.exists(uri):
        return
    begun = json.loads(storage.read_bytes(uri))
    changed = [f"{key} {begun[key]!r}, not {value!r}" for key, value in asdict(question).items() if begun[key] != value]
    if changed:
        raise UserError(
            f"decision {name!r} was begun with {', '.join(changed)}: what is asked may not follow from what was seen; "
            "ask as before, or give another --name"
        )


def _write(decision: Decision, outcome: SweepOutcome, searched: Searched, settings: Settings) -> None:
    document = json.dumps(decision.as_json(), indent=1)
    for name, text in {"decision.md": decision.markdown(), "decision.json": document}.items():
        storage.write_bytes(f"{outcome.sweep.uri}/{name}", text.encode())
        outcome.tracker.log_text(name, text)
    figures = {
        # MLflow takes no comma in a name, and "gru, eyes closed" has one.
        f"decision/{pair.first} - {pair.second}/{key}".replace(",", ""): value
        for pair in decision.pairs
        if pair.difference is not None
        for key, value in zip(("difference", "low", "high"), (pair.difference.value, *pair.interval), strict=True)
    }
    outcome.tracker.log_sweep({}, figures, {"decision": decision.sentence})
    decided = SweepStore(settings.root, searched.name).decision_uri(decision.question.by)
    storage.write_bytes(decided, document.encode())
