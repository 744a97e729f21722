"""Rendering a minute of a synthetic recording: ours against image sources alone.

The peer is the plain way with pyroomacoustics: for each source a response of the same room to an omnidirectional and
three coincident figure-of-eight receivers, by image sources of the order that the reverberation time asks for, and
`scipy.signal.fftconvolve`. A moving source is a chain of pieces that overlap by half, each with a response of its own.
Both render all sources of one recording in full; what the peer is spared: its pieces are twice as long as ours, and it
mixes without setting levels of noise and interferers. The recording is short, and its time scaled to a minute.

Our real-time factor for whole minutes of each profile is measured beside.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyroomacoustics as pra
import scipy.signal
import torch
from numpy.typing import NDArray
from pyroomacoustics.directivities import DirectionVector, FigureEight

from data.geometry import angle_between_deg
from data.interferers import make_interferer
from data.labels import LABEL_HOP_S
from data.mixing import render_audio
from data.rooms import SOUND_SPEED_M_S, Room, seen_from_receiver, spatialise
from data.rows import RATE_HZ, SAMPLES_PER_LABEL
from data.scene_parts import Interferer, Presence, Scene, SceneEvent
from data.scene_settings import PROFILES, profile
from data.scenes import make_room, sample_scene, scene_facts
from data.sources import make_source
from infra.bench.measure import OURS, alternate, parser, result, show

PEER = "image sources alone"
# Azimuth and angle from the vertical of the receivers' lobes, for Y, Z and X.
_LOBES_DEG = ((90, 90), (0, 0), (0, 90))
_HOP = SAMPLES_PER_LABEL


def image_order(room: Room) -> int:
    """The order at which no reflection within the reverberation time is missing."""
    return int(pra.inverse_sabine(room.rt60_s, room.size_m)[1])


def plain_response(room: Room, position_m: NDArray) -> NDArray[np.float64]:
    """Response (4, taps) of W, Y, Z, X to a source at a position (3,); a source at 1 m has gain 1."""
    box = pra.ShoeBox(room.size_m, fs=RATE_HZ, materials=pra.Material(room.absorption), max_order=image_order(room))
    box.add_source(position_m)
    box.add_microphone(room.receiver_m)
    for azimuth, colatitude in _LOBES_DEG:
        lobe = FigureEight(DirectionVector(azimuth=azimuth, colatitude=colatitude, degrees=True))
        box.add_microphone(room.receiver_m, directivity=lobe)
    box.compute_rir()
    taps = round(room.rt60_s * RATE_HZ)
    # The package centres its fractional delays half a filter later.
    late = pra.constants.get("frac_delay_length") // 2
    return np.stack([np.asarray(channel[0])[late : late + taps] for channel in box.rir])


def plain_sound(room: Room, signal: NDArray, thing: Presence) -> NDArray[np.float64]:
    """Sound of a mono signal (N,) at the microphone, (4, N + taps - 1 or more)."""
    if not thing.moving:
        response = plain_response(room, thing.positions_m[0])
        return scipy.signal.fftconvolve(signal[None], response, axes=1)
    window = scipy.signal.windows.hann(2 * _HOP, sym=False)
    count = -(-len(signal) // _HOP) + 1
    padded = np.pad(signal, (_HOP, (count + 1) * _HOP - len(signal) - _HOP))
    # Piece i is centred on sample i * hop.
    places = thing.position_at(thing.start_frame * LABEL_HOP_S + np.arange(count) * _HOP / RATE_HZ)
    out = np.zeros((4, (count + 1) * _HOP + round(room.rt60_s * RATE_HZ)))
    for i, place in enumerate(places):
        piece = padded[i * _HOP : (i + 2) * _HOP] * window
        heard = scipy.signal.fftconvolve(piece[None], plain_response(room, place), axes=1)
        out[:, i * _HOP : i * _HOP + heard.shape[1]] += heard
    return out[:, _HOP:]


def _sources(scene: Scene) -> list[SceneEvent | Interferer]:
    return [*scene.events, *scene.decoys, *scene.interferers]


def plain_stems(scene: Scene) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """First sample and sound of each event, decoy and interferer."""
    for thing in _sources(scene):
        seconds = thing.num_frames * LABEL_HOP_S
        if isinstance(thing, Interferer):
            dry = make_interferer(thing.kind, np.random.default_rng([thing.seed, 9]), seconds)
        else:
            dry = make_source(thing.class_index, np.random.default_rng([thing.seed, 3]), seconds)
        sound = plain_sound(scene.room, dry * 10 ** (thing.level_db / 20), thing)
        begin = thing.start_frame * SAMPLES_PER_LABEL
        yield begin, sound[:, : scene.num_frames * SAMPLES_PER_LABEL - begin]


def render_plainly(scene: Scene) -> NDArray[np.int16]:
    """The recording (4, N), as `render_audio` gives it, but for the levels of noise and interferers."""
    audio = 0.001 * np.random.default_rng(scene.seed).standard_normal((4, scene.num_frames * SAMPLES_PER_LABEL))
    for begin, sound in plain_stems(scene):
        audio[:, begin : begin + sound.shape[1]] += sound
    return np.rint(32767 * audio / max(1.0, np.abs(audio).max())).astype(np.int16)


def check(scene: Scene) -> dict[str, float]:
    """Largest differences between the two responses from where each source begins.

    They cannot be equal: our late field is noise, theirs a lattice of images that hums at its modes. But the direct
    sound has to be the same (3 ms about its onset: level and direction), and the energy above 1 kHz nearly.
    """
    differences = []
    for thing in _sources(scene):
        place = thing.positions_m[:1]
        theirs = plain_response(scene.room, place[0])
        impulse = np.eye(1, SAMPLES_PER_LABEL, dtype=np.float32)[0]
        ours = spatialise(scene.room, impulse, place, np.random.default_rng(thing.seed))[:, : theirs.shape[1]]
        onset = round(float(seen_from_receiver(scene.room, place[0])[2]) / SOUND_SPEED_M_S * RATE_HZ)
        about = slice(max(0, onset - 36), onset + 36)
        heard = [(r[:1, about] * r[[3, 1, 2], about]).sum(axis=1, dtype=np.float64) for r in (ours, theirs)]
        differences.append(
            (
                abs(_level_db(ours[0, about]) - _level_db(theirs[0, about])),
                float(angle_between_deg(*heard)),
                abs(_level_db(_bright(ours[0])) - _level_db(_bright(theirs[0]))),
            )
        )
    direct_db, direct_deg, whole_db = np.max(differences, axis=0).tolist()
    largest = {"direct_db": direct_db, "direct_deg": direct_deg, "above_1_khz_db": whole_db}
    assert direct_db < 1.0, largest
    assert direct_deg < 3.0, largest
    assert whole_db < 3.0, largest
    return largest


def _level_db(signal: NDArray) -> float:
    return float(10 * np.log10(np.square(signal.astype(np.float64)).sum()))


def _bright(signal: NDArray) -> NDArray:
    """What is above 1 kHz."""
    return scipy.signal.sosfilt(scipy.signal.butter(4, 1000, "highpass", fs=RATE_HZ, output="sos"), signal)


def draw(name: str, seed: int, **overrides: Any) -> Scene:
    settings = profile(name, overrides)
    return sample_scene(settings, make_room(settings, "bench", seed), seed)


def real_time_factors(duration_s: float, scenes: int) -> dict[str, float]:
    """Seconds of recording that we render in a second: the median over scenes, for each profile."""
    factors = {}
    for name in PROFILES:
        taken = []
        for seed in range(scenes):
            scene = draw(name, seed, duration_s=duration_s)
            started = time.perf_counter()
            render_audio(scene)
            taken.append(duration_s / (time.perf_counter() - started))
        factors[name] = statistics.median(taken)
    return factors


def measure(
    name: str, duration_s: float, rt60_s: float, seed: int, repeats: int, minute_s: float = 60.0
) -> dict[str, Any]:
    """The outcome for one recording of a profile in a room of that reverberation time."""
    scene = draw(name, seed, duration_s=duration_s, rt60_s=(rt60_s, rt60_s))
    differences = check(scene)
    sides: dict[str, Callable[[], object]] = {OURS: lambda: render_audio(scene), PEER: lambda: render_plainly(scene)}
    with_threads = pra.constants.get("num_threads")
    pra.constants.set("num_threads", torch.get_num_threads())
    try:
        render_audio(scene)
        times = alternate(sides, repeats, warmup=0, settle=0)
    finally:
        pra.constants.set("num_threads", with_threads)
    times = {side: [60.0 / duration_s * run for run in runs] for side, runs in times.items()}
    facts = scene_facts(scene)
    sizes: dict[str, Any] = {"profile": name, "duration_s": duration_s, "rt60_s": rt60_s, "seed": seed}
    sizes |= {"room_m": [round(side, 2) for side in scene.room.size_m], "image_order": image_order(scene.room)}
    sizes |= {key: facts[key] for key in ("events", "moving", "decoys")}
    sizes["interferers"] = len(scene.interferers)
    return result(
        "synth",
        "minute",
        times,
        sizes,
        x_real_time={side: 60_000 / statistics.median(runs) for side, runs in times.items()},
        x_real_time_of_profiles=real_time_factors(minute_s, scenes=5),
        largest_difference=differences,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, repeats=3)
    options.add_argument("--profile", default="standard", help="what the scene is like (default %(default)s)")
    options.add_argument("--duration-s", type=float, default=10.0, help="length of the recording (default %(default)s)")
    options.add_argument("--rt60-s", type=float, default=0.5, help="reverberation time (default %(default)s)")
    options.add_argument("--seed", type=int, default=0, help="of the scene (default %(default)s)")
    chosen = options.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    outcome = measure(chosen.profile, chosen.duration_s, chosen.rt60_s, chosen.seed, chosen.repeats)
    for name, factor in outcome["x_real_time_of_profiles"].items():
        print(f"a minute of {name}: {factor:.1f} x real time")
    show(outcome, chosen.save)


if __name__ == "__main__":
    main()
