"""Which predicted event is which event of the reference: label frame by label frame, class by class, by angle.

Every score of sound event localisation begins with this. Whole recordings are paired at once, not step by step.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data.geometry import angles_deg, unit_vector, wrap_azimuth_deg
from data.labels import Events

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# Up to so many events of one class at once are paired by dynamic programming over all their subsets.
_MAX_SUBSETS_OF = 8


class Located(Protocol):
    """Rows of frame, class and vector (n, 3) of any length but zero, such as `trainables.scores.detections` has."""

    @property
    def frame(self) -> IntArray: ...
    @property
    def class_index(self) -> IntArray: ...
    @property
    def vector(self) -> FloatArray: ...
    def __len__(self) -> int: ...


class Cells:
    """The rows of a table in the first label frames of a recording, grouped by cell: a label frame and a class.

    Rows of a cell follow each other in file order: their place in it is their track.
    """

    rows: IntArray
    """Where in the table each grouped row stands."""
    unit: FloatArray
    """Directions of the grouped rows, (n, 3)."""
    count: IntArray
    """Rows in each cell, (num_labels * num_classes,)."""
    first: IntArray
    """The first grouped row of each cell."""

    def __init__(self, table: Events | Located, num_labels: int, num_classes: int) -> None:
        assert table.class_index.max(initial=0) < num_classes, f"a class beyond the {num_classes} that there are"
        scored = np.nonzero((table.frame >= 0) & (table.frame < num_labels))[0]
        cell = table.frame[scored] * num_classes + table.class_index[scored]
        self.rows = scored[np.argsort(cell, kind="stable")]
        if isinstance(table, Events):
            vector = unit_vector(table.azimuth_deg[self.rows], table.elevation_deg[self.rows])
        else:
            vector = table.vector[self.rows]
            vector = vector / np.maximum(np.linalg.norm(vector, axis=-1, keepdims=True), 1e-12)
        self.unit = np.asarray(vector, dtype=np.float64)
        self.count = np.bincount(cell, minlength=num_labels * num_classes)
        self.first = np.cumsum(self.count) - self.count


def classes_in(*tables: Events | Located) -> int:
    """How many classes there have to be, at least, for what the tables hold."""
    return 1 + max(int(table.class_index.max(initial=0)) for table in tables)


@dataclass(frozen=True, eq=False)
class Matches:
    """Pairs of a reference and a predicted row of one cell; columns (n,)."""

    cell: IntArray
    track: IntArray
    """The place of the reference row in its cell."""
    true: IntArray
    """Index into the grouped rows of the reference."""
    predicted: IntArray
    angle_deg: FloatArray


def match(true: Cells, predicted: Cells, cosine_factor: float = 1.0) -> Matches:
    """In each cell, the pairing with the smallest sum of angles; cosines are first multiplied by `cosine_factor`."""
    both = np.nonzero((true.count > 0) & (predicted.count > 0))[0]
    # Cells with as many rows on both sides are worked on together.
    stride = int(predicted.count.max(initial=0)) + 1
    size = true.count[both] * stride + predicted.count[both]
    parts = []
    for n, m in (divmod(number, stride) for number in np.unique(size).tolist()):
        cells = both[size == n * stride + m]
        left = true.first[cells, None] + np.arange(n)
        right = predicted.first[cells, None] + np.arange(m)
        cosine = (true.unit[left][:, :, None] * predicted.unit[right][:, None]).sum(axis=-1) * cosine_factor
        angle = np.rad2deg(np.arccos(np.clip(cosine, -1.0, 1.0)))
        k = np.arange(len(cells))
        for row, column in zip(*assignment(angle), strict=True):
            parts.append((cells, row, left[k, row], right[k, column], angle[k, row, column]))
    if not parts:
        none = np.zeros(0, dtype=np.int64)
        return Matches(none, none, none, none, np.zeros(0))
    columns: list[NDArray[Any]] = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Matches(*columns)


def axis_errors_deg(reference: Events | Located, predicted: Events | Located) -> tuple[FloatArray, FloatArray]:
    """|azimuth| and |elevation| error (n,) of each predicted event that is matched with one of the reference.

    LE does not tell which of the two is off. All label frames of a recording count.
    """
    num_labels = 1 + max(int(table.frame.max(initial=-1)) for table in (reference, predicted))
    num_classes = classes_in(reference, predicted)
    true, ours = Cells(reference, num_labels, num_classes), Cells(predicted, num_labels, num_classes)
    matches = match(true, ours)
    (true_azimuth, true_elevation), (azimuth, elevation) = (
        angles_deg(cells.unit[rows]) for cells, rows in ((true, matches.true), (ours, matches.predicted))
    )
    return np.abs(wrap_azimuth_deg(azimuth - true_azimuth)), np.abs(elevation - true_elevation)


def axis_error_sums_deg(reference: Events | Located, predicted: Events | Located) -> FloatArray:
    """Sums (3,) of `axis_errors_deg`, azimuth first, and how many were matched; those of recordings add up."""
    azimuth, elevation = axis_errors_deg(reference, predicted)
    return np.array([azimuth.sum(), elevation.sum(), len(azimuth)])


def median_axis_errors_deg(pairs: Iterable[tuple[Events | Located, Events | Located]]) -> dict[str, float | None]:
    """Medians of `axis_errors_deg` over recordings, references first; None where nothing is matched."""
    columns = zip(*(axis_errors_deg(reference, predicted) for reference, predicted in pairs), strict=True)
    errors = [np.concatenate(column) for column in columns]
    return {
        name: float(np.median(error)) if len(error) else None
        for name, error in zip(("azimuth", "elevation"), errors, strict=True)
    }


def axis_errors_text(errors: dict[str, float | None]) -> str:
    """As people read them, beside LE."""
    values = (f"{name} {error:.1f} deg" for name, error in errors.items() if error is not None)
    return f"median error of matched events: {', '.join(values) or 'nothing is matched'}"


def assignment(cost: FloatArray) -> tuple[IntArray, IntArray]:
    """The cheapest pairing of rows with columns for each matrix of (K, n, m): rows and columns, both (min(n, m), K).

    Exact, by dynamic programming over the sets of columns already taken; sizes are those of events of one class at
    once, so a handful, and what is more goes through scipy.
    """
    count, n, m = cost.shape
    if n > m:
        columns, rows = assignment(cost.swapaxes(1, 2))
        return rows, columns
    if n == 1:
        return np.zeros((1, count), dtype=np.int64), cost.argmin(axis=2).T
    if m > _MAX_SUBSETS_OF:
        from scipy.optimize import linear_sum_assignment

        pairs = np.array([linear_sum_assignment(each) for each in cost])
        return pairs[:, 0].T, pairs[:, 1].T
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
