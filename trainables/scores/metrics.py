"""The scores of DCASE 2023 Task 3: detection that depends on location, and localisation that depends on class.

Definition: Politis et al., "Overview and evaluation of sound event localization and detection in DCASE 2019" (TASLP
2020), with segments of 1 s and a threshold of 20 degrees, and the conventions of the challenge's evaluator down to
its corner cases (they are named where they occur). Counts of recordings add up, so that workers can share the work
and intervals cost no recount.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import reduce
from itertools import accumulate
from operator import add
from typing import Generic, Literal, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from data.classes import STARSS23
from data.errors import UserError
from data.labels import Events
from data.timing import LABEL_RATE_HZ
from trainables.scores.matching import Cells, FloatArray, IntArray, Located, match

THRESHOLD_DEG = 20.0
SEGMENT_LABELS = LABEL_RATE_HZ
SCORE_NAMES = ("ER", "F", "LE", "LR", "SELD")
LARGEST = np.array([np.inf, 1.0, 180.0, 1.0, np.inf])
"""What each of them can be at most; at least it is 0."""
Average = Literal["macro", "micro", "present"]
SELD_OF_SILENCE = 1.0
"""Of predictions without an event, whatever the recordings: ER 1, F 0, LE 180 degrees, LR 0."""

EPS = float(np.finfo(np.float64).eps)
"""Added to denominators, as the challenge's evaluators do."""


class Additive(Protocol):
    """Counts of recordings, which add up."""

    def __add__(self, other: Self) -> Self: ...


Counts = TypeVar("Counts", bound=Additive)


@dataclass(frozen=True, eq=False, kw_only=True)
class SeldCounts:
    """Sums over segments of 1 s; arrays are per class (C,). `a + b` is the counts of both."""

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
    def zero(cls, num_classes: int = 1) -> SeldCounts:
        """Of nothing; with one class, they can be added to counts of any number of classes."""
        arrays = {f.name: np.zeros(num_classes) for f in fields(cls)[:7]}
        return cls(**arrays, substitutions=0, deletions=0, insertions=0)

    def __add__(self, other: SeldCounts) -> SeldCounts:
        return SeldCounts(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})


@dataclass(frozen=True, eq=False)
class ClassScores:
    """The scores of each class, arrays (C,); `seld` takes the error rate over all classes, as the challenge does."""

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


FEW_RECORDINGS = 4
"""Of fewer, an interval says little: a standard error from three recordings is itself off by a half."""


@dataclass(frozen=True, eq=False)
class Intervals:
    """Scores with their intervals; arrays of whatever shape the score function returns."""

    value: FloatArray
    """From all recordings."""
    low: FloatArray
    high: FloatArray

    @property
    def half_width(self) -> FloatArray:
        return (self.high - self.low) / 2

    def about_value(self) -> Intervals:
        """As wide, with `value` in the middle, as for differences, which have no range to leave."""
        return Intervals(self.value, self.value - self.half_width, self.value + self.half_width)

    def in_range(self, largest: FloatArray) -> Intervals:
        """Intervals that hold `value` and stay between 0 and `largest`, which may be infinite.

        On the scale of log(x / (largest - x)), or of log(x), they are symmetric about `value`, as wide as the delta
        method has it; on the score's own, an interval about an F of 0.9 reaches further down than up. Of four
        recordings of uneven length whose recall is about 0.9 they hold the true one in 95 % of all cases, where the
        jackknife's hold it in 88 % and those of a bootstrap in 75 % (`tests/model_tests/test_intervals.py`).

        Args:
            largest: broadcasts to the scores.

        Source: Agresti, "Categorical Data Analysis" (2002), sections 1.4 and 14.1.
        """
        share = self.value / largest
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            reach = np.where(self.half_width > 0, self.half_width / (self.value * (1 - share)), 0.0)
            # Where a value lies on the edge of its range so do those without any recording.
            reach = np.where(np.isnan(self.half_width), np.nan, reach)
            low, high = (self.value / ((1 - share) * np.exp(sign * reach) + share) for sign in (1, -1))
        return Intervals(self.value, low, high)


