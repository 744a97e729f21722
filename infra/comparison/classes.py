"""Scores of single classes, and whether one rare class decides which variant wins the mean over classes.

Reports hold F, LE and LR of each class that the validation rooms have. ER is one figure over all classes. The SELD
score without a class is therefore the mean of that ER and of 1 - F, LE / 180 and 1 - LR over the other classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trainables.scores.flat import AVERAGES
from trainables.scores.metrics import SCORE_NAMES

CLASS_SCORES = ("F", "LE", "LR")
SWAY = 0.02
"""Change of the lead, in SELD, from which on a class is named."""


@dataclass(frozen=True, kw_only=True)
class WithoutClass:
    """What leaving a class out does to the race for the first place."""

    name: str
    scores: dict[str, float]
    """Variant -> SELD over the other classes."""
    winner: str
    lead: float
    """Of the winner over all classes before the runner-up over all classes; negative: it falls behind."""
    matters: bool
    """The winner changes, or the lead changes by more than `SWAY`."""


@dataclass(frozen=True, kw_only=True)
class ClassComparison:
    """The best trial of each variant, class by class."""

    averages: dict[str, dict[str, float]]
    """Variant -> "macro/F" and the like."""
    classes: tuple[str, ...]
    scores: dict[str, dict[str, dict[str, float]]]
    """Variant -> class -> F, LE (degrees), LR."""
    winner: str
    runner_up: str | None
    lead: float
    """Of the winner before the runner-up, in SELD over all classes; 0 without a runner-up."""
    without: tuple[WithoutClass, ...]

    @property
    def deciding(self) -> list[WithoutClass]:
        return [entry for entry in self.without if entry.matters]

    def lines(self) -> list[str]:
        """A sentence for each class that decides something, or one that says that none does."""
        if self.runner_up is None or not self.without:
            return []
        told = [
            f"Without {entry.name}, "
            + (
                f"{entry.winner} would be first instead of {self.winner}"
                if entry.winner != self.winner
                else f"{self.winner} would lead {self.runner_up} by {entry.lead:.3f} instead of {self.lead:.3f}"
            )
            + "."
            for entry in self.deciding
        ]
        if not told and not self.lead:
            return [f"{self.winner} and {self.runner_up} are level, whichever class is left out."]
        return told or [
            f"No single class decides: whichever is left out, {self.winner} stays first and its lead over "
            f"{self.runner_up} ({self.lead:.3f}) changes by {SWAY} at most."
        ]


def compare_classes(best: Mapping[str, Mapping[str, float]]) -> ClassComparison | None:
    """Of variants and the report of each one's best epoch; None if there is none.

    Older reports hold no scores of classes: then there are averages alone.
    """
    if not best:
        return None
    named = [{key.split("/")[1] for key in report if key.startswith("class/")} for report in best.values()]
    common = set.intersection(*named)
    classes = tuple(
        dict.fromkeys(key.split("/")[1] for report in best.values() for key in report if _is_in(key, common))
    )
    scores = {
        variant: {name: {key: report[f"class/{name}/{key}"] for key in CLASS_SCORES} for name in classes}
        for variant, report in best.items()
    }
    whole = {
        variant: _seld(report, scores[variant], classes) if classes else report["present/SELD"]
        for variant, report in best.items()
    }
    order = sorted(whole, key=lambda variant: whole[variant])
    winner, runner_up = order[0], order[1] if len(order) > 1 else None
    lead = whole[runner_up] - whole[winner] if runner_up else 0.0
    without = []
    for left_out in classes if len(classes) > 1 else ():
        others = [name for name in classes if name != left_out]
        reduced = {variant: _seld(report, scores[variant], others) for variant, report in best.items()}
        first = min(order, key=lambda variant: reduced[variant])
        its_lead = reduced[runner_up] - reduced[winner] if runner_up else 0.0
        matters = runner_up is not None and (first != winner or abs(its_lead - lead) > SWAY)
        without.append(WithoutClass(name=left_out, scores=reduced, winner=first, lead=its_lead, matters=matters))
    return ClassComparison(
        averages={
            variant: {f"{average}/{name}": report[f"{average}/{name}"] for average in AVERAGES for name in SCORE_NAMES}
            for variant, report in best.items()
        },
        classes=classes,
        scores=scores,
        winner=winner,
        runner_up=runner_up,
        lead=lead,
        without=tuple(without),
    )


def _is_in(key: str, classes: set[str]) -> bool:
    return key.startswith("class/") and key.split("/")[1] in classes


def _seld(report: Mapping[str, float], scores: Mapping[str, Mapping[str, float]], classes: list[str] | tuple) -> float:
    mean = {key: float(np.mean([scores[name][key] for name in classes])) for key in CLASS_SCORES}
    return (report["present/ER"] + 1 - mean["F"] + mean["LE"] / 180 + 1 - mean["LR"]) / 4
