"""What may have gone wrong between sound and labels, each as the change that would mend it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.agreement.directions import Floats
from data.labels import Events

Relabel = Callable[[Events], Events]
Degrees = NDArray[np.float64]
Angle = Callable[[Degrees, Degrees], Degrees]
"""One angle of both, azimuth and elevation."""


def directed(azimuth: Angle, elevation: Angle) -> Relabel:
    """Other directions of the same events, each from azimuth and elevation in degrees."""

    def relabel(events: Events) -> Events:
        angles = events.azimuth_deg, events.elevation_deg
        return replace(events, azimuth_deg=azimuth(*angles), elevation_deg=elevation(*angles))

    return relabel


def _timed(moved: Callable[[NDArray[np.int64]], NDArray[np.int64]]) -> Relabel:
    """The same events in other label frames; each of several that come into one frame counts."""

    def relabel(events: Events) -> Events:
        rows = np.stack([moved(events.frame), events.class_index, events.source], axis=1)
        _, first = np.unique(rows, axis=0, return_index=True)
        return Events(rows[first, 0], *(column[first] for column in events.columns()[1:]))

    return relabel


@dataclass(frozen=True)
class Change:
    """What would mend a data set."""

    says: str
    """After "sound and labels agree after"."""
    asks: str
    """What may be the reason."""
    relabel: Relabel | None = None
    channels: Floats | None = None


def _order(names: Sequence[str]) -> Floats:
    """What makes W, Y, Z, X of channels that have these names."""
    return np.eye(4)[[names.index(name) for name in "WYZX"]]


AS_IT_IS: Final = np.eye(4)
# Cardioids that look left and up front, right and down front, left and down back, right and up back.
FROM_CAPSULES: Final = 0.5 * np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, -1, -1, 1], [1, 1, -1, -1]], dtype=float)
CHANGES: Final = (
    Change(
        "azimuth -> -azimuth",
        "do labels count azimuth clockwise, or is Y inverted?",
        directed(lambda a, e: -a, lambda a, e: e),
    ),
    Change(
        "elevation -> -elevation",
        "do labels count elevation downwards, or is Z inverted?",
        directed(lambda a, e: a, lambda a, e: -e),
    ),
    Change(
        "azimuth -> 180 - azimuth",
        "is the front of the labels the back of the sound, or X inverted?",
        directed(lambda a, e: 180 - a, lambda a, e: e),
    ),
    Change(
        "azimuth -> -azimuth, elevation -> -elevation",
        "was the microphone upside down?",
        directed(lambda a, e: -a, lambda a, e: -e),
    ),
    Change(
        "degrees = 57.3 x the labels' angles",
        "are the labels in radians?",
        directed(lambda a, e: np.rad2deg(a), lambda a, e: np.rad2deg(e)),
    ),
    Change(
        "degrees = 57.3 x the labels' azimuth",
        "is the azimuth of the labels in radians?",
        directed(lambda a, e: np.rad2deg(a), lambda a, e: e),
    ),
    Change(
        "elevation -> 90 - elevation",
        "do labels count elevation from the top?",
        directed(lambda a, e: a, lambda a, e: 90 - e),
    ),
    Change(
        "azimuth and elevation swapped",
        "are the two columns of the labels swapped?",
        directed(lambda a, e: e, lambda a, e: a),
    ),
    Change("frame -> frame / 5", "do label frames count 20 ms? They are 0.1 s here", _timed(lambda f: f // 5)),
    Change("frame -> frame / 2", "do label frames count 50 ms? They are 0.1 s here", _timed(lambda f: f // 2)),
    Change("frame -> frame / 10", "do label frames count 10 ms? They are 0.1 s here", _timed(lambda f: f // 10)),
    Change("frame -> 10 x frame", "do label frames count seconds? They are 0.1 s here", _timed(lambda f: f * 10)),
    *(
        Change(
            f"channels read as {' '.join(names)}",
            "is it FuMa's order (ingest --ambisonics fuma)?"
            if names == tuple("WXYZ")
            else "are the channels in another order?",
            channels=_order(names),
        )
        for names in permutations("WYZX")
        if names != tuple("WYZX")
    ),
    Change("W -> -W", "is W inverted, or are Y, Z and X?", channels=np.diag([-1.0, 1.0, 1.0, 1.0])),
    Change("capsules made into W Y Z X", "is it the signal of four capsules (A-format)?", channels=FROM_CAPSULES),
)
"""The likelier first: of two after which they agree as well, the first counts."""
