"""What sounds are made of: noise, tones, envelopes and filters at 24 kHz, and the level that all sources share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from data.timing import RATE_HZ

Signal = NDArray[np.float32]
Recipe = Callable[[np.random.Generator, int], NDArray]

# Mean power of a source while it sounds, heard at 1 m: 26 dB below full scale.
REFERENCE_RMS = 0.05
_FADE_S = 0.01
_BLOCK = RATE_HZ // 50


def levelled(signal: NDArray) -> Signal:
    """A sound (N,), N at least 480, faded in and out over 10 ms, with `REFERENCE_RMS` while it sounds; a copy."""
    signal = np.array(signal, dtype=np.float32)
    fade = min(round(_FADE_S * RATE_HZ), len(signal) // 2)
    ramp = np.linspace(0.0, 1.0, fade, dtype=np.float32)
    signal[:fade] *= ramp
    signal[len(signal) - fade :] *= ramp[::-1]
    return signal * np.float32(REFERENCE_RMS / active_rms(signal))


def active_rms(signal: NDArray) -> float:
    """Root mean square over the blocks of 20 ms that are within 30 dB of the loudest one."""
    power = block_power(signal)
    return float(np.sqrt(power[power > power.max() * 1e-3].mean()))


def block_power(signal: NDArray) -> NDArray[np.float64]:
    """Mean power of each whole block of 20 ms, (N // 480,)."""
    blocks = np.square(signal[: len(signal) // _BLOCK * _BLOCK]).reshape(-1, _BLOCK)
    return blocks.mean(axis=1, dtype=np.float64)


def time_s(samples: int) -> Signal:
    return np.arange(samples, dtype=np.float32) / np.float32(RATE_HZ)


def wander(rng: np.random.Generator, samples: int, step_s: float, low: float, high: float) -> NDArray:
    """A curve that wanders between `low` and `high`, with a new goal every `step_s`."""
    knots = max(2, int(samples / RATE_HZ / step_s) + 2)
    return np.interp(np.arange(samples), np.linspace(0, samples, knots), rng.uniform(low, high, knots))


def filtered(signal: NDArray, response: Callable[[NDArray], NDArray]) -> NDArray:
    """`signal` through a gain that depends on frequency in Hz, without phase."""
    size = scipy.fft.next_fast_len(len(signal), real=True)
    spectrum = scipy.fft.rfft(np.asarray(signal, dtype=np.float32), size)
    gain = response(np.fft.rfftfreq(size, 1 / RATE_HZ).astype(np.float32))
    return scipy.fft.irfft(spectrum * gain.astype(np.float32), size)[: len(signal)]


def band(low_hz: float, high_hz: float) -> Callable[[NDArray], NDArray]:
    """A band with slopes of about 12 dB an octave."""
    return lambda f: 1.0 / np.sqrt((1.0 + (low_hz / np.maximum(f, 1.0)) ** 4) * (1.0 + (f / high_hz) ** 4))


def resonances(centres_hz: Sequence[float], gains: Sequence[float]) -> Callable[[NDArray], NDArray]:
    """Resonances with a bandwidth of 60 Hz and a tenth of their frequency."""

    def response(f: NDArray) -> NDArray:
        total = np.full_like(f, 0.005)
        for centre, gain in zip(centres_hz, gains, strict=True):
            total = total + gain / (1.0 + ((f - centre) / (30.0 + 0.05 * centre)) ** 2)
        return total

    return response


def white_noise(rng: np.random.Generator, samples: int) -> Signal:
    return rng.standard_normal(samples, dtype=np.float32)


def sawtooth(f0_hz: NDArray) -> NDArray:
    """A sawtooth, rich in harmonics, with a frequency for each sample."""
    return 2.0 * (np.cumsum(f0_hz / RATE_HZ) % 1.0) - 1.0


def regular_onsets(rng: np.random.Generator, samples: int, interval_s: float, jitter: float) -> list[int]:
    """Starts about `interval_s` apart, the first one at once."""
    onsets, position = [], 0.01
    while position * RATE_HZ < samples:
        onsets.append(int(position * RATE_HZ))
        position += interval_s * rng.uniform(1.0 - jitter, 1.0 + jitter)
    return onsets


def placed(samples: int, onsets: Sequence[int], strokes: Sequence[NDArray]) -> NDArray:
    """Strokes added up at their onsets."""
    out = np.zeros(samples)
    for onset, stroke in zip(onsets, strokes, strict=True):
        piece = stroke[: samples - onset]
        out[onset : onset + len(piece)] += piece
    return out


def decay(seconds: float, decay_s: float) -> Signal:
    """An envelope that starts at once and loses 60 dB in about 7 times `decay_s`."""
    t = time_s(int(seconds * RATE_HZ))
    return np.exp(-t / decay_s) * np.minimum(1.0, t / 0.001)
