"""Event tables and the ADPIT training target.

One row of a table says: in this label frame, this class sounds from this direction. Rows keep their file order, which
decides which three events of one class become tracks when there are more.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.classes import MOST_CLASSES, STARSS23
from data.geometry import unit_vector

# Tracks of one class that a target can hold, and the six dummy tracks A0 B0 B1 C0 C1 C2 they are spread over.
MAX_TRACKS = 3
NUM_DUMMY_TRACKS = 6
# What a scene tells of its events: those that are not to be seen, and those that a decoy goes with.
UNSEEN, DECOYED = "unseen", "with a decoy"
# Activity, x, y, z, distance.
NUM_TARGET_AXES = 5


@dataclass(frozen=True, eq=False)
class Events:
    """Columns of equal length: one row per event and label frame. `distance_cm` is NaN where nobody measured it."""

    frame: NDArray[np.int64]
    class_index: NDArray[np.int64]
    source: NDArray[np.int64]
    azimuth_deg: NDArray[np.float64]
    elevation_deg: NDArray[np.float64]
    distance_cm: NDArray[np.float64]

    @classmethod
    def build(
        cls,
        frame: ArrayLike = (),
        class_index: ArrayLike = (),
        source: ArrayLike = (),
        azimuth_deg: ArrayLike = (),
        elevation_deg: ArrayLike = (),
        distance_cm: ArrayLike | None = None,
    ) -> Events:
        """A table from anything array-like; with no arguments an empty one.

        Raises:
            ValueError: the columns differ in length.
        """
        at = np.asarray(frame, dtype=np.int64)
        if distance_cm is None:
            distance_cm = np.full(len(at), np.nan)
        table = cls(
            at,
            np.asarray(class_index, dtype=np.int64),
            np.asarray(source, dtype=np.int64),
            np.asarray(azimuth_deg, dtype=np.float64),
            np.asarray(elevation_deg, dtype=np.float64),
            np.asarray(distance_cm, dtype=np.float64),
        )
        if {len(column) for column in table.columns()} != {len(table)}:
            lengths = ", ".join(f"{field.name} {len(getattr(table, field.name))}" for field in fields(cls))
            raise ValueError(f"columns of events differ in length: {lengths}")
        return table

    def __len__(self) -> int:
        return len(self.frame)

    def columns(self) -> tuple[NDArray, ...]:
        return tuple(getattr(self, field.name) for field in fields(self))

    def select(self, rows: NDArray) -> Events:
        """The rows of a boolean mask or an index array."""
        return Events(*(column[rows] for column in self.columns()))

    def between(self, start_label: int, stop_label: int) -> Events:
        """The rows of label frames [start, stop), counted from `start_label`."""
        chosen = self.select((self.frame >= start_label) & (self.frame < stop_label))
        return Events(chosen.frame - start_label, *chosen.columns()[1:])


def cells_of(events: Events) -> NDArray[np.int64]:
    """For each row a number that those of its label frame and class share, whatever the number of classes."""
    return events.frame * MOST_CLASSES + events.class_index


def labels_of_classes(events: Events, num_classes: int) -> NDArray[np.int64]:
    """Per class, label frames with at least one such event, (num_classes,)."""
    first = np.unique(cells_of(events), return_index=True)[1]
    return np.bincount(events.class_index[first], minlength=num_classes)


def adpit_target(events: Events, num_labels: int, num_classes: int = len(STARSS23)) -> NDArray[np.float32]:
    """The target of auxiliary duplicating permutation invariant training, (num_labels, 6, 5, num_classes) float32.

    Axis 1: dummy tracks A0 (one event of the class), B0 B1 (two), C0 C1 C2 (three; of more, the first three in file
    order). Axis 2: activity, x, y, z, distance in metres (0 where unknown). Rows past `num_labels` are left out.

    Source: Shimada et al., "Multi-ACCDOA: localizing and detecting overlapping sounds from the same class with
    auxiliary duplicating permutation invariant training" (ICASSP 2022), section 3.
    """
    target = np.zeros((num_labels, NUM_DUMMY_TRACKS, NUM_TARGET_AXES, num_classes), dtype=np.float32)
    events = events.select((events.frame >= 0) & (events.frame < num_labels))
    if not len(events):
        return target
    cell = cells_of(events)
    order = np.argsort(cell, kind="stable")
    events, cell = events.select(order), cell[order]
    _, first, inverse, counts = np.unique(cell, return_index=True, return_inverse=True, return_counts=True)
    rank = np.arange(len(cell)) - first[inverse]
    tracks = np.minimum(counts[inverse], MAX_TRACKS)
    kept = rank < MAX_TRACKS
    # One event starts at dummy track 0, two at 1, three at 3.
    dummy = (tracks * (tracks - 1) // 2 + rank)[kept]
    frame, class_index = events.frame[kept], events.class_index[kept]
    target[frame, dummy, 0, class_index] = 1.0
    vectors = unit_vector(events.azimuth_deg[kept], events.elevation_deg[kept])
    for axis in range(3):
        target[frame, dummy, 1 + axis, class_index] = vectors[:, axis]
    target[frame, dummy, 4, class_index] = np.nan_to_num(events.distance_cm[kept]) / 100.0
    return target
