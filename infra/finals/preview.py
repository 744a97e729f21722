"""What a decision would take, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from infra.comparison.tables import duration_text
from infra.finals.decide import DecisionRequest, best_of_variants, seld
from infra.finals.decision import TOLD, Question, seeds_text
from infra.finals.finalists import FINALIST_PARAM
from infra.finals.finals import FinalsRequest
from infra.finals.held_out import stored
from infra.finals.looks import FIRST_SEEDS, Difference, Trained, seeds_for
from infra.finals.trainings import find_searched
from infra.record.folder import SweepStore
from infra.stack.settings import Settings
from trainables.scores.metrics import SeldCounts
from trainables.training.reports import OBJECTIVE


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What would be trained, and what seeds are expected to tell."""

    sweep: str
    question: Question
    variants: Mapping[str, tuple[int, float]]
    """Variant -> trial and validation SELD of its best config, the best first."""
    pairs: int
    first_s: float
    """Of all trainings before the first look, one after the other."""
    most_s: float
    recordings: int
    spread_of: str | None
    """The sweep whose trainings say how far seeds and recordings are apart; None: there are none yet."""
    seeds_for: Mapping[str, int | None]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        """For a terminal."""
        count, most = len(self.variants), self.question.most_seeds
        chosen = [
            f"{variant}: trial {trial}, validation SELD {score:.3f}"
            for variant, (trial, score) in self.variants.items()
        ]
        pairs = f"{self.pairs} pairs" if self.pairs > 1 else "one pair"
        of = f"as {self.spread_of} has them" if self.spread_of else "finals, or a first look, tell"
        return [
            f"decide   {self.sweep} by {self.question.by}, {pairs}, margin {self.question.margin:g}, wrong with a "
            f"probability of {self.question.alpha:g} at most",
            *chosen,
            f"trains   {count * FIRST_SEEDS} at first, {duration_text(self.first_s)} of trials; {count * most} at "
            f"most, {duration_text(self.most_s)}",
            f"test     {self.recordings} recordings",
            f"seeds    {seeds_text(self.seeds_for, self.recordings)} ({of})",
        ]


def preview(request: DecisionRequest, settings: Settings) -> Preview:
    """What the decision would take; nothing is trained or written.

    Raises:
        UserError: as `run_decide` does before it trains.
    """
    searched = find_searched(request, settings)
    chosen = best_of_variants(searched, request.question.by)
    pairs = len(request.question.pairs(list(chosen)))
    one_each = 0.0
    scores = {}
    for variant, record in chosen.items():
        assert record.best is not None, "what is chosen has a model"
        scores[variant] = (record.number, float(record.best[OBJECTIVE]))
        one_each += record.seconds / len(record.reports) * record.config["training"]["epochs"]
    seen, spread_of = _seen(request, settings)
    level = partial(request.question.level, pairs)
    return Preview(
        sweep=request.sweep,
        question=request.question,
        variants=scores,
        pairs=pairs,
        first_s=FIRST_SEEDS * one_each,
        most_s=request.question.most_seeds * one_each,
        recordings=searched.recordings,
        spread_of=spread_of,
        seeds_for={f"{value:g}": seeds_for(value, seen, level) for value in TOLD} if seen else {},
    )


def _seen(request: DecisionRequest, settings: Settings) -> tuple[list[Difference], str | None]:
    """Pairs of configs that were trained with two seeds or more and tested, of the decision itself or of finals."""
    for name in (request.trainings_name, FinalsRequest(sweep=request.sweep).trainings_name):
        sweep = SweepStore(settings.root, name)
        counts: dict[int, list[list[SeldCounts]]] = {}
        for record in sweep.trials() if sweep.settings() else ():
            if (tested := stored(sweep, record)) is not None:
                counts.setdefault(record.params[FINALIST_PARAM], []).append(tested.counts)
        configs = [Trained.of(of_seeds, seld) for of_seeds in counts.values() if len(of_seeds) > 1]
        if len(configs) > 1:
            return [Difference.of(configs[0], other) for other in configs[1:]], name
    return [], None
