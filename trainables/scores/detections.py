"""Predicted events, on their way from a model's outputs to scores and files."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from data.geometry import angles_deg
from data.labels import Events, cells_of


@dataclass(frozen=True, eq=False)
class Detections:
    """Predicted events, one row per event and label frame; the length of a vector is how active its class is."""

    frame: NDArray[np.int64]
    class_index: NDArray[np.int64]
    vector: NDArray[np.float64]
    """(n, 3): x, y, z."""
    distance_m: NDArray[np.float64] | None = None
    """(n,): where the model tells distances."""

    def __len__(self) -> int:
        return len(self.frame)

    def events(self) -> Events:
        """As an event table with angles in degrees; the source is the row's number in its label frame and class."""
        azimuth, elevation = angles_deg(self.vector)
        distance_cm = None if self.distance_m is None else 100.0 * self.distance_m
        events = Events.build(self.frame, self.class_index, self.frame, azimuth, elevation, distance_cm)
        return replace(events, source=rank_within(cells_of(events)))


def rank_within(key: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row, how many earlier rows have its key."""
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    rank = np.empty(len(key), dtype=np.int64)
    rank[order] = np.arange(len(key)) - np.searchsorted(ordered, ordered)
    return rank
