"""Whether one variant is better than another, from the records of one or more sweeps.

What is compared. A trial's score is the best validation SELD (over the classes present) within its first E epochs. E is
one number for all trials, so that they are compared at equal budgets: the most epochs that every trial has reached. A
trial that early stopping ended counts at the epoch where it was ended, and pulls E down to that rung; the alternative,
completed trials alone, would compare the survivors of one variant with the survivors of another, whom the stopper chose
by the very score. Left out, and counted, are trials that failed, and those that were cut off before the stopper could
judge them (by the end of the budget, say), which says nothing about their variant. `best` beside it is the best score
of any epoch: what there is to be used.

What a variant's figures rest on. Configs, each once: seeds of the same config are not independent evidence for its
variant and enter as their mean. Where a config ran with three seeds or more, interval and test are over the seeds of
the variant's most repeated config (of equals: the best one) instead, which answers the narrower and firmer question.

What it cannot say. The trials of a sampler that learns are no independent draws: it looks where it found something, so
the interval is about the configs that were tried, not about those there are. And the best of many trials is best partly
by luck. Both go away with new seeds of named configs, read on the test split: that is what `finals` is for.

Everything here is computed from records alone, and the same every time. Cost grows with trials x epochs (cost curves),
and with the number of different architectures (each is built once, without weights, to count its parameters).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from data.errors import UserError
from infra.comparison import statistics
from infra.comparison.classes import ClassComparison, compare_classes
from infra.comparison.controls import ControlGain, control_gains
from infra.comparison.cost import SearchCost, search_cost
from infra.comparison.importance import Importance, importances
from infra.comparison.trials import ComparedTrial, LoadedSweep, compared_trials, equal_epochs
from infra.comparison.variants import Sample, Variant, choose_reference, compare_variants, variant_json
from infra.record.trials import COMPLETE, FAILED, PRUNED, RUNNING
from search_spaces.space import GROUPINGS, check_grouping
from trainables.config import NoVisual
from trainables.training.reports import OBJECTIVE

COSTS = {"parameters": "parameters", "seconds": "training time of the trial (s)"}
"""What SELD is weighed against, by the field of `ComparedTrial`."""
SILENT = 1.0
"""SELD of a model that predicts nothing: ER 1, F 0, LE 180 degrees, LR 0."""
LEAST_SHARE = 0.1
"""The score to reach, if none is given: what this share of the trials reached."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All figures of the report."""

    sweeps: Mapping[str, int]
    """Name -> trials."""
    data: str
    """SHA-256 of the manifest."""
    by: str
    epochs: int
    trials: Sequence[ComparedTrial] = field(repr=False)
    groups: Mapping[str, Sequence[Variant]]
    """Grouping -> its variants, smallest median first; groupings in which all trials are alike are left out."""
    references: Mapping[str, str]
    target: float
    cost: SearchCost
    """Of all trials together."""
    importances: Sequence[Importance]
    classes: ClassComparison | None
    """None where the reports hold no scores of classes."""
    fronts: Mapping[str, Sequence[ComparedTrial]]
    """Of `COSTS`: the trials that no other beats in both score and cost, the cheapest first."""
    gains: Sequence[ControlGain]
    """What closed eyes or ears cost; empty where no trial has such a twin."""
    tested: Sequence[Mapping[str, Any]]
    """The same on the test split, where finals are among the sweeps (`LoadedSweep.tested`)."""
    decisions: Sequence[Mapping[str, Any]]
    """What was decided between the variants of these sweeps, each for itself."""
    notes: Sequence[str]

    @property
    def variants(self) -> Sequence[Variant]:
        """Of the main table."""
        return self.groups[self.by]

    @property
    def in_full(self) -> dict[str, float]:
        """Variant -> best score of a trial with all its epochs, the best first; empty where trials are compared so."""
        found: dict[str, float] = {}
        for trial in sorted(self.trials, key=lambda trial: trial.best_score or 0.0):
            in_full = trial.record.state == COMPLETE and len(trial.record.reports) > self.epochs
            if trial.best_score is not None and in_full:
                found.setdefault(trial.variants[self.by], trial.best_score)
        return found

    @property
    def tie(self) -> str | None:
        """What is said in place of a winner where the best scores of all trials are one; None where they differ."""
        bests = {trial.best_score for trial in self.trials if trial.best_score is not None}
        if len(bests) > 1:
            return None
        if bests == {SILENT}:
            return f"no trial predicts anything yet: all have SELD {SILENT:.3f}; train for more epochs"
        scored = sum(trial.best_score is not None for trial in self.trials)
        return f"all {scored} trials have SELD {min(bests):.3f}: none is better" if scored > 1 else None

    def as_json(self) -> dict[str, Any]:
        """All figures but the trials'."""
        return {
            "sweeps": dict(self.sweeps),
            "data": self.data,
            "objective": OBJECTIVE,
            "by": self.by,
            "epochs": self.epochs,
            "target": self.target,
            "cost": self.cost.as_json(),
            "groups": {
                name: {"reference": self.references[name], "variants": [variant_json(v) for v in variants]}
                for name, variants in self.groups.items()
            },
            "importances": [asdict(importance) for importance in self.importances],
            "classes": None if self.classes is None else asdict(self.classes),
            "fronts": {name: [trial.label for trial in front] for name, front in self.fronts.items()},
            "gains": [{**asdict(gain), "gains": gain.gains, "mean": gain.mean} for gain in self.gains],
            "tested": list(self.tested),
            "decisions": list(self.decisions),
            "in_full": self.in_full,
            "notes": list(self.notes),
        }


