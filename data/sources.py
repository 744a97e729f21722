"""Procedural event sounds: one recipe a class, each distinct in spectrum and rhythm and varied within the class.

They stand in for recordings, so that the whole platform can be tried with nothing downloaded. All are mono, 24 kHz,
and scaled to the same mean power over the stretches in which they sound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import scipy.fft
import scipy.signal
from numpy.typing import NDArray

from data.classes import NUM_CLASSES
from data.rows import RATE_HZ

Signal = NDArray[np.float32]
Recipe = Callable[[np.random.Generator, int], NDArray]

# Mean power of a source while it sounds, heard at 1 m: 26 dB below full scale.
REFERENCE_RMS = 0.05
_FADE_S = 0.01


def make_source(class_index: int, rng: np.random.Generator, duration_s: float) -> Signal:
    """One event of a class: mono float32 of `duration_s` at 24 kHz, with `REFERENCE_RMS` while it sounds."""
    samples = round(duration_s * RATE_HZ)
    signal = np.asarray(_RECIPES[class_index](rng, samples)[:samples], dtype=np.float32)
    fade = min(round(_FADE_S * RATE_HZ), samples // 2)
    ramp = np.linspace(0.0, 1.0, fade, dtype=np.float32)
    signal[:fade] *= ramp
    signal[samples - fade :] *= ramp[::-1]
    return signal * np.float32(REFERENCE_RMS / active_rms(signal))


def active_rms(signal: NDArray) -> float:
    """Root mean square over the blocks of 20 ms that are within 30 dB of the loudest one."""
    block = RATE_HZ // 50
    power = np.square(signal[: len(signal) // block * block]).reshape(-1, block).mean(axis=1, dtype=np.float64)
    return float(np.sqrt(power[power > power.max() * 1e-3].mean()))


# --- building blocks -------------------------------------------------------------------------------------------------


def _time(samples: int) -> Signal:
    return np.arange(samples, dtype=np.float32) / np.float32(RATE_HZ)


def _curve(rng: np.random.Generator, samples: int, step_s: float, low: float, high: float) -> NDArray:
    """A curve that wanders between `low` and `high`, with a new goal every `step_s`."""
    knots = max(2, int(samples / RATE_HZ / step_s) + 2)
    return np.interp(np.arange(samples), np.linspace(0, samples, knots), rng.uniform(low, high, knots))


def _filtered(signal: NDArray, response: Callable[[NDArray], NDArray]) -> NDArray:
    """`signal` through a gain that depends on frequency in Hz, without phase."""
    size = scipy.fft.next_fast_len(len(signal), real=True)
    spectrum = scipy.fft.rfft(np.asarray(signal, dtype=np.float32), size)
    gain = response(np.fft.rfftfreq(size, 1 / RATE_HZ).astype(np.float32))
    return scipy.fft.irfft(spectrum * gain.astype(np.float32), size)[: len(signal)]


def _band(low_hz: float, high_hz: float) -> Callable[[NDArray], NDArray]:
    """A band with slopes of about 12 dB an octave."""
    return lambda f: 1.0 / np.sqrt((1.0 + (low_hz / np.maximum(f, 1.0)) ** 4) * (1.0 + (f / high_hz) ** 4))


def _formants(centres_hz: Sequence[float], gains: Sequence[float]) -> Callable[[NDArray], NDArray]:
    """Resonances with a bandwidth of 60 Hz and a tenth of their frequency."""

    def response(f: NDArray) -> NDArray:
        total = np.full_like(f, 0.005)
        for centre, gain in zip(centres_hz, gains, strict=True):
            total = total + gain / (1.0 + ((f - centre) / (30.0 + 0.05 * centre)) ** 2)
        return total

    return response


def _noise(rng: np.random.Generator, samples: int) -> Signal:
    return rng.standard_normal(samples, dtype=np.float32)


def _saw(f0_hz: NDArray) -> NDArray:
    """A sawtooth, rich in harmonics, with a frequency for each sample."""
    return 2.0 * (np.cumsum(f0_hz / RATE_HZ) % 1.0) - 1.0


def _onsets(rng: np.random.Generator, samples: int, interval_s: float, jitter: float) -> list[int]:
    """Starts about `interval_s` apart, the first one at once."""
    onsets, position = [], 0.01
    while position * RATE_HZ < samples:
        onsets.append(int(position * RATE_HZ))
        position += interval_s * rng.uniform(1.0 - jitter, 1.0 + jitter)
    return onsets


def _place(samples: int, onsets: Sequence[int], strokes: Sequence[NDArray]) -> NDArray:
    """Strokes added up at their onsets."""
    out = np.zeros(samples)
    for onset, stroke in zip(onsets, strokes, strict=True):
        piece = stroke[: samples - onset]
        out[onset : onset + len(piece)] += piece
    return out


def _decay(seconds: float, decay_s: float) -> Signal:
    """An envelope that starts at once and loses 60 dB in about 7 times `decay_s`."""
    t = _time(int(seconds * RATE_HZ))
    return np.exp(-t / decay_s) * np.minimum(1.0, t / 0.001)


# --- recipes ---------------------------------------------------------------------------------------------------------

_VOWELS = ((730, 1090, 2440), (530, 1840, 2480), (270, 2290, 3010), (570, 840, 2410), (300, 870, 2240))


def _speech(rng: np.random.Generator, samples: int, low_hz: float, high_hz: float, tract: float) -> NDArray:
    """Voiced syllables whose vowels change, with a little hiss between them."""
    base = rng.uniform(low_hz, high_hz)
    voice = _saw(base * _curve(rng, samples, 0.25, 0.85, 1.2)) + 0.05 * _noise(rng, samples)
    rate = rng.uniform(3.5, 5.0)
    syllable = np.sin(np.pi * rate * _time(samples) + rng.uniform(0, np.pi)) ** 2
    out = np.zeros(samples)
    blend = _curve(rng, samples, 0.3, 0.0, 2.0)
    for i, vowel in enumerate(rng.permutation(len(_VOWELS))[:3]):
        spoken = _filtered(voice, _formants([f * tract for f in _VOWELS[vowel]], (1.0, 0.6, 0.35)))
        out += spoken * np.maximum(0.0, 1.0 - np.abs(blend - i))
    hiss = _filtered(_noise(rng, samples), _band(4000 * tract, 8000 * tract))
    return out * (0.08 + syllable) + 0.04 * hiss * (1.0 - syllable) ** 4


def _female(rng: np.random.Generator, samples: int) -> NDArray:
    return _speech(rng, samples, 185.0, 260.0, 1.15)


def _male(rng: np.random.Generator, samples: int) -> NDArray:
    return _speech(rng, samples, 80.0, 125.0, 0.92)


def _clapping(rng: np.random.Generator, samples: int) -> NDArray:
    """Several hands at once: dense, bright, short bursts."""
    onsets = _onsets(rng, samples, rng.uniform(0.08, 0.12), 0.3)
    strokes = [rng.uniform(0.7, 1.0) * _decay(0.15, 0.02) * _noise(rng, int(0.15 * RATE_HZ)) for _ in onsets]
    return _filtered(_place(samples, onsets, strokes), _band(rng.uniform(1000, 1200), rng.uniform(2200, 3000)))


def _telephone(rng: np.random.Generator, samples: int) -> NDArray:
    """Two tones that take turns, in rings with short pauses."""
    t = _time(samples)
    low = rng.uniform(1350, 1500)
    turns = (t * rng.uniform(16, 24)) % 1.0 < 0.5
    tone = np.sin(2 * np.pi * np.cumsum(np.where(turns, low, low * rng.uniform(1.2, 1.3))) / RATE_HZ)
    ring, pause = rng.uniform(0.5, 0.9), rng.uniform(0.08, 0.15)
    return (tone + 0.3 * np.sign(tone) * np.abs(tone) ** 3) * (t % (ring + pause) < ring)


def _laughter(rng: np.random.Generator, samples: int) -> NDArray:
    """A quick, even row of breathy bursts, each falling in pitch."""
    interval = rng.uniform(0.17, 0.22)
    phase = _time(samples) / interval % 1.0
    burst = np.where(phase < 0.7, np.sin(np.pi * phase / 0.7), 0.0)
    voice = _saw(rng.uniform(380, 480) * (1.25 - 0.5 * phase) * _curve(rng, samples, 0.8, 0.85, 1.15))
    formants = _formants((rng.uniform(1150, 1350), 2200, 3300), (0.8, 1.0, 0.9))
    return _filtered((voice + 1.2 * _noise(rng, samples)) * burst, formants)


def _domestic(rng: np.random.Generator, samples: int) -> NDArray:
    """A motor: steady hum with overtones in steady low noise."""
    hum = _saw(np.full(samples, rng.uniform(95, 150)) * _curve(rng, samples, 1.0, 0.98, 1.02))
    wind = _filtered(_noise(rng, samples), _band(150, rng.uniform(600, 1000)))
    return 0.6 * _filtered(hum, _band(60, 700)) + 2.0 * wind


def _footsteps(rng: np.random.Generator, samples: int) -> NDArray:
    """A low thud and a short scrape after it."""
    onsets = _onsets(rng, samples, rng.uniform(0.24, 0.32), 0.06)
    thud_hz, strokes = rng.uniform(70, 130), []
    for _ in onsets:
        t = _time(int(0.25 * RATE_HZ))
        thud = np.sin(2 * np.pi * thud_hz * rng.uniform(0.9, 1.1) * t) * _decay(0.25, 0.06)
        scrape = _noise(rng, len(t)) * np.exp(-(((t - 0.1) / 0.04) ** 2))
        strokes.append(thud + 0.35 * scrape)
    return _place(samples, onsets, strokes)


def _door(rng: np.random.Generator, samples: int) -> NDArray:
    """A rising creak that ends in a slam, again and again."""
    out, start = np.zeros(samples), 0
    while start < samples:
        creak = int(rng.uniform(0.6, 0.9) * RATE_HZ)
        rise = np.linspace(1.0, rng.uniform(2.2, 3.0), creak)
        squeak = _filtered(_saw(rng.uniform(28, 45) * rise), _formants((rng.uniform(480, 640), 1900), (1.0, 0.3)))
        length = int(0.5 * RATE_HZ)
        slam = _filtered(_noise(rng, length), _band(60, rng.uniform(350, 500))) * _decay(0.5, 0.11)
        squeak /= np.abs(squeak).max()
        slam *= 2.5 / np.abs(slam).max()
        stroke = np.concatenate([0.7 * squeak * np.linspace(0.3, 1.0, creak), slam])
        piece = stroke[: samples - start]
        out[start : start + len(piece)] += piece
        start += creak + int(rng.uniform(0.45, 0.6) * RATE_HZ)
    return out


def _pluck(rng: np.random.Generator, f0_hz: float, seconds: float, harmonics: int, decay_s: float) -> NDArray:
    t = _time(int(seconds * RATE_HZ))
    out = np.zeros(len(t))
    for h in range(1, harmonics + 1):
        if h * f0_hz < 0.45 * RATE_HZ:
            out += np.sin(2 * np.pi * h * f0_hz * t + rng.uniform(0, 6.3)) * np.exp(-t * h**0.5 / decay_s) / h
    return out * np.minimum(1.0, t / 0.004)


def _music(rng: np.random.Generator, samples: int) -> NDArray:
    """Chords over a bass with a hi-hat on every half beat."""
    beat = rng.uniform(0.42, 0.6)
    root = rng.uniform(110, 165)
    onsets = _onsets(rng, samples, beat, 0.0)
    chords = []
    for _ in onsets:
        step = 2 ** (rng.choice([0, 3, 5, 7]) / 12)
        notes = [root * step * 2 ** (n / 12) for n in (0, 12, 16, 19)]
        chords.append(np.sum([_pluck(rng, note, beat * 1.1, 6, 0.5) for note in notes], axis=0))
    hats = _onsets(rng, samples, beat / 2, 0.0)
    hat = _filtered(_noise(rng, int(0.06 * RATE_HZ)), _band(7000, 11000)) * _decay(0.06, 0.015)
    return _place(samples, onsets, chords) + 1.5 * _place(samples, hats, [hat] * len(hats))


def _instrument(rng: np.random.Generator, samples: int) -> NDArray:
    """One bright, sustained note after another, with vibrato."""
    note_s = rng.uniform(0.35, 0.6)
    notes = np.array([0, 2, 4, 7, 9, 12])
    steps = rng.choice(notes, size=int(samples / RATE_HZ / note_s) + 2)
    index = (_time(samples) / note_s).astype(int)
    vibrato = 1.0 + 0.008 * np.sin(2 * np.pi * rng.uniform(5, 6.5) * _time(samples))
    tone = _saw(rng.uniform(480, 620) * 2 ** (steps[index] / 12) * vibrato)
    position = _time(samples) / note_s % 1.0
    envelope = np.minimum(1.0, position / 0.08) * np.minimum(1.0, (1.0 - position) / 0.12)
    return _filtered(tone, _band(500, 4500)) * envelope


def _water(rng: np.random.Generator, samples: int) -> NDArray:
    """Steady, bright, restless noise."""
    flow = _filtered(_noise(rng, samples), _band(rng.uniform(2500, 3500), rng.uniform(7000, 10000)))
    return flow * _curve(rng, samples, 0.03, 0.6, 1.4)


def _bell(rng: np.random.Generator, samples: int) -> NDArray:
    """Inharmonic partials that ring on."""
    base = rng.uniform(1900, 2400)
    onsets = _onsets(rng, samples, rng.uniform(0.35, 0.55), 0.08)
    t = _time(int(2.0 * RATE_HZ))
    partials = ((0.5, 0.4), (1.0, 1.0), (1.52, 0.7), (2.1, 0.7), (2.76, 0.6), (3.6, 0.5), (4.5, 0.4))
    stroke = sum(g * np.sin(2 * np.pi * base * r * t) * np.exp(-t * (0.8 + 0.4 * r)) for r, g in partials)
    stroke = stroke * np.minimum(1.0, t / 0.002)
    stroke[: RATE_HZ // 10] += _filtered(_noise(rng, RATE_HZ // 10), _band(2500, 9000)) * _decay(0.1, 0.012)
    return _place(samples, onsets, [stroke * rng.uniform(0.7, 1.0) for _ in onsets])


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
                ring = sum(np.sin(2 * np.pi * base * r * _time(int(0.1 * RATE_HZ))) / r for r in (1.0, 1.6, 2.3))
                click = 0.5 * _noise(rng, int(0.1 * RATE_HZ)) * _decay(0.1, 0.003)
                strokes.append(rng.uniform(0.8, 1.0) * (ring * _decay(0.1, 0.03) + click))
        start += group * interval + rng.uniform(0.08, 0.18)
    return _place(samples, onsets, strokes)


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
assert len(_RECIPES) == NUM_CLASSES
