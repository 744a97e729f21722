"""Degrees or radians: DCASE's angles are degrees, and no file says so."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_LARGEST: Final = (np.pi + 0.001, np.pi / 2 + 0.001)
_FEWEST: Final = 20
"""With fewer, small angles may be small by chance."""


def like_radians(angles: NDArray[np.float64]) -> tuple[bool, bool]:
    """Whether azimuths, and elevations, of rows (n, 2) have decimals and are no larger than radians are."""
    if len(angles) < _FEWEST:
        return False, False
    decimals = (angles != np.rint(angles)).any(axis=0)
    azimuth, elevation = decimals & (np.abs(angles).max(axis=0) <= _LARGEST)
    return bool(azimuth), bool(elevation)
