"""Procedural event sounds: one recipe a class, each distinct in spectrum and rhythm and varied within the class.

They stand in for recordings, so that the whole platform can be tried with nothing downloaded. All are mono, 24 kHz,
and scaled to the same mean power over the stretches in which they sound.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.classes import STARSS23
from data.scenes.waveforms import (
    Recipe,
    Signal,
    band,
    decay,
    filtered,
    levelled,
    placed,
    regular_onsets,
    resonances,
    sawtooth,
    time_s,
    wander,
    white_noise,
)
from data.timing import RATE_HZ


def make_source(class_index: int, rng: np.random.Generator, duration_s: float) -> Signal:
    """One event of a class: mono float32 of `duration_s` at 24 kHz, with `REFERENCE_RMS` while it sounds."""
    samples = round(duration_s * RATE_HZ)
    return levelled(_RECIPES[class_index](rng, samples)[:samples])


_VOWELS = ((730, 1090, 2440), (530, 1840, 2480), (270, 2290, 3010), (570, 840, 2410), (300, 870, 2240))


def _speech(rng: np.random.Generator, samples: int, low_hz: float, high_hz: float, tract: float) -> NDArray:
    """Voiced syllables whose vowels change, with a little hiss between them."""
    base = rng.uniform(low_hz, high_hz)
    voice = sawtooth(base * wander(rng, samples, 0.25, 0.85, 1.2)) + 0.05 * white_noise(rng, samples)
    rate = rng.uniform(3.5, 5.0)
    syllable = np.sin(np.pi * rate * time_s(samples) + rng.uniform(0, np.pi)) ** 2
    out = np.zeros(samples)
    blend = wander(rng, samples, 0.3, 0.0, 2.0)
    for i, vowel in enumerate(rng.permutation(len(_VOWELS))[:3]):
        spoken = filtered(voice, resonances([f * tract for f in _VOWELS[vowel]], (1.0, 0.6, 0.35)))
        out += spoken * np.maximum(0.0, 1.0 - np.abs(blend - i))
    hiss = filtered(white_noise(rng, samples), band(4000 * tract, 8000 * tract))
    return out * (0.08 + syllable) + 0.04 * hiss * (1.0 - syllable) ** 4


def _female(rng: np.random.Generator, samples: int) -> NDArray:
    return _speech(rng, samples, 185.0, 260.0, 1.15)


def _male(rng: np.random.Generator, samples: int) -> NDArray:
    return _speech(rng, samples, 80.0, 125.0, 0.92)


def _clapping(rng: np.random.Generator, samples: int) -> NDArray:
    """Several hands at once: dense, bright, short bursts."""
    onsets = regular_onsets(rng, samples, rng.uniform(0.08, 0.12), 0.3)
    strokes = [rng.uniform(0.7, 1.0) * decay(0.15, 0.02) * white_noise(rng, int(0.15 * RATE_HZ)) for _ in onsets]
    return filtered(placed(samples, onsets, strokes), band(rng.uniform(1000, 1200), rng.uniform(2200, 3000)))


def _telephone(rng: np.random.Generator, samples: int) -> NDArray:
    """Two tones that take turns, in rings with short pauses."""
    t = time_s(samples)
    low = rng.uniform(1350, 1500)
    turns = (t * rng.uniform(16, 24)) % 1.0 < 0.5
    tone = np.sin(2 * np.pi * np.cumsum(np.where(turns, low, low * rng.uniform(1.2, 1.3))) / RATE_HZ)
    ring, pause = rng.uniform(0.5, 0.9), rng.uniform(0.08, 0.15)
    return (tone + 0.3 * np.sign(tone) * np.abs(tone) ** 3) * (t % (ring + pause) < ring)


def _laughter(rng: np.random.Generator, samples: int) -> NDArray:
    """A quick, even row of breathy bursts, each falling in pitch."""
    interval = rng.uniform(0.17, 0.22)
    phase = time_s(samples) / interval % 1.0
    burst = np.where(phase < 0.7, np.sin(np.pi * phase / 0.7), 0.0)
    voice = sawtooth(rng.uniform(380, 480) * (1.25 - 0.5 * phase) * wander(rng, samples, 0.8, 0.85, 1.15))
    formants = resonances((rng.uniform(1150, 1350), 2200, 3300), (0.8, 1.0, 0.9))
    return filtered((voice + 1.2 * white_noise(rng, samples)) * burst, formants)


def _domestic(rng: np.random.Generator, samples: int) -> NDArray:
    """A motor: steady hum with overtones in steady low noise."""
    hum = sawtooth(np.full(samples, rng.uniform(95, 150)) * wander(rng, samples, 1.0, 0.98, 1.02))
    wind = filtered(white_noise(rng, samples), band(150, rng.uniform(600, 1000)))
    return 0.6 * filtered(hum, band(60, 700)) + 2.0 * wind


def _footsteps(rng: np.random.Generator, samples: int) -> NDArray:
    """A low thud and a short scrape after it."""
    onsets = regular_onsets(rng, samples, rng.uniform(0.24, 0.32), 0.06)
    thud_hz, strokes = rng.uniform(70, 130), []
    for _ in onsets:
        t = time_s(int(0.25 * RATE_HZ))
        thud = np.sin(2 * np.pi * thud_hz * rng.uniform(0.9, 1.1) * t) * decay(0.25, 0.06)
        scrape = white_noise(rng, len(t)) * np.exp(-(((t - 0.1) / 0.04) ** 2))
        strokes.append(thud + 0.35 * scrape)
    return placed(samples, onsets, strokes)


def _door(rng: np.random.Generator, samples: int) -> NDArray:
    """A rising creak that ends in a slam, again and again."""
    out, start = np.zeros(samples), 0
    while start < samples:
        creak = int(rng.uniform(0.6, 0.9) * RATE_HZ)
        rise = np.linspace(1.0, rng.uniform(2.2, 3.0), creak)
        squeak = filtered(sawtooth(rng.uniform(28, 45) * rise), resonances((rng.uniform(480, 640), 1900), (1.0, 0.3)))
        length = int(0.5 * RATE_HZ)
        slam = filtered(white_noise(rng, length), band(60, rng.uniform(350, 500))) * decay(0.5, 0.11)
        squeak /= np.abs(squeak).max()
        slam *= 2.5 / np.abs(slam).max()
        stroke = np.concatenate([0.7 * squeak * np.linspace(0.3, 1.0, creak), slam])
        piece = stroke[: samples - start]
        out[start : start + len(piece)] += piece
        start += creak + int(rng.uniform(0.45, 0.6) * RATE_HZ)
    return out


def _pluck(rng: np.random.Generator, f0_hz: float, seconds: float, harmonics: int, decay_s: float) -> NDArray:
    t = time_s(int(seconds * RATE_HZ))
    out = np.zeros(len(t))
    for h in range(1, harmonics + 1):
        if h * f0_hz < 0.45 * RATE_HZ:
            out += np.sin(2 * np.pi * h * f0_hz * t + rng.uniform(0, 6.3)) * np.exp(-t * h**0.5 / decay_s) / h
    return out * np.minimum(1.0, t / 0.004)


def _music(rng: np.random.Generator, samples: int) -> NDArray:
    """Chords over a bass with a hi-hat on every half beat."""
    beat = rng.uniform(0.42, 0.6)
    root = rng.uniform(110, 165)
    onsets = regular_onsets(rng, samples, beat, 0.0)
    chords = []
    for _ in onsets:
        step = 2 ** (rng.choice([0, 3, 5, 7]) / 12)
        notes = [root * step * 2 ** (n / 12) for n in (0, 12, 16, 19)]
        chords.append(np.sum([_pluck(rng, note, beat * 1.1, 6, 0.5) for note in notes], axis=0))
    hats = regular_onsets(rng, samples, beat / 2, 0.0)
    hat = filtered(white_noise(rng, int(0.06 * RATE_HZ)), band(7000, 11000)) * decay(0.06, 0.015)
    return placed(samples, onsets, chords) + 1.5 * placed(samples, hats, [hat] * len(hats))


def _instrument(rng: np.random.Generator, samples: int) -> NDArray:
    """One bright, sustained note after another, with vibrato."""
    note_s = rng.uniform(0.35, 0.6)
    notes = np.array([0, 2, 4, 7, 9, 12])
    steps = rng.choice(notes, size=int(samples / RATE_HZ / note_s) + 2)
    index = (time_s(samples) / note_s).astype(int)
    vibrato = 1.0 + 0.008 * np.sin(2 * np.pi * rng.uniform(5, 6.5) * time_s(samples))
    tone = sawtooth(rng.uniform(480, 620) * 2 ** (steps[index] / 12) * vibrato)
    position = time_s(samples) / note_s % 1.0
    envelope = np.minimum(1.0, position / 0.08) * np.minimum(1.0, (1.0 - position) / 0.12)
    return filtered(tone, band(500, 4500)) * envelope


def _water(rng: np.random.Generator, samples: int) -> NDArray:
    """Steady, bright, restless noise."""
    flow = filtered(white_noise(rng, samples), band(rng.uniform(2500, 3500), rng.uniform(7000, 10000)))
    return flow * wander(rng, samples, 0.03, 0.6, 1.4)


def _bell(rng: np.random.Generator, samples: int) -> NDArray:
    """Inharmonic partials that ring on."""
    base = rng.uniform(1900, 2400)
    onsets = regular_onsets(rng, samples, rng.uniform(0.35, 0.55), 0.08)
    t = time_s(int(2.0 * RATE_HZ))
    partials = ((0.5, 0.4), (1.0, 1.0), (1.52, 0.7), (2.1, 0.7), (2.76, 0.6), (3.6, 0.5), (4.5, 0.4))
    stroke = sum(g * np.sin(2 * np.pi * base * r * t) * np.exp(-t * (0.8 + 0.4 * r)) for r, g in partials)
    stroke = stroke * np.minimum(1.0, t / 0.002)
    stroke[: RATE_HZ // 10] += filtered(white_noise(rng, RATE_HZ // 10), band(2500, 9000)) * decay(0.1, 0.012)
    return placed(samples, onsets, [stroke * rng.uniform(0.7, 1.0) for _ in onsets])


def _knock(rng: np.random.Generator, samples: int) -> NDArray:
    """Groups of quick, woody strokes."""
    base, interval = rng.uniform(330, 480), rng.uniform(0.09, 0.12)
    group, onsets, strokes = int(rng.integers(4, 7)), [], []
    start = 0.01
    while start * RATE_HZ < samples:
        for i in range(group):
            onset = int((start + i * interval) * RATE_HZ)
            if onset < samples:
                onsets.append(onset)
                ring = sum(np.sin(2 * np.pi * base * r * time_s(int(0.1 * RATE_HZ))) / r for r in (1.0, 1.6, 2.3))
                click = 0.5 * white_noise(rng, int(0.1 * RATE_HZ)) * decay(0.1, 0.003)
                strokes.append(rng.uniform(0.8, 1.0) * (ring * decay(0.1, 0.03) + click))
        start += group * interval + rng.uniform(0.08, 0.18)
    return placed(samples, onsets, strokes)


_RECIPES: tuple[Recipe, ...] = (
    _female,
    _male,
    _clapping,
    _telephone,
    _laughter,
    _domestic,
    _footsteps,
    _door,
    _music,
    _instrument,
    _water,
    _bell,
    _knock,
)
assert len(_RECIPES) == len(STARSS23)
