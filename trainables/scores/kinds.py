"""What a model finds of each kind of source: alone or among others, still or moving, in the picture or not.

A false alarm is of no kind, so that F has no meaning here; recall within 20 degrees has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from data.geometry import unit_vector
from data.labels import DECOYED, UNSEEN, Events
from trainables.scores.matching import Cells, FloatArray, Located, classes_in, match
from trainables.scores.metrics import THRESHOLD_DEG, Intervals, paired_jackknife

MOVING_DEG = 10.0
"""A source that strays no farther from where it began is still: labels of real recordings tremble."""
KINDS = ("alone", "overlapped", "still", "moving", "seen", "unseen", "with a decoy", "without a decoy")
"""The last four are known of synthetic scenes alone. A decoy is an invisible, unlabelled source of the same class."""

Spans = Mapping[str, Sequence[Sequence[int]]]
"""By kind: class, source, first label frame and the one after the last of each event that is of it."""


@dataclass(frozen=True, eq=False)
class KindCounts:
    """Label frames of events, summed over recordings; both by `KINDS` (8,)."""

    events: FloatArray
    found: FloatArray
    """Those where an event of the class was predicted within 20 degrees."""

    @classmethod
    def zero(cls) -> Self:
        return cls(np.zeros(len(KINDS)), np.zeros(len(KINDS)))

    def __add__(self, other: KindCounts) -> KindCounts:
        return KindCounts(self.events + other.events, self.found + other.found)

    @property
    def recall(self) -> FloatArray:
        """NaN for a kind without events."""
        with np.errstate(invalid="ignore"):
            return self.found / self.events


def kind_counts(reference: Events, predicted: Events | Located, spans: Spans | None = None) -> KindCounts:
    """Counts of one recording.

    Args:
        spans: what the scene tells of its events; nothing is counted as seen, unseen or with a decoy without.
    """
    num_labels = int(reference.frame.max(initial=-1)) + 1
    num_classes = classes_in(reference, predicted)
    true = Cells(reference, num_labels, num_classes)
    matches = match(true, Cells(predicted, num_labels, num_classes))
    found = np.zeros(len(reference), dtype=bool)
    found[true.rows[matches.true[matches.angle_deg <= THRESHOLD_DEG]]] = True
    kinds = _kinds_of(reference, spans)
    return KindCounts(
        kinds.sum(axis=1).astype(np.float64),
        (kinds & found).sum(axis=1).astype(np.float64),
    )


def recall_gain(ours: Sequence[KindCounts], theirs: Sequence[KindCounts]) -> Intervals:
    """Recall of ours minus that of theirs by kind (8,), recording by recording the same, with 95 % intervals.

    NaN for a kind without events; its bounds are NaN too where a single recording has such events.

    Raises:
        UserError: fewer than two recordings.
    """
    return paired_jackknife(ours, theirs, lambda counts: counts.recall)


def _kinds_of(reference: Events, spans: Spans | None) -> NDArray[np.bool_]:
    """Which of `KINDS` each row is of, (8, rows)."""
    overlapped = np.bincount(reference.frame)[reference.frame] > 1 if len(reference) else np.zeros(0, dtype=bool)
    moving = _moving(reference)
    told = np.full(len(reference), spans is not None)
    unseen, decoyed = (_within(reference, (spans or {}).get(kind, ())) for kind in (UNSEEN, DECOYED))
    return np.stack(
        [~overlapped, overlapped, ~moving, moving, told & ~unseen, unseen, decoyed, told & ~decoyed],
    )


def _moving(reference: Events) -> NDArray[np.bool_]:
    """Rows of events that stray from where they began; an event is a run of label frames of one class and source."""
    order = np.lexsort((reference.frame, reference.source, reference.class_index))
    columns = np.stack([reference.class_index, reference.source, reference.frame])[:, order]
    begins = np.ones(len(order), dtype=bool)
    begins[1:] = (np.diff(columns[:2]) != 0).any(axis=0) | (np.diff(columns[2]) != 1)
    event = np.cumsum(begins) - 1
    direction = unit_vector(reference.azimuth_deg[order], reference.elevation_deg[order])
    cosine = (direction * direction[begins][event]).sum(axis=-1)
    strays = cosine < np.cos(np.deg2rad(MOVING_DEG))
    moving = np.zeros(len(order), dtype=bool)
    moving[order] = np.bincount(event, strays, minlength=int(begins.sum()))[event] > 0
    return moving


def _within(reference: Events, spans: Sequence[Sequence[int]]) -> NDArray[np.bool_]:
    within = np.zeros(len(reference), dtype=bool)
    for class_index, source, start, stop in spans:
        same = (reference.class_index == class_index) & (reference.source == source)
        within |= same & (reference.frame >= start) & (reference.frame < stop)
    return within
