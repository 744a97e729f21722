"""The scores of DCASE 2023 Task 3: detection that depends on location, and localisation that depends on class.

Definition: Politis et al., "Overview and evaluation of sound event localization and detection in DCASE 2019" (TASLP
2020), with segments of 1 s and a threshold of 20 degrees, and the conventions of the challenge's evaluator down to
its corner cases (they are named where they occur). Counts of recordings add up, so that workers can share the work.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data.classes import NUM_CLASSES
from data.errors import UserError
from data.geometry import unit_vector
from data.labels import LABEL_RATE_HZ, Events
from trainables.accdoa import Detections, rank_within

THRESHOLD_DEG = 20.0
SEGMENT_FRAMES = LABEL_RATE_HZ
Average = Literal["macro", "micro", "present"]

_EPS = float(np.finfo(np.float64).eps)
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class SeldCounts:
    """Sums over segments of 1 s; arrays are per class (13,). `a + b` is the counts of both."""

    true_positive: FloatArray
    """Tracks matched within 20 degrees."""
    far: FloatArray
    """Tracks matched, but further off."""
    false_positive: FloatArray
    false_negative: FloatArray
    reference: FloatArray
    """Tracks in the reference."""
    matched: FloatArray
    """Tracks matched at any distance."""
    error_sum_deg: FloatArray
    """Sum over matched tracks of their mean angular error."""
    substitutions: float
    deletions: float
    insertions: float

    @classmethod
    def zero(cls) -> SeldCounts:
        return cls(
            **{f.name: np.zeros(NUM_CLASSES) for f in fields(cls)[:7]}, substitutions=0, deletions=0, insertions=0
        )

    def __add__(self, other: SeldCounts) -> SeldCounts:
        return SeldCounts(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})


@dataclass(frozen=True, eq=False)
class ClassScores:
    """The scores of each class, arrays (13,); `seld` takes the error rate over all classes, as the challenge does."""

    f_score: FloatArray
    localisation_error_deg: FloatArray
    localisation_recall: FloatArray
    seld: FloatArray
    present: NDArray[np.bool_]
    """Whether the reference holds the class at all."""


@dataclass(frozen=True, eq=False)
class Scores:
    """ER, F, LE (degrees), LR and their mean error SELD = (ER + 1 - F + LE / 180 + 1 - LR) / 4."""

    error_rate: float
    f_score: float
    localisation_error_deg: float
    localisation_recall: float
    seld: float
    per_class: ClassScores


def seld_counts(reference: Events, predicted: Detections | Events, num_frames: int | None = None) -> SeldCounts:
    """Counts of one recording.

    Args:
        num_frames: label frames of the recording; every segment that begins in them counts. Nothing: as the
            challenge's evaluator counts, up to the last frame of the reference, which is itself left out when its
            index is a multiple of 10; later predictions are not seen.
    """
    if num_frames is None:
        num_frames = int(reference.frame.max()) if len(reference) else 0
    segments = -(-num_frames // SEGMENT_FRAMES)
    true_cells, predicted_cells = _Cells(reference, segments), _Cells(predicted, segments)
    true_tracks, predicted_tracks = true_cells.tracks(), predicted_cells.tracks()

    error_sum, error_count = _matched_errors(true_cells, predicted_cells, segments)
    matched_tracks = error_count > 0
    error = error_sum / np.maximum(error_count, 1)
    near = (matched_tracks & (error <= THRESHOLD_DEG)).sum(axis=-1)
    matched = matched_tracks.sum(axis=-1)

    both = (true_tracks > 0) & (predicted_tracks > 0)
    excess = np.maximum(predicted_tracks - true_tracks, 0)
    missing = np.maximum(true_tracks - predicted_tracks, 0)
    # Both there, but never in the same frame: the evaluator counts the predicted tracks as missed, and no insertion.
    unaligned = both & (matched == 0)
    false_positive = np.where(unaligned, 0, excess)
    false_negative = np.where(unaligned, predicted_tracks, missing)

    segment_fp = (false_positive + matched - near).sum(axis=-1)
    segment_fn = false_negative.sum(axis=-1)
    return SeldCounts(
        true_positive=near.sum(axis=0).astype(np.float64),
        far=(matched - near).sum(axis=0).astype(np.float64),
        false_positive=false_positive.sum(axis=0).astype(np.float64),
        false_negative=false_negative.sum(axis=0).astype(np.float64),
        reference=true_tracks.sum(axis=0).astype(np.float64),
        matched=matched.sum(axis=0).astype(np.float64),
        error_sum_deg=error.sum(axis=(0, -1)),
        substitutions=float(np.minimum(segment_fp, segment_fn).sum()),
        deletions=float(np.maximum(segment_fn - segment_fp, 0).sum()),
        insertions=float(np.maximum(segment_fp - segment_fn, 0).sum()),
    )


def scores(counts: SeldCounts, average: Average = "macro") -> Scores:
    """Scores from counts.

    `macro` is the challenge's mean over all classes, in which an absent class has F 0, LE 180 and LR 0; `micro` pools
    the classes; `present` is the mean over the classes that the reference holds (ER stays over all).

    Raises:
        UserError: an unknown average.
    """
    c = counts
    error_rate = float((c.substitutions + c.deletions + c.insertions) / (c.reference.sum() + _EPS))
    f_score, error_deg, recall = _f_le_lr(c)
    seld = (error_rate + 1 - f_score + error_deg / 180 + 1 - recall) / 4
    present = c.reference > 0
    per_class = ClassScores(f_score, error_deg, recall, seld, present)
    if average == "micro":
        pooled = {f.name: np.atleast_1d(np.sum(getattr(c, f.name))) for f in fields(c)[:7]}
        f_score, error_deg, recall = _f_le_lr(SeldCounts(**pooled, substitutions=0, deletions=0, insertions=0))
    elif average == "present" and present.any():
        f_score, error_deg, recall = f_score[present], error_deg[present], recall[present]
    elif average not in ("macro", "present"):
        raise UserError(f"average = {average!r} is not known; choose macro, micro or present")
    f, le, lr = float(f_score.mean()), float(error_deg.mean()), float(recall.mean())
    return Scores(error_rate, f, le, lr, (error_rate + 1 - f + le / 180 + 1 - lr) / 4, per_class)


def _f_le_lr(c: SeldCounts) -> tuple[FloatArray, FloatArray, FloatArray]:
    f_score = c.true_positive / (_EPS + c.true_positive + c.far + 0.5 * (c.false_positive + c.false_negative))
    error_deg = np.where(c.matched > 0, c.error_sum_deg / (c.matched + _EPS), 180.0)
    return f_score, error_deg, c.matched / (_EPS + c.matched + c.false_negative)


class _Cells:
    """The rows of a table grouped by cell, a frame and a class, as far as the scored segments reach."""

    def __init__(self, table: Events | Detections, segments: int) -> None:
        scored = (table.frame >= 0) & (table.frame < segments * SEGMENT_FRAMES)
        key = table.frame[scored] * NUM_CLASSES + table.class_index[scored]
        if isinstance(table, Events):
            unit = unit_vector(table.azimuth_deg, table.elevation_deg)[scored]
        else:
            unit = table.vector[scored]
            unit = unit / np.maximum(np.linalg.norm(unit, axis=-1, keepdims=True), 1e-12)
        self._segments = segments
        # Rows of a cell follow each other in file order: their place in it is their track.
        order = np.lexsort((rank_within(key), key))
        self.unit = unit[order]
        self.count = np.bincount(key, minlength=segments * SEGMENT_FRAMES * NUM_CLASSES)
        self.first = np.cumsum(self.count) - self.count

    def tracks(self) -> NDArray[np.int64]:
        """The most rows that a class has in one frame of a segment: (segments, 13)."""
        return self.count.reshape(self._segments, SEGMENT_FRAMES, NUM_CLASSES).max(axis=1)


def _matched_errors(true: _Cells, predicted: _Cells, segments: int) -> tuple[FloatArray, FloatArray]:
    """Sum of angular errors in degrees, and number of frames, of each reference track: (segments, 13, tracks)."""
    shape = (segments, NUM_CLASSES, max(1, int(true.count.max(initial=0))))
    error_sum, error_count = np.zeros(shape), np.zeros(shape)
    cells = np.nonzero((true.count > 0) & (predicted.count > 0))[0]
    sizes = np.stack((true.count[cells], predicted.count[cells]), axis=1)
    for n, m in np.unique(sizes, axis=0).tolist():
        chosen = cells[(sizes == (n, m)).all(axis=1)]
        left = true.unit[true.first[chosen, None] + np.arange(n)]
        right = predicted.unit[predicted.first[chosen, None] + np.arange(m)]
        distance = np.rad2deg(np.arccos(np.clip(left @ right.swapaxes(1, 2), -1.0, 1.0)))
        for row, column in zip(*_assignment(distance), strict=True):
            at = (chosen // (NUM_CLASSES * SEGMENT_FRAMES), chosen % NUM_CLASSES, row)
            np.add.at(error_sum, at, distance[np.arange(len(chosen)), row, column])
            np.add.at(error_count, at, 1)
    return error_sum, error_count


def _assignment(cost: FloatArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The cheapest pairing of rows with columns for each matrix of (K, n, m): rows and columns, both (min(n, m), K).

    Exact, by dynamic programming over the sets of columns already taken; sizes are those of events of one class at
    once, so a handful.
    """
    count, n, m = cost.shape
    if n > m:
        columns, rows = _assignment(cost.swapaxes(1, 2))
        return rows, columns
    total = np.full((count, 1 << m), np.inf)
    total[:, 0] = 0.0
    choices = []
    for row in range(n):
        following = np.full_like(total, np.inf)
        choice = np.zeros(total.shape, dtype=np.int64)
        for taken in range(1 << m):
            if taken.bit_count() != row:
                continue
            for column in range(m):
                if taken >> column & 1:
                    continue
                candidate = total[:, taken] + cost[:, row, column]
                now = taken | 1 << column
                better = candidate < following[:, now]
                following[better, now] = candidate[better]
                choice[better, now] = column
        total = following
        choices.append(choice)
    taken_by_each = total.argmin(axis=1)
    columns = np.empty((n, count), dtype=np.int64)
    for row in reversed(range(n)):
        columns[row] = choices[row][np.arange(count), taken_by_each]
        taken_by_each = taken_by_each ^ (1 << columns[row])
    return np.repeat(np.arange(n)[:, None], count, axis=1), columns
