"""Scores from the counts of recordings: over all of them, with intervals, by class, and of two models side by side.

Counts add up, so that every average, interval and comparison follows from them without another look at the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from data.classes import ClassList
from trainables.scores.flat import flat_scores
from trainables.scores.metrics import (
    LARGEST,
    SCORE_NAMES,
    Average,
    Intervals,
    SeldCounts,
    jackknife,
    paired_jackknife,
    score_values,
    scores,
)


def overall(counts: SeldCounts, average: Average) -> np.ndarray:
    """The scores over the classes, in the order of `SCORE_NAMES`."""
    return np.array(score_values(scores(counts, average)))


def table_of(
    per_recording: Sequence[SeldCounts], average: Average
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """The scores over all recordings, F and LR as shares and LE in degrees, and their 95 % bounds (`in_range`).

    A single recording has no bounds.
    """
    values = overall(sum(per_recording, SeldCounts.zero()), average).tolist()
    named = dict(zip(SCORE_NAMES, values, strict=True))
    if len(per_recording) < 2:
        return named, {}
    spread = jackknife(per_recording, partial(overall, average=average)).in_range(LARGEST)
    bounds = zip(spread.low.tolist(), spread.high.tolist(), strict=True)
    return named, dict(zip(SCORE_NAMES, bounds, strict=True))


def class_figures(counts: SeldCounts, classes: ClassList) -> dict[str, dict[str, float]]:
    """F, LE in degrees and LR of the classes that the reference holds, by short name, and its number of tracks."""
    flat = flat_scores(counts, classes)
    present = np.flatnonzero(scores(counts).per_class.present)
    return {
        name: {
            **{score: flat[f"class/{name}/{score}"] for score in ("F", "LE", "LR")},
            "tracks": float(counts.reference[index]),
        }
        for index in present
        for name in (classes.short_names[index],)
    }


def paired_difference(ours: Sequence[SeldCounts], theirs: Sequence[SeldCounts], average: Average) -> Intervals:
    """Ours minus theirs in each score of `SCORE_NAMES` (`paired_jackknife`)."""
    return paired_jackknife(ours, theirs, partial(overall, average=average))


def class_difference(ours: Sequence[SeldCounts], theirs: Sequence[SeldCounts]) -> Intervals:
    """Ours minus theirs in F of each class (C,)."""
    return paired_jackknife(ours, theirs, lambda counts: scores(counts).per_class.f_score)
