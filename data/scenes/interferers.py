"""Procedural interferers: directional sounds that belong to none of the classes and carry no label.

Made as the sources of `data.scenes.sources` are: mono, 24 kHz, varied, and at one level while they sound.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.scenes.waveforms import (
    Recipe,
    Signal,
    band,
    decay,
    filtered,
    levelled,
    placed,
    regular_onsets,
    time_s,
    wander,
    white_noise,
)
from data.timing import RATE_HZ


def make_interferer(kind: str, rng: np.random.Generator, duration_s: float) -> Signal:
    """One interferer of a kind (see `KINDS`): mono float32 of `duration_s` at 24 kHz."""
    samples = round(duration_s * RATE_HZ)
    return levelled(_RECIPES[kind](rng, samples)[:samples])


def _fan(rng: np.random.Generator, samples: int) -> NDArray:
    """Air that each blade chops anew."""
    air = filtered(white_noise(rng, samples), band(rng.uniform(500, 700), rng.uniform(1300, 1700)))
    turned = np.cumsum(rng.uniform(11, 17) * wander(rng, samples, 2.0, 0.95, 1.05)) / RATE_HZ
    return air * (0.25 + np.sin(np.pi * turned) ** 4)


def _siren(rng: np.random.Generator, samples: int) -> NDArray:
    """One tone that sweeps up and down over more than an octave."""
    low, high = rng.uniform(450, 650), rng.uniform(1400, 1900)
    sweep = 0.5 - 0.5 * np.cos(2 * np.pi * time_s(samples) / rng.uniform(1.5, 4.0) + rng.uniform(0, 2 * np.pi))
    phase = 2 * np.pi * np.cumsum(low * (high / low) ** sweep) / RATE_HZ
    return np.sin(phase) + 0.3 * np.sin(3 * phase)


def _ticking(rng: np.random.Generator, samples: int) -> NDArray:
    """A clock: short, dry, high strokes, every other one lower."""
    onsets = regular_onsets(rng, samples, rng.uniform(0.2, 0.5), 0.0)
    pitch = rng.uniform(4500, 6500)
    envelope = decay(0.03, 0.003)
    t = time_s(len(envelope))
    strokes = [np.sin(2 * np.pi * pitch * (1.0, 0.8)[i % 2] * t) * envelope for i in range(len(onsets))]
    return placed(samples, onsets, strokes)


def _electric_hum(rng: np.random.Generator, samples: int) -> NDArray:
    """A transformer: overtones of twice the mains' frequency, up to where they buzz, without any change."""
    mains_hz = rng.choice([50.0, 60.0])
    t, out = time_s(samples), np.zeros(samples)
    for overtone in range(1, 16):
        gain = rng.uniform(0.5, 1.0) / overtone**0.5
        out += gain * np.sin(2 * np.pi * 2 * mains_hz * overtone * t + rng.uniform(0, 2 * np.pi))
    return out


_RECIPES: Final[dict[str, Recipe]] = {
    "fan": _fan,
    "siren": _siren,
    "ticking": _ticking,
    "electric hum": _electric_hum,
}
KINDS: Final = tuple(_RECIPES)
