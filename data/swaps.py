"""The eight audio-visual channel swaps: rotations and reflections that map the first-order format onto itself.

Each swap turns directions by multiples of 90 degrees about the vertical axis and may mirror azimuth or elevation, so
that audio, features, labels and pictures change by permutations and signs alone and nothing is resampled.

Source: the audio channel swapping of Wang et al. ("A four-stage data augmentation approach to ResNet-Conformer based
acoustic modeling", 2021), extended to video as in "Fusion of audio and visual embeddings for SELD" (ICASSP 2024).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.geometry import FloatArray, wrap_azimuth_deg


@dataclass(frozen=True)
class Swap:
    """One swap. New channel `i` of W, Y, Z, X is `channel_sign[i]` times old channel `channel_source[i]`."""

    azimuth_sign: int
    azimuth_offset_deg: int
    elevation_sign: int
    channel_source: tuple[int, int, int, int]
    channel_sign: tuple[int, int, int, int]


_W, _Y, _Z, _X = range(4)

# Index k holds case k + 1 of the published table.
SWAPS: Final[tuple[Swap, ...]] = (
    Swap(1, -90, -1, (_W, _X, _Z, _Y), (1, -1, -1, 1)),
    Swap(-1, -90, 1, (_W, _X, _Z, _Y), (1, -1, 1, -1)),
    Swap(1, 0, 1, (_W, _Y, _Z, _X), (1, 1, 1, 1)),
    Swap(-1, 0, -1, (_W, _Y, _Z, _X), (1, -1, -1, 1)),
    Swap(1, 90, -1, (_W, _X, _Z, _Y), (1, 1, -1, -1)),
    Swap(-1, 90, 1, (_W, _X, _Z, _Y), (1, 1, 1, 1)),
    Swap(1, 180, 1, (_W, _Y, _Z, _X), (1, -1, 1, -1)),
    Swap(-1, 180, -1, (_W, _Y, _Z, _X), (1, 1, -1, -1)),
)
NUM_SWAPS: Final = len(SWAPS)
IDENTITY: Final = 2

# Features: log-mel of W, Y, Z, X (power: no sign), then intensity of Y, Z, X.
_FEATURE_SOURCE = [list(s.channel_source) + [3 + c for c in s.channel_source[1:]] for s in SWAPS]
_FEATURE_SIGN = [[1, 1, 1, 1, *s.channel_sign[1:]] for s in SWAPS]

# Vectors x, y, z: in the order of the audio channels these are X (3), Y (1) and Z (2).
_AXES = (_X, _Y, _Z)
_VECTOR_SOURCE = [[_AXES.index(s.channel_source[c]) for c in _AXES] for s in SWAPS]
_VECTOR_SIGN = [[s.channel_sign[c] for c in _AXES] for s in SWAPS]


def _signed(sign: list[int], like: NDArray, axes_after: int) -> NDArray:
    return np.asarray(sign, dtype=like.dtype).reshape(-1, *([1] * axes_after))


def swap_audio(audio: NDArray, k: int) -> NDArray:
    """FOA audio (..., 4, N) in order W, Y, Z, X under swap `k` (0..7); a copy."""
    swap = SWAPS[k]
    return audio[..., list(swap.channel_source), :] * _signed(list(swap.channel_sign), audio, 1)


def swap_features(features: NDArray, k: int, out: NDArray | None = None) -> NDArray:
    """Features (..., 7, T, M), log-mel of W, Y, Z, X then intensity of Y, Z, X, under swap `k` (0..7).

    Exact: equal to the features of the swapped audio. Writes into `out` where given; `out` must not overlap.
    """
    if out is None:
        out = np.empty_like(features)
    for channel, (source, sign) in enumerate(zip(_FEATURE_SOURCE[k], _FEATURE_SIGN[k], strict=True)):
        if sign > 0:
            out[..., channel, :, :] = features[..., source, :, :]
        else:
            np.negative(features[..., source, :, :], out=out[..., channel, :, :])
    return out


def swap_target(target: NDArray, k: int) -> NDArray:
    """ADPIT targets (..., 6, 5, classes), second-last axis activity, x, y, z, distance; a copy."""
    swapped = target.copy()
    for axis, (source, sign) in enumerate(zip(_VECTOR_SOURCE[k], _VECTOR_SIGN[k], strict=True)):
        np.multiply(target[..., 1 + source, :], sign, out=swapped[..., 1 + axis, :], dtype=target.dtype)
    return swapped


def unswap_output(output: NDArray, k: int) -> NDArray:
    """ACCDOA (..., axes, classes) of a swapped window back to the unswapped scene; axes x, y, z and more; a copy."""
    turned = output.copy()
    for axis, (source, sign) in enumerate(zip(_VECTOR_SOURCE[k], _VECTOR_SIGN[k], strict=True)):
        np.multiply(output[..., axis, :], sign, out=turned[..., source, :], dtype=output.dtype)
    return turned


def swap_pictures(pictures: NDArray, k: int) -> NDArray:
    """Equirectangular pictures (..., H, W, 3) under swap `k`: flips and rolls by quarters of the width.

    Azimuth a' = s a + o moves column x to x - W o / 360 (s = 1) or, mirrored, to W - x - W o / 360 (s = -1).
    Under the identity they are no copy.
    """
    if k == IDENTITY:
        return pictures
    swap, width = SWAPS[k], pictures.shape[-2]
    if width % 4:
        raise ValueError(f"pictures of width {width} cannot be rolled by a quarter; use a width divisible by 4")
    if swap.elevation_sign < 0:
        pictures = pictures[..., ::-1, :, :]
    shift = -width * swap.azimuth_offset_deg // 360 % width
    if swap.azimuth_sign > 0:
        return np.roll(pictures, shift, axis=-2)
    mirrored = pictures[..., ::-1, :]
    swapped = np.empty(pictures.shape, pictures.dtype)
    # Mirrored pixels are copied one by one, and single bytes five times faster than three at a time.
    for channel in range(pictures.shape[-1]):
        swapped[..., :shift, channel] = mirrored[..., width - shift :, channel]
        swapped[..., shift:, channel] = mirrored[..., : width - shift, channel]
    return swapped


def swap_angles(azimuth_deg: ArrayLike, elevation_deg: ArrayLike, k: int) -> tuple[FloatArray, FloatArray]:
    """Directions in degrees under swap `k`; azimuth comes back in [-180, 180)."""
    swap = SWAPS[k]
    azimuth = swap.azimuth_sign * np.asarray(azimuth_deg, dtype=np.float64) + swap.azimuth_offset_deg
    return wrap_azimuth_deg(azimuth), swap.elevation_sign * np.asarray(elevation_deg, dtype=np.float64)
