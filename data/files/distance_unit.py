"""Metres or centimetres: DCASE's labels and predictions have both, and no file says which."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

_CM_FROM_MEDIAN: Final = 20.0
"""Sources are nearer than 20 m and further off than 20 cm."""


def unit_of(distances: NDArray[np.float64]) -> Literal["m", "cm"]:
    """The unit of distances, NaN or 0 where unknown, by their median."""
    known = distances[np.isfinite(distances) & (distances != 0)]
    return "cm" if len(known) and np.median(known) > _CM_FROM_MEDIAN else "m"
