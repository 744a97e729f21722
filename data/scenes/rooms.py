"""Shoebox rooms and their first-order ambisonic responses, for sources at rest and on the move.

A response has two parts. Early: the direct sound and the first image sources, each a delayed, attenuated plane wave
encoded at its own direction (W, Y, Z, X; SN3D: gains 1, sin a cos e, sin e, cos a cos e). Late: an exponentially
decaying diffuse field, independent noise in each channel with a third of W's power in Y, Z and X, whose level follows
from the room's volume. One fades into the other where the image sources get too many to be heard one by one.

Image sources: Allen and Berkley, "Image method for efficiently simulating small-room acoustics" (JASA 1979), found by
pyroomacoustics. Level of the late field: an echo density of 4 pi c^3 t^2 / V times the 1 / (c t)^2 of each echo
(Kuttruff, "Room Acoustics", chapter 4).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from data.errors import UserError
from data.geometry import angles_deg, unit_vector
from data.timing import RATE_HZ

SOUND_SPEED_M_S = 343.0
IMAGE_ORDER = 3

# How a moving source is cut: pieces that overlap by half under a raised cosine.
_HOP = 1200
_PIECE = 2 * _HOP

# A delay that is no whole number of samples: a windowed sinc of 2 * 16 taps.
_HALF_TAPS = 16

# The image sources fade into the late field over this stretch after the emission.
_FADE_START_S, _FADE_END_S = 0.015, 0.030
_EARLY_TAPS = 1024


@dataclass(frozen=True)
class Room:
    """A shoebox from (0, 0, 0) to `size_m` with a microphone at `receiver_m`, facing along x.

    `rt60_s` is its reverberation time; 0 stands for no walls at all.
    """

    name: str
    size_m: tuple[float, float, float]
    receiver_m: tuple[float, float, float]
    rt60_s: float

    @property
    def volume_m3(self) -> float:
        return float(np.prod(self.size_m))

    @property
    def absorption(self) -> float:
        """Energy that a wall takes, by Eyring's formula; 1 without reverberation."""
        if self.rt60_s <= 0:
            return 1.0
        length, width, height = self.size_m
        surface = 2 * (length * width + length * height + width * height)
        return float(1.0 - np.exp(-24 * np.log(10) / SOUND_SPEED_M_S * self.volume_m3 / (surface * self.rt60_s)))

    def wall_distance_m(self, direction: NDArray) -> NDArray:
        """How far the walls are from the microphone along unit vectors (..., 3)."""
        room = np.where(direction > 0, np.asarray(self.size_m) - self.receiver_m, self.receiver_m)
        return (room / np.maximum(np.abs(direction), 1e-9)).min(axis=-1)


def encoding_gains(direction: NDArray) -> NDArray[np.float64]:
    """Unit vectors (..., 3) as x, y, z -> gains (..., 4) of W, Y, Z, X in SN3D."""
    x, y, z = np.moveaxis(direction, -1, 0)
    return np.stack([np.ones_like(x), y, z, x], axis=-1)


def image_sources(room: Room, positions_m: NDArray, order: int = IMAGE_ORDER) -> tuple[NDArray, NDArray]:
    """Images of sources at `positions_m` (n, 3): offsets from the microphone (n, i, 3) and reflection gains (n, i).

    The source itself comes first. Needs the extra `synth`.
    """
    direct = positions_m[:, None, :] - np.asarray(room.receiver_m)
    if room.rt60_s <= 0:
        return direct, np.ones(direct.shape[:2])
    try:
        import pyroomacoustics as pra
    except ImportError as error:
        raise UserError("rooms need pyroomacoustics; install the extra: pip install 'seldtune[synth]'") from error
    box = pra.ShoeBox(room.size_m, fs=RATE_HZ, materials=pra.Material(room.absorption), max_order=order)
    for position in positions_m:
        box.add_source(position)
    box.add_microphone(room.receiver_m)
    box.image_source_model()
    offsets = np.stack([source.images.T for source in box.sources]) - np.asarray(room.receiver_m)
    gains = np.stack([source.damping[0] for source in box.sources])
    ranks = np.stack([source.orders for source in box.sources])
    order_of = np.argsort(ranks, axis=1, kind="stable")
    return np.take_along_axis(offsets, order_of[..., None], 1), np.take_along_axis(gains, order_of, 1)


def early_responses(room: Room, positions_m: NDArray) -> NDArray[np.float32]:
    """Early responses (n, 4, taps) from positions (n, 3) in metres; a source at 1 m has gain 1."""
    offsets, gains = image_sources(room, positions_m)
    distance = np.maximum(np.linalg.norm(offsets, axis=-1), 0.1)
    seconds = distance / SOUND_SPEED_M_S
    amplitude = gains / distance
    amplitude[:, 1:] *= np.cos(0.5 * np.pi * _fade(seconds[:, 1:]))
    delay = seconds * RATE_HZ
    heard = (amplitude != 0) & (delay < _EARLY_TAPS - _HALF_TAPS - 1)
    which, _ = np.nonzero(heard)
    delay, amplitude = delay[heard], amplitude[heard]
    weights = amplitude[:, None] * encoding_gains(offsets[heard] / distance[heard][:, None])
    first = np.floor(delay).astype(np.int64) - _HALF_TAPS + 1
    taps = first[:, None] + np.arange(2 * _HALF_TAPS)
    away = taps - delay[:, None]
    pulse = np.sinc(away) * np.cos(0.5 * np.pi * away / (_HALF_TAPS + 0.5)) ** 2
    cells = which[:, None] * _EARLY_TAPS + np.maximum(taps, 0)
    shape = (len(positions_m), _EARLY_TAPS)
    responses = [
        np.bincount(cells.ravel(), (weights[:, [c]] * pulse).ravel(), minlength=shape[0] * shape[1]).reshape(shape)
        for c in range(4)
    ]
    return np.stack(responses, axis=1).astype(np.float32)


