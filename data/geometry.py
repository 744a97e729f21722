"""Directions: angles in degrees, unit vectors, and pixels of an equirectangular picture.

Azimuth is counter-clockwise seen from above (0 front, 90 left), elevation is positive upwards; x points to the
front, y to the left, z up. This is the convention of STARSS23's metadata, audio and video alike.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.floating]


def wrap_azimuth_deg(azimuth_deg: ArrayLike) -> FloatArray:
    """Azimuths of any size, brought into [-180, 180)."""
    return (np.asarray(azimuth_deg, dtype=np.float64) + 180.0) % 360.0 - 180.0


def unit_vector(azimuth_deg: ArrayLike, elevation_deg: ArrayLike) -> FloatArray:
    """Directions (...) in degrees -> unit vectors (..., 3) as x, y, z."""
    azimuth, elevation = np.broadcast_arrays(np.deg2rad(azimuth_deg), np.deg2rad(elevation_deg))
    horizontal = np.cos(elevation)
    return np.stack([np.cos(azimuth) * horizontal, np.sin(azimuth) * horizontal, np.sin(elevation)], axis=-1)


def angles_deg(vector: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Vectors (..., 3) of any length but zero -> azimuth and elevation (...) in degrees."""
    x, y, z = np.moveaxis(np.asarray(vector, dtype=np.float64), -1, 0)
    return np.rad2deg(np.arctan2(y, x)), np.rad2deg(np.arctan2(z, np.hypot(x, y)))


def angle_between_deg(first: ArrayLike, second: ArrayLike) -> FloatArray:
    """Angle in degrees between vectors (..., 3) of any length; exact near 0 and 180 too."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    return np.rad2deg(np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(axis=-1)))


def pixel_of(
    azimuth_deg: ArrayLike, elevation_deg: ArrayLike, width: int, height: int
) -> tuple[FloatArray, FloatArray]:
    """Column and row of a direction in an equirectangular picture, as continuous coordinates.

    Pixel `i` covers [i, i + 1). The left edge is azimuth 180, the middle 0; the top row is elevation 90.
    """
    column = width * (180.0 - np.asarray(azimuth_deg, dtype=np.float64)) / 360.0 % width
    row = height * (90.0 - np.asarray(elevation_deg, dtype=np.float64)) / 180.0
    return column, row


def direction_of_pixel(column: ArrayLike, row: ArrayLike, width: int, height: int) -> tuple[FloatArray, FloatArray]:
    """Inverse of `pixel_of`: continuous column and row -> azimuth and elevation in degrees."""
    azimuth = 180.0 - 360.0 * np.asarray(column, dtype=np.float64) / width
    elevation = 90.0 - 180.0 * np.asarray(row, dtype=np.float64) / height
    return wrap_azimuth_deg(azimuth), elevation