def compare(
    sweeps: Sequence[LoadedSweep],
    *,
    by: str = "fusion",
    reference: str | None = None,
    target: float | None = None,
    epochs: int | None = None,
) -> Comparison:
    """Compare the variants that these sweeps tried.

    Args:
        by: the grouping of the main table, of `search_spaces.space.GROUPINGS`.
        reference: the variant of it that the others are tested against; if not given, the one without video, or else
            the one with most trials.
        target: SELD score to reach; if not given, what a tenth of the trials reached.
        epochs: compare after so many; if not given, as many as every trial has (see above).

    Raises:
        UserError: the sweeps cannot be compared, have no score yet, or do not hold what is asked for.
    """
    _check_alike(sweeps)
    check_grouping(by)
    if epochs is not None and epochs < 1:
        raise UserError(f"--epochs {epochs}: trials are compared after at least one; leave it out for all they share")
    equal = equal_epochs(sweeps) if epochs is None else epochs
    trials = [trial for sweep in sweeps for trial in compared_trials(sweep, equal)]
    if not any(trial.score is not None for trial in trials):
        names = ", ".join(sweep.name for sweep in sweeps)
        raise UserError(f"no trial of {names} has {equal} epochs yet; wait for more of them, or lower --epochs")
    scored = [trial for trial in trials if trial.best_score is not None]
    bests = [trial.best_score for trial in scored if trial.best_score is not None]
    goal = float(np.quantile(bests, LEAST_SHARE)) if target is None else target
    groups, references = {}, {}
    for grouping in GROUPINGS:
        if grouping == by or len({trial.variants[grouping] for trial in trials}) > 1:
            wanted = reference if grouping == by else None
            references[grouping] = choose_reference(trials, grouping, wanted)
            groups[grouping] = compare_variants(trials, grouping, references[grouping], goal)
    return Comparison(
        sweeps={sweep.name: len(sweep.records) for sweep in sweeps},
        data=str(sweeps[0].settings.get("data")),
        by=by,
        epochs=equal,
        trials=trials,
        groups=groups,
        references=references,
        target=goal,
        cost=search_cost([(trial.record, trial.started_at) for trial in trials], goal),
        importances=importances([(trial.record, trial.variants[by], trial.score) for trial in trials]),
        classes=compare_classes(
            {v.name: v.best.record.best for v in groups[by] if v.best is not None and v.best.record.best is not None}
        ),
        fronts={cost: _front(scored, cost) for cost in COSTS},
        gains=(gains := control_gains(trials)),
        tested=[gain for sweep in sweeps for gain in sweep.tested],
        decisions=[sweep.decision for sweep in sweeps if sweep.decision],
        notes=[*map(str, gains), *_notes(sweeps, trials, equal), *_uncontrolled(trials, gains)],
    )


