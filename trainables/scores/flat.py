"""Scores and counts in plain forms: by name for reports, in one vector for sums."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.classes import ClassList
from trainables.scores.matching import FloatArray
from trainables.scores.metrics import SCORE_NAMES, Average, SeldCounts, score_values, scores

AVERAGES: tuple[Average, ...] = ("macro", "micro", "present")

_COUNTS_OF_ALL = 3
"""The last fields of counts: substitutions, deletions and insertions are not told apart by class."""

AXIS_ERRORS = ("LE_azimuth", "LE_elevation")


def flat_scores(counts: SeldCounts, classes: ClassList) -> dict[str, float]:
    """{"macro/F": ..., "present/SELD": ..., "class/bell/F": ...}: every average of every score, and F, LE and LR of the
    classes that the reference holds."""
    flat = {}
    for average in AVERAGES:
        for name, value in zip(SCORE_NAMES, score_values(scores(counts, average)), strict=True):
            flat[f"{average}/{name}"] = value
    each = scores(counts).per_class
    for index in np.flatnonzero(each.present):
        values = {"F": each.f_score, "LE": each.localisation_error_deg, "LR": each.localisation_recall}
        flat |= {f"class/{classes.short_names[index]}/{name}": float(value[index]) for name, value in values.items()}
    return flat


def flat_axis_errors(sums: FloatArray) -> dict[str, float]:
    """{"axes/LE_azimuth": ..., "axes/LE_elevation": ...}: means of `axis_error_sums_deg`; none without a match."""
    *errors, count = sums.tolist()
    return {f"axes/{name}": error / count for name, error in zip(AXIS_ERRORS, errors, strict=True) if count}


def counts_to_array(counts: SeldCounts) -> NDArray[np.float64]:
    """All counts in one vector, for summing over workers."""
    return np.concatenate([np.atleast_1d(getattr(counts, f.name)) for f in fields(counts)])


def counts_from_array(values: NDArray[np.float64]) -> SeldCounts:
    """Inverse of `counts_to_array`."""
    of_classes, of_all = fields(SeldCounts)[:-_COUNTS_OF_ALL], fields(SeldCounts)[-_COUNTS_OF_ALL:]
    per_class = values[:-_COUNTS_OF_ALL].reshape(len(of_classes), -1)
    parts: dict[str, Any] = {f.name: row for f, row in zip(of_classes, per_class, strict=True)}
    single = zip(of_all, values[-_COUNTS_OF_ALL:].tolist(), strict=True)
    return SeldCounts(**parts, **{f.name: value for f, value in single})
