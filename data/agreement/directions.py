"""Directions taken from first-order ambisonic sound.

They are those of the active intensity, Re(conj(W) [X, Y, Z]), over small regions in time and frequency, each weighted
by how far it is from diffuse, so that the direct path outweighs reverberation and noise (Merimaa and Pulkki, "Spatial
impulse response rendering I", JAES 53(12), 2005).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.labels import Events
from data.timing import RATE_HZ, SAMPLES_PER_LABEL

Floats = NDArray[np.floating]

_SEGMENT: Final = SAMPLES_PER_LABEL // 4
_PIECE: Final = 20
"""Label frames that are transformed at a time: what they take stays in the cache, and is little."""
_LOWEST_HZ, _HIGHEST_HZ = 300, 5000
_BINS: Final = 5
"""Of a region, 200 Hz in all."""
_CLEAR: Final = 0.7
"""Length of the mean direction of a frame's regions, 1 where all are the same."""
_W: Final = 0
_XYZ: Final = [3, 1, 2]


@dataclass(frozen=True, eq=False)
class Heard:
    """A stretch of sound by its covariances, and the labels of it."""

    covariance: NDArray[np.float32]
    """(label frames, regions of frequency, 4, 4), real part, channels as in the file: W, Y, Z, X if all is right."""
    events: Events

    def directions(self, channels: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Unit vectors (label frames, 3) from where it sounds, and where they are clear.

        Args:
            channels: (4, 4), what makes W, Y, Z, X of the file's channels.
        """
        intensity = (channels[_W] @ self.covariance) @ channels[_XYZ].T
        # The trace of A C A', without the product.
        energy = np.einsum("frij,ij->fr", self.covariance, channels.T @ channels)
        length = np.linalg.norm(intensity, axis=-1)
        is_sound = (energy > 0) & (length > 0)
        direct = np.divide(2 * length, energy, out=np.zeros_like(length), where=is_sound)
        unit = np.divide(intensity, length[..., None], out=np.zeros_like(intensity), where=is_sound[..., None])
        mean = (unit * direct[..., None]).sum(axis=1)
        long = np.linalg.norm(mean, axis=-1)
        clear = long > _CLEAR * np.maximum(direct.sum(axis=1), 1e-9)
        return mean / np.maximum(long, 1e-12)[:, None], clear


def listen(audio: NDArray[np.int16], events: Events) -> Heard:
    """What (4, N) int16 at 24 kHz says of directions; labels past its end are left out."""
    frames = audio.shape[1] // SAMPLES_PER_LABEL
    cut = audio[:, : frames * SAMPLES_PER_LABEL].reshape(4, frames, SAMPLES_PER_LABEL)
    return Heard(_covariance(cut), events.select(events.frame < frames))


def listen_to_some(audio: NDArray[np.int16], events: Events, most: int) -> Heard:
    """The same of so many label frames at most, spread over those in which one source is labelled, and of no others.

    They are counted anew, so that nothing can be said of when they are.
    """
    frames = audio.shape[1] // SAMPLES_PER_LABEL
    counts = np.bincount(events.frame[events.frame < frames], minlength=frames)
    single = np.flatnonzero(counts == 1)
    chosen = single[np.linspace(0, len(single) - 1, min(most, len(single))).astype(int)]
    cut = audio[:, : frames * SAMPLES_PER_LABEL].reshape(4, frames, SAMPLES_PER_LABEL)[:, chosen]
    rows = events.select(np.isin(events.frame, chosen))
    return Heard(_covariance(cut), replace(rows, frame=np.searchsorted(chosen, rows.frame)))


def _covariance(cut: NDArray[np.int16]) -> NDArray[np.float32]:
    """(4, label frames, samples of one) -> (label frames, regions, 4, 4), the real part."""
    pieces = [_of_piece(cut[:, start : start + _PIECE]) for start in range(0, cut.shape[1], _PIECE)]
    return np.concatenate(pieces or [_of_piece(cut)])


def _of_piece(cut: NDArray[np.int16]) -> NDArray[np.float32]:
    frames, segments = cut.shape[1], SAMPLES_PER_LABEL // _SEGMENT
    # In double precision, in which NumPy's transform takes half the time.
    windowed = cut.reshape(4, frames, segments, _SEGMENT) * np.hanning(_SEGMENT)
    first, regions = (hz * _SEGMENT // RATE_HZ for hz in (_LOWEST_HZ, (_HIGHEST_HZ - _LOWEST_HZ) // _BINS))
    spectrum = np.fft.rfft(windowed)[..., first : first + regions * _BINS].astype(np.complex64, "C")
    # Real and imaginary parts side by side: the real part of x y* is the sum of their products.
    parts = spectrum.view(np.float32).reshape(4, frames, segments, regions, 2 * _BINS)
    of_region = parts.transpose(1, 3, 0, 2, 4).reshape(frames, regions, 4, segments * 2 * _BINS)
    return of_region @ of_region.swapaxes(2, 3)
