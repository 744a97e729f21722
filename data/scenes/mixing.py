"""The sound of a scene in first-order ambisonics: each part by itself, and all of them as a recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from data.scenes.event_folder import read_excerpt
from data.scenes.interferers import make_interferer
from data.scenes.parts import Scene, SceneEvent
from data.scenes.rooms import spatialise
from data.scenes.sources import make_source
from data.scenes.waveforms import Signal
from data.timing import LABEL_HOP_S, SAMPLES_PER_LABEL

_PEAK: Final = 0.97
# Mean power that the noise of an empty scene is measured against.
_QUIET_POWER: Final = 1e-4

Sounds = tuple[tuple[int, NDArray[np.float32]], ...]


@dataclass(frozen=True, eq=False)
class Stems:
    """What a recording is made of, float32: sounds (4, n), each from a first sample on, and noise (4, N).

    Sounds come in the order in which the scene names their sources, which is what its labels and levels go by.
    """

    events: Sounds
    decoys: Sounds
    interferers: Sounds
    noise: NDArray[np.float32]
    power: float
    """In W of all labelled events together while at least one sounds; of an empty scene, what stands for it."""

    def mix_events(self) -> NDArray[np.float32]:
        """All labelled events together, (4, N)."""
        return _added(np.zeros_like(self.noise), self.events)

    def mix(self) -> NDArray[np.float32]:
        """The recording before any common gain, (4, N)."""
        total = self.mix_events()
        total += self.noise
        return _added(total, self.decoys + self.interferers)


def _added(total: NDArray[np.float32], sounds: Sounds) -> NDArray[np.float32]:
    for begin, sound in sounds:
        total[:, begin : begin + sound.shape[1]] += sound
    return total


def render_stems(scene: Scene) -> Stems:
    """The sound of each event, decoy and interferer and of the noise, before any common gain.

    Levels follow the events' power: that in W of all labelled events together while at least one sounds. Noise is
    `scene.snr_db` below it; an interferer, while it sounds, its own `level_db` above. Noise is diffuse: independent in
    each channel, Y, Z and X with a third of W's power.
    """
    samples = scene.num_labels * SAMPLES_PER_LABEL
    noise = _diffuse_noise(samples, np.random.default_rng([scene.seed, 4]))
    events = tuple(_sound(scene, event) for event in scene.events)
    sounding = sounding_samples(scene)
    of_events = np.square(_added(np.zeros_like(noise), events)[0, sounding])
    power = (of_events.mean(dtype=np.float64) if of_events.size else 0.0) or _QUIET_POWER
    noise *= np.float32(np.sqrt(power / 10 ** (scene.snr_db / 10) / np.square(noise[0]).mean(dtype=np.float64)))

    interferers = []
    for interferer in scene.interferers:
        rng = np.random.default_rng([interferer.seed, 9])
        dry = make_interferer(interferer.kind, rng, interferer.num_labels * LABEL_HOP_S)
        wet = spatialise(scene.room, dry, interferer.positions_m, rng)
        begin = interferer.start_label * SAMPLES_PER_LABEL
        its_power = np.square(wet[0, : len(dry)]).mean(dtype=np.float64)
        wet *= np.float32(np.sqrt(power * 10 ** (interferer.level_db / 10) / its_power))
        interferers.append((begin, wet[:, : samples - begin]))
    return Stems(events, tuple(_sound(scene, decoy) for decoy in scene.decoys), tuple(interferers), noise, power)


def _sound(scene: Scene, event: SceneEvent) -> tuple[int, NDArray[np.float32]]:
    """An event's first sample and its sound at the microphone, until the recording ends."""
    rng = np.random.default_rng([event.seed, 3])
    dry = _dry(event, rng) * np.float32(10 ** (event.level_db / 20))
    begin = event.start_label * SAMPLES_PER_LABEL
    return begin, spatialise(scene.room, dry, event.positions_m, rng)[:, : scene.num_labels * SAMPLES_PER_LABEL - begin]


def _dry(event: SceneEvent, rng: np.random.Generator) -> Signal:
    if event.excerpt is not None:
        return read_excerpt(event.excerpt)
    return make_source(event.class_index, rng, event.num_labels * LABEL_HOP_S)


def sounding_samples(scene: Scene) -> NDArray[np.bool_]:
    """Whether at least one event sounds, per sample."""
    sounding = np.zeros(scene.num_labels, dtype=bool)
    for event in scene.events:
        sounding[event.start_label : event.stop_label] = True
    return np.repeat(sounding, SAMPLES_PER_LABEL)


def _diffuse_noise(samples: int, rng: np.random.Generator) -> NDArray[np.float32]:
    white = rng.standard_normal((4, samples), dtype=np.float32)
    # Rooms hum more than they hiss.
    noise = scipy.signal.lfilter(np.array([1.0], np.float32), np.array([1.0, -0.7], np.float32), white)
    noise[1:] /= np.float32(np.sqrt(3.0))
    return noise


def render_audio(scene: Scene) -> NDArray[np.int16]:
    """The recording, (4, N) int16 at 24 kHz in order W, Y, Z, X, as loud as the scene says, or as loud as it can be
    without clipping."""
    stems = render_stems(scene)
    audio = stems.mix()
    as_said = 10 ** (scene.recording_dbfs / 20) / np.sqrt(stems.power)
    audio *= np.float32(32767 * min(as_said, _PEAK / float(np.abs(audio).max())))
    return np.rint(audio).astype(np.int16)