def late_response(room: Room, distance_m: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """The diffuse part of a response (4, taps) for a source at `distance_m`, 60 dB deep; empty without walls."""
    if room.rt60_s <= 0:
        return np.zeros((4, 0), dtype=np.float32)
    t = np.arange(int(room.rt60_s * RATE_HZ), dtype=np.float64) / RATE_HZ
    power = 4 * np.pi * SOUND_SPEED_M_S / (room.volume_m3 * RATE_HZ) * 10 ** (-6 * t / room.rt60_s)
    # Nothing is heard before the direct sound.
    begin = np.sin(0.5 * np.pi * _fade(t)) * (t > distance_m / SOUND_SPEED_M_S + 0.002)
    noise = rng.standard_normal((4, len(t)))
    noise[1:] /= np.sqrt(3.0)
    return (noise * np.sqrt(power) * begin).astype(np.float32)


def _fade(seconds: NDArray) -> NDArray:
    """0 where only image sources are heard, 1 where only the late field is."""
    return np.clip((seconds - _FADE_START_S) / (_FADE_END_S - _FADE_START_S), 0.0, 1.0)


def spatialise(
    room: Room, signal: NDArray[np.float32], positions_m: NDArray, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Sound of a mono `signal` (N,) at the microphone: (4, N + a response's length - 1), float32.

    `positions_m` is (1, 3) for a source at rest, else (N // 1200 + 2, 3): where it is at every 50 ms.
    """
    early = early_responses(room, positions_m)
    near = float(np.linalg.norm(positions_m - np.asarray(room.receiver_m), axis=1).min())
    late = late_response(room, near, rng)
    taps = max(_EARLY_TAPS, late.shape[1])
    if len(positions_m) == 1:
        late = np.pad(late, ((0, 0), (0, taps - late.shape[1])))
        late[:, :_EARLY_TAPS] += early[0]
        return _convolve(signal, late)
    out = np.zeros((4, len(signal) + taps - 1), dtype=np.float32)
    if late.shape[1]:
        tail = _convolve(signal, late)
        out[:, : tail.shape[1]] = tail
    moved = _convolve_moving(signal, early)
    out[:, : min(moved.shape[1], out.shape[1])] += moved[:, : out.shape[1]]
    return out


def _convolve(signal: NDArray[np.float32], response: NDArray[np.float32]) -> NDArray[np.float32]:
    length = len(signal) + response.shape[1] - 1
    size = scipy.fft.next_fast_len(length, real=True)
    spectrum = scipy.fft.rfft(response, size) * scipy.fft.rfft(signal, size)
    return scipy.fft.irfft(spectrum, size)[:, :length]


def _convolve_moving(signal: NDArray[np.float32], responses: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each piece of the signal through the response of its middle; the pieces' windows add up to one."""
    count = len(signal) // _HOP + 2
    assert len(responses) == count, (len(responses), count)
    # Piece i is centred on sample i * hop.
    padded = np.zeros((count + 1) * _HOP, dtype=np.float32)
    padded[_HOP : _HOP + len(signal)] = signal
    window = (0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(_PIECE) + 0.5) / _PIECE)).astype(np.float32)
    pieces = np.lib.stride_tricks.sliding_window_view(padded, _PIECE)[::_HOP] * window
    size = scipy.fft.next_fast_len(_PIECE + responses.shape[2] - 1, real=True)
    spectra = scipy.fft.rfft(pieces, size)[:, None] * scipy.fft.rfft(responses, size)
    heard = scipy.fft.irfft(spectra, size)
    out = np.zeros((4, count * _HOP + size), dtype=np.float32)
    for i in range(count):
        out[:, i * _HOP : i * _HOP + size] += heard[i]
    return out[:, _HOP : _HOP + len(signal) + responses.shape[2] - 1]


def position_m(room: Room, azimuth_deg: float, elevation_deg: float, distance_m: float) -> NDArray[np.float64]:
    """A point in the room's coordinates (3,) from its direction and distance as seen by the microphone."""
    return np.asarray(room.receiver_m) + distance_m * unit_vector(azimuth_deg, elevation_deg)


def seen_from_receiver(room: Room, positions_m: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Points (..., 3) -> azimuth and elevation in degrees and distance in metres, each (...)."""
    offset = positions_m - np.asarray(room.receiver_m)
    return (*angles_deg(offset), np.linalg.norm(offset, axis=-1))