def _check_alike(sweeps: Sequence[LoadedSweep]) -> None:
    names = [sweep.name for sweep in sweeps]
    if not names:
        raise UserError("there is nothing to compare; name a sweep")
    if len(set(names)) < len(names):
        raise UserError(f"sweeps {', '.join(names)}: one is named twice; name each once")
    first = sweeps[0]
    for key, without in (("data", None), ("objective", OBJECTIVE)):
        for other in sweeps[1:]:
            ours, theirs = first.settings.get(key, without), other.settings.get(key, without)
            if ours != theirs:
                raise UserError(
                    f"sweeps {first.name!r} and {other.name!r} differ in their {key} ({ours} and {theirs}), so that "
                    "their scores mean different things; compare sweeps that share it"
                )


def _uncontrolled(trials: Sequence[ComparedTrial], gains: Sequence[ControlGain]) -> list[str]:
    """What is easily read into figures of models with and without eyes."""
    sees = {trial.record.config["visual"]["name"] != NoVisual.name for trial in trials}
    if gains or len(sees) == 1:
        return []
    return [
        "Fusions are different networks: that one with pictures beats audio_only does not say that pictures help. "
        "`seldtune finals <sweep> --control eyes` trains each against itself with its eyes closed."
    ]


def _front(scored: Sequence[ComparedTrial], cost: str) -> list[ComparedTrial]:
    points = [(float(getattr(trial, cost)), trial.best_score or 0.0) for trial in scored]
    return [scored[index] for index in statistics.pareto_front(points)]


def _notes(sweeps: Sequence[LoadedSweep], trials: Sequence[ComparedTrial], epochs: int) -> list[str]:
    """What a reader has to know to take the figures for what they are."""
    compared = sum(trial.score is not None for trial in trials)
    states = [trial.record.state for trial in trials]
    failed = states.count(FAILED)
    short = sum(t.score is None and t.record.state != FAILED for t in trials)
    stopped = sum(t.score is not None and t.record.state == PRUNED for t in trials)
    left = [f"{failed} failed"] * bool(failed) + [f"{short} with fewer epochs"] * bool(short)
    notes = [
        f"Compared is the best validation SELD within the first {epochs} epochs, over the classes present: "
        f"{compared} of {len(trials)} trials"
        + (f"; {stopped} of them were stopped early, at that epoch or later" if stopped else "")
        + (f"; left out: {', '.join(left)}." if left else ".")
        + " 'Best' is the best score of any epoch, chosen on validation, and so flattered."
    ]
    if stopped:
        notes.append(
            f"Early stopping ended trials after {epochs} epochs, so all are compared there: a variant that learns more "
            "slowly at first is judged by its start. Completed trials alone would be survivors chosen by their score."
        )
    if not Sample.of(trials).repeated:
        notes.append(
            "No config ran with three seeds or more: intervals and tests are over the configs tried, which a sampler "
            "that learns did not draw independently. They say what this search found; new seeds say whether it holds."
        )
    if running := states.count(RUNNING):
        notes.append(f"Trials not ended yet: {running}. In costs and as best they count as far as they have come.")
    differing = sorted(
        key
        for key in {key for sweep in sweeps for key in sweep.settings}
        if any(sweep.settings.get(key) != sweeps[0].settings.get(key) for sweep in sweeps)
    )
    if differing:
        notes.append(f"The sweeps differ in {', '.join(differing)}, and what that does is in the figures too.")
    return notes
