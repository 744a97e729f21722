"""The mean of several predictions for the same labels: of overlapping windows, and of a window under channel swaps.

Which event a track of multi-ACCDOA follows is arbitrary, so tracks are brought into the order of the mean so far
before they are added to it.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]


def align_tracks(values: FloatArray, reference: FloatArray) -> FloatArray:
    """`values` (T, tracks, axes, classes) with the tracks of each label and class in the order nearest to `reference`.

    Nearest in squared distance over all tracks; the first such order where several are. A copy.
    """
    tracks = values.shape[1]
    orders = np.array(list(permutations(range(tracks))))
    # The squares are the same for every order; what differs is how far the two agree.
    agreement = np.einsum("tiac,tjac->tcij", reference, values)
    total = np.stack([agreement[..., range(tracks), order].sum(-1) for order in orders], axis=-1)
    best = orders[total.argmax(axis=-1)]
    return np.take_along_axis(values, best.transpose(0, 2, 1)[:, :, None, :], axis=1)


class TrackMean:
    """The running mean over a recording's label frames, (num_labels, tracks, axes, classes)."""

    def __init__(self, num_labels: int, tracks: int, axes: int, classes: int) -> None:
        self._sum = np.zeros((num_labels, tracks, axes, classes), dtype=np.float64)
        self._count = np.zeros(num_labels, dtype=np.int64)

    def add(self, start: int, values: FloatArray) -> None:
        """Add (T, tracks, axes, classes) from label frame `start` on; what reaches past the end is left out."""
        values = values[: len(self._sum) - start]
        there = slice(start, start + len(values))
        # The sum points where the mean does, and zero agrees with every order alike: the first, unchanged.
        self._sum[there] += align_tracks(values, self._sum[there])
        self._count[there] += 1

    def mean(self) -> NDArray[np.float32]:
        """(num_labels, tracks * axes * classes)."""
        mean = self._sum / np.maximum(self._count, 1)[:, None, None, None]
        return mean.reshape(len(mean), -1).astype(np.float32)