def seld_counts(
    reference: Events | Located,
    predicted: Events | Located,
    num_labels: int | None = None,
    num_classes: int = len(STARSS23),
) -> SeldCounts:
    """Counts of one recording.

    Args:
        num_labels: label frames of the recording; every segment that begins in them counts. Nothing: as the
            challenge's evaluator counts, up to the last label frame of the reference, which is itself left out when its
            index is a multiple of 10; later predictions are not seen.
    """
    if num_labels is None:
        num_labels = int(reference.frame.max()) if len(reference) else 0
    segments = -(-num_labels // SEGMENT_LABELS)
    true = Cells(reference, segments * SEGMENT_LABELS, num_classes)
    predicted_cells = Cells(predicted, segments * SEGMENT_LABELS, num_classes)
    true_tracks, predicted_tracks = (_tracks(cells, num_classes) for cells in (true, predicted_cells))

    matches = match(true, predicted_cells)
    shape = (segments, num_classes, max(1, int(true.count.max(initial=0))))
    segment, class_index = matches.cell // (num_classes * SEGMENT_LABELS), matches.cell % num_classes
    track = np.ravel_multi_index((segment, class_index, matches.track), shape)
    size = int(np.prod(shape))
    error_count = np.bincount(track, minlength=size).reshape(shape)
    error = np.bincount(track, matches.angle_deg, size).reshape(shape) / np.maximum(error_count, 1)
    near = ((error_count > 0) & (error <= THRESHOLD_DEG)).sum(axis=-1)
    matched = (error_count > 0).sum(axis=-1)

    both = (true_tracks > 0) & (predicted_tracks > 0)
    excess = np.maximum(predicted_tracks - true_tracks, 0)
    missing = np.maximum(true_tracks - predicted_tracks, 0)
    # Both there, but never at the same time: the evaluator counts the predicted tracks as missed, and no insertion.
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


def _tracks(cells: Cells, num_classes: int) -> IntArray:
    """The most rows that a class has in one label frame of a segment: (segments, C)."""
    return cells.count.reshape(-1, SEGMENT_LABELS, num_classes).max(axis=1)


def scores(counts: SeldCounts, average: Average = "macro") -> Scores:
    """Scores from counts.

    `macro` is the challenge's mean over all classes, in which an absent class has F 0, LE 180 and LR 0; `micro` pools
    the classes; `present` is the mean over the classes that the reference holds (ER stays over all).

    Raises:
        UserError: an unknown average.
    """
    c = counts
    error_rate = float((c.substitutions + c.deletions + c.insertions) / (c.reference.sum() + EPS))
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
    f_score = c.true_positive / (EPS + c.true_positive + c.far + 0.5 * (c.false_positive + c.false_negative))
    error_deg = np.where(c.matched > 0, c.error_sum_deg / (c.matched + EPS), 180.0)
    return f_score, error_deg, c.matched / (EPS + c.matched + c.false_negative)


def score_values(s: Scores) -> tuple[float, ...]:
    """In the order of `SCORE_NAMES`."""
    return s.error_rate, s.f_score, s.localisation_error_deg, s.localisation_recall, s.seld


def score_table(counts: SeldCounts, average: Average = "macro") -> FloatArray:
    """`scores` as an array (5, 1 + C): rows as in `SCORE_NAMES`; over the classes, then each class.

    As the challenge does, ER of a class is ER over all.
    """
    s = scores(counts, average)
    c = s.per_class
    rows = (np.full_like(c.f_score, s.error_rate), c.f_score, c.localisation_error_deg, c.localisation_recall, c.seld)
    return np.column_stack((score_values(s), np.stack(rows)))


def leave_one_out(
    per_recording: Sequence[Counts], score: Callable[[Counts], FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Scores of all recordings together, and, stacked along a first axis, of all but one.

    The cost grows with the recordings, not with their length.

    Raises:
        UserError: fewer than two recordings.
    """
    n = len(per_recording)
    if n < 2:
        raise UserError(f"intervals compare recordings with each other: two or more are needed, got {n}")
    before = list(accumulate(per_recording, add))
    after = list(accumulate(reversed(per_recording), add))[::-1]
    between = (before[i - 1] + after[i + 1] for i in range(1, n - 1))
    return score(before[-1]), np.stack([score(others) for others in (after[1], *between, before[-2])])


def jackknife(
    per_recording: Sequence[Counts], score: Callable[[Counts], FloatArray], confidence: float = 0.95
) -> Intervals:
    """Intervals of scores, with one recording left out at a time, as DCASE publishes them.

    Student's t with one degree of freedom less than recordings, about the value less the bias that the jackknife finds
    in it. That may leave out the value itself, and what a score can be: see `Intervals.in_range`. A score that is NaN
    without some recording has NaN bounds.

    Args:
        score: scores of counts, an array of any shape: `score_table`, with an average of one's choice.

    Raises:
        UserError: fewer than two recordings.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 11.
    """
    from scipy.special import stdtrit

    n = len(per_recording)
    value, without = leave_one_out(per_recording, score)
    mean = without.mean(axis=0)
    estimate = value - (n - 1) * (mean - value)
    half_width = stdtrit(n - 1, (1 + confidence) / 2) * np.sqrt((n - 1) * np.square(without - mean).mean(axis=0))
    return Intervals(value, estimate - half_width, estimate + half_width)


@dataclass(frozen=True, eq=False)
class Paired(Generic[Counts]):
    """The counts of two models on the same recordings, which add up together."""

    ours: Counts
    theirs: Counts

    def __add__(self, other: Paired[Counts]) -> Paired[Counts]:
        return Paired(self.ours + other.ours, self.theirs + other.theirs)


def paired_jackknife(
    ours: Sequence[Counts], theirs: Sequence[Counts], score: Callable[[Counts], FloatArray]
) -> Intervals:
    """Ours minus theirs in a score, with 95 % intervals about it from leaving out one recording at a time.

    Both lose the same recording, so what makes a recording hard for either cancels: an interval of the difference is
    narrower than what two separate intervals would leave between them.

    Raises:
        UserError: fewer than two recordings.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 11, of a paired statistic.
    """
    pairs = [Paired(a, b) for a, b in zip(ours, theirs, strict=True)]
    return jackknife(pairs, lambda pair: score(pair.ours) - score(pair.theirs)).about_value()


def pooled(per_seed: Sequence[Sequence[Counts]]) -> list[Counts]:
    """Counts of each recording, summed over trainings."""
    return [reduce(add, counts) for counts in zip(*per_seed, strict=True)]
