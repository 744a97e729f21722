"""The scores of DCASE 2024 Task 3: detection that depends on place and distance, and localisation with distance.

Definition: Krause et al., "Sound event detection and localization with distance estimation" (2024), and the task of
that year: all is counted by label frame, and an event is found where the direction is off by 20 degrees at most and
the distance by at most its true value. The conventions are those of the challenge's evaluator, corner cases included.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from data.classes import STARSS23
from data.errors import UserError
from data.labels import Events
from trainables.scores.matching import Cells, FloatArray, IntArray, Located, match
from trainables.scores.metrics import EPS, THRESHOLD_DEG, Average

RELATIVE_DISTANCE_THRESHOLD = 1.0
SCORE_NAMES = ("F20", "DOAE", "RDE", "SELD")
LARGEST = np.array([1.0, 180.0, np.inf, np.inf])
"""What each of them can be at most; at least it is 0."""

# The evaluator adds 1e-10 to the squared norm of both vectors: no angle is below 0.0008 degrees, and an error of
# 20 degrees, as between labels in whole degrees, is over the threshold.
_COSINE_FACTOR = 1 / (1 + 1e-10)


@dataclass(frozen=True, eq=False, kw_only=True)
class SeldCounts2024:
    """Sums over label frames, arrays per class (C,). `a + b` is the counts of both."""

    true_positive: FloatArray
    """Events matched within 20 degrees and a relative distance error of 1."""
    far: FloatArray
    """Events matched, but further off."""
    false_positive: FloatArray
    false_negative: FloatArray
    reference: FloatArray
    """Events in the reference."""
    angle_sum_deg: FloatArray
    """Sum of the angular errors of all matched events, near and far."""
    relative_distance_sum: FloatArray
    """Sum of |predicted - reference distance| / reference distance over them."""

    @classmethod
    def zero(cls, num_classes: int = 1) -> SeldCounts2024:
        """Of nothing; with one class, they can be added to counts of any number of classes."""
        return cls(**{f.name: np.zeros(num_classes) for f in fields(cls)})

    def __add__(self, other: SeldCounts2024) -> SeldCounts2024:
        return SeldCounts2024(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})


@dataclass(frozen=True, eq=False)
class ClassScores2024:
    """The scores of each class, arrays (C,); NaN where nothing of the class was matched."""

    f_score: FloatArray
    doa_error_deg: FloatArray
    relative_distance_error: FloatArray
    seld: FloatArray
    present: NDArray[np.bool_]
    """Whether the reference holds the class at all."""


@dataclass(frozen=True, eq=False)
class Scores2024:
    """F20, DOAE (degrees), RDE, and the mean of 1 - F20, DOAE / 180 and RDE, as far as they are numbers."""

    f_score: float
    doa_error_deg: float
    relative_distance_error: float
    seld: float
    per_class: ClassScores2024


def distances_m(table: Events | Located) -> FloatArray:
    """Distances in metres, (n,), NaN where unknown: from `distance_cm` of events, or `distance_m` of predictions."""
    if isinstance(table, Events):
        return table.distance_cm / 100.0
    distance = getattr(table, "distance_m", None)
    return np.full(len(table), np.nan) if distance is None else np.asarray(distance, dtype=np.float64)


def seld_counts_2024(
    reference: Events | Located,
    predicted: Events | Located,
    num_labels: int | None = None,
    num_classes: int = len(STARSS23),
) -> SeldCounts2024:
    """Counts of one recording; both tables have a distance in every row.

    Args:
        num_labels: label frames of the recording. Nothing: as the challenge's evaluator counts, the frames before
            the last one of the reference; that one and what is predicted later are not seen.

    Raises:
        UserError: a row in these label frames has no distance, or one of the reference is not positive.
    """
    if num_labels is None:
        num_labels = int(reference.frame.max()) if len(reference) else 0
    true, predicted_cells = (Cells(table, num_labels, num_classes) for table in (reference, predicted))
    true_m = _distances(reference, true.rows, "reference")
    predicted_m = _distances(predicted, predicted_cells.rows, "prediction")
    if (true_m <= 0).any():
        frame = reference.frame[true.rows[true_m <= 0][0]]
        raise UserError(f"the reference has a distance of 0 or less in frame {frame}; distances are over 0 m")

    matches = match(true, predicted_cells, _COSINE_FACTOR)
    class_index = matches.cell % num_classes
    relative = np.abs(true_m[matches.true] - predicted_m[matches.predicted]) / (true_m[matches.true] + EPS)
    far = (matches.angle_deg > THRESHOLD_DEG) | (relative > RELATIVE_DISTANCE_THRESHOLD)
    far_count = np.bincount(class_index[far], minlength=num_classes).astype(np.float64)

    true_count, predicted_count = (c.count.reshape(num_labels, num_classes) for c in (true, predicted_cells))
    matched = np.minimum(true_count, predicted_count)
    return SeldCounts2024(
        true_positive=_per_class(matched) - far_count,
        far=far_count,
        false_positive=_per_class(predicted_count - matched),
        false_negative=_per_class(true_count - matched),
        reference=_per_class(true_count),
        angle_sum_deg=_sum_per_class(class_index, matches.angle_deg, num_classes),
        relative_distance_sum=_sum_per_class(class_index, relative, num_classes),
    )


def scores_2024(counts: SeldCounts2024, average: Average = "macro") -> Scores2024:
    """Scores from counts.

    `macro` is the challenge's mean over the classes: an absent class has F20 0 and counts in its mean, while DOAE
    and RDE are means over the classes of which something was matched. `micro` pools the classes; `present` is the
    mean over the classes that the reference holds. DOAE and RDE are NaN where nothing was matched at all.

    Raises:
        UserError: an unknown average.
    """
    if average not in ("macro", "micro", "present"):
        raise UserError(f"average = {average!r} is not known; choose macro, micro or present")
    present = counts.reference > 0
    table = _table(counts)
    f_score, doa_error_deg, relative, seld = table
    per_class = ClassScores2024(f_score, doa_error_deg, relative, seld, present)
    if average == "micro":
        pooled = {f.name: np.sum(getattr(counts, f.name), keepdims=True) for f in fields(counts)}
        table = _table(SeldCounts2024(**pooled))
    elif average == "present" and present.any():
        table = table[:, present]
    f, doa, rde, overall = (_mean(row) for row in table)
    return Scores2024(f, doa, rde, overall, per_class)


def score_table_2024(counts: SeldCounts2024, average: Average = "macro") -> FloatArray:
    """`scores_2024` as an array (4, 1 + C): rows as in `SCORE_NAMES`; over the classes, then each class."""
    s = scores_2024(counts, average)
    c = s.per_class
    overall = (s.f_score, s.doa_error_deg, s.relative_distance_error, s.seld)
    return np.column_stack((overall, np.stack((c.f_score, c.doa_error_deg, c.relative_distance_error, c.seld))))


def _distances(table: Events | Located, rows: IntArray, what: str) -> FloatArray:
    distance = distances_m(table)[rows]
    unknown = ~np.isfinite(distance)
    if unknown.any():
        frame = table.frame[rows[unknown][0]]
        raise UserError(
            f"the {what} has no distance in frame {frame}; the scores of 2024 need one in every row "
            "(those of 2023 do without)"
        )
    return distance


def _per_class(count: IntArray) -> FloatArray:
    return count.sum(axis=0).astype(np.float64)


def _sum_per_class(class_index: IntArray, values: FloatArray, num_classes: int) -> FloatArray:
    return np.bincount(class_index, values, num_classes).astype(np.float64)


def _table(c: SeldCounts2024) -> FloatArray:
    """F20, DOAE, RDE and SELD of each class: (4, classes)."""
    matched = c.true_positive + c.far
    f_score = c.true_positive / (EPS + matched + 0.5 * (c.false_positive + c.false_negative))
    some = np.where(matched > 0, matched + EPS, np.nan)
    doa_error_deg, relative = c.angle_sum_deg / some, c.relative_distance_sum / some
    # Both are NaN for the same classes: what is left of the mean there is 1 - F20.
    seld = np.where(matched > 0, (1 - f_score + doa_error_deg / 180 + relative) / 3, 1 - f_score)
    return np.stack((f_score, doa_error_deg, relative, seld))


def _mean(values: FloatArray) -> float:
    """The mean of what is not NaN; NaN if nothing is left."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
