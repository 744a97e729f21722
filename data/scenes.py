"""Scenes: who sounds where and when in a room, their sound in first-order ambisonics, and their labels.

A scene follows from its settings, its room and its seed alone, whatever the order in which scenes are made and
whichever process makes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from data.classes import NUM_CLASSES
from data.errors import UserError
from data.labels import LABEL_HOP_S, Events
from data.rooms import Room, position_m, seen_from_receiver, spatialise
from data.rows import RATE_HZ, SAMPLES_PER_LABEL
from data.sources import make_source

PATH_HOP_S: Final = 0.05
_NEAREST_M: Final = 0.8
_WALL_MARGIN_M: Final = 0.25
_TRIES: Final = 30
_PEAK: Final = 0.97
# Mean power that the noise of an empty scene is measured against.
_QUIET_POWER: Final = 1e-4


@dataclass(frozen=True, kw_only=True)
class SceneSettings:
    """What scenes are like. Pairs are ranges (low, high) drawn from uniformly."""

    duration_s: float = 60.0
    """Length of a recording; a multiple of 0.1."""
    polyphony: int = 2
    """Most events at once."""
    overlap: float = 0.25
    """Chance that a further voice speaks up when it could; 0 leaves one event at a time."""
    event_s: tuple[float, float] = (2.0, 5.0)
    """Length of an event."""
    gap_s: tuple[float, float] = (0.1, 0.6)
    """Silence of a voice between two of its events."""
    classes: tuple[int, ...] = tuple(range(NUM_CLASSES))
    """Classes that occur, all equally often."""
    same_class_overlap: bool = False
    """Whether two events of one class may sound at once."""
    moving_share: float = 0.3
    """Share of events whose source walks."""
    speed_m_s: tuple[float, float] = (0.3, 1.0)
    """How fast walking sources are."""
    elevation_deg: tuple[float, float] = (-30.0, 30.0)
    distance_m: tuple[float, float] = (0.9, 1.7)
    level_db: tuple[float, float] = (-3.0, 3.0)
    """Level of a source against the common one, at 1 m; the distance comes on top."""
    snr_db: tuple[float, float] = (25.0, 35.0)
    """Power of all events together while one sounds, over that of the noise, both in W."""
    rt60_s: tuple[float, float] = (0.15, 0.25)
    """Reverberation time of rooms."""
    room_m: tuple[tuple[float, float], tuple[float, float], tuple[float, float]] = ((5, 8), (4, 6.5), (2.6, 3.4))
    """Length, width and height of rooms."""
    visible_share: float = 0.95
    """Share of events that the picture shows."""

    def __post_init__(self) -> None:
        frames = self.duration_s / LABEL_HOP_S
        _check(
            self.duration_s > 0 and abs(frames - round(frames)) < 1e-6, self, "duration_s", "a multiple of 0.1 above 0"
        )
        _check(1 <= self.polyphony <= 5, self, "polyphony", "1 to 5")
        for name in ("overlap", "moving_share", "visible_share"):
            _check(0 <= getattr(self, name) <= 1, self, name, "0 to 1")
        limits = {
            "event_s": (0.3, 60.0),
            "gap_s": (0.0, 60.0),
            "speed_m_s": (0.0, 5.0),
            "elevation_deg": (-80.0, 80.0),
            "distance_m": (_NEAREST_M, 10.0),
            "level_db": (-30.0, 10.0),
            "snr_db": (-20.0, 100.0),
            "rt60_s": (0.0, 3.0),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            rule = f"a range (low, high) within {low:g} to {high:g}"
            _check(len(value) == 2 and low <= value[0] <= value[1] <= high, self, name, rule)
        sizes_ok = len(self.room_m) == 3 and all(2 <= low <= high <= 12 for low, high in self.room_m)
        _check(sizes_ok, self, "room_m", "three ranges of metres within 2 to 12")
        classes_ok = bool(self.classes) and all(0 <= c < NUM_CLASSES for c in self.classes)
        _check(classes_ok, self, "classes", f"at least one class within 0 to {NUM_CLASSES - 1}")
        walls_ok = self.rt60_s[0] == 0 or self.rt60_s[0] >= 0.1
        _check(walls_ok and (self.rt60_s[0] > 0 or self.rt60_s[1] == 0), self, "rt60_s", "(0, 0) or 0.1 s and more")


def _check(holds: bool, settings: SceneSettings, field: str, rule: str) -> None:
    if not holds:
        raise UserError(f"scene setting {field} = {getattr(settings, field)!r}: it has to be {rule}")


PROFILES: Final[dict[str, SceneSettings]] = {
    # Learnt by a small network in minutes.
    "easy": SceneSettings(),
    # About as hard as recordings of people in rooms.
    "standard": SceneSettings(
        polyphony=3,
        overlap=0.6,
        event_s=(0.7, 8.0),
        gap_s=(0.2, 2.0),
        same_class_overlap=True,
        moving_share=0.4,
        speed_m_s=(0.3, 1.5),
        distance_m=(1.0, 5.0),
        level_db=(-6.0, 6.0),
        snr_db=(6.0, 20.0),
        rt60_s=(0.2, 1.2),
        elevation_deg=(-40.0, 40.0),
        room_m=((4, 10), (3.5, 8), (2.4, 4)),
        visible_share=0.85,
    ),
}


def profile(name: str) -> SceneSettings:
    """A named profile. UserError lists the choices where the name is unknown."""
    if name not in PROFILES:
        raise UserError(f"unknown scene profile {name!r}; choose from: {', '.join(PROFILES)}")
    return PROFILES[name]


@dataclass(frozen=True, eq=False)
class SceneEvent:
    """One event: label frames [start, stop), and where its source is at every 50 ms from its start (n or 1, 3)."""

    class_index: int
    source: int
    start_frame: int
    stop_frame: int
    positions_m: NDArray[np.float64]
    level_db: float
    visible: bool
    seed: int

    @property
    def moving(self) -> bool:
        return len(self.positions_m) > 1

    def position_at(self, time_s: NDArray) -> NDArray[np.float64]:
        """Positions (n, 3) in metres at times (n,) in seconds of the scene."""
        if not self.moving:
            return np.repeat(self.positions_m, len(time_s), axis=0)
        steps = np.arange(len(self.positions_m)) * PATH_HOP_S + self.start_frame * LABEL_HOP_S
        return np.stack([np.interp(time_s, steps, axis) for axis in self.positions_m.T], axis=-1)


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything that a recording shows and sounds like."""

    room: Room
    events: tuple[SceneEvent, ...]
    num_frames: int
    snr_db: float
    seed: int

    @property
    def duration_s(self) -> float:
        return self.num_frames * LABEL_HOP_S


def make_room(settings: SceneSettings, name: str, seed: int) -> Room:
    """A room whose microphone stands near its middle at about the height of a standing camera."""
    rng = np.random.default_rng([seed, 1])
    size = [rng.uniform(*limits) for limits in settings.room_m]
    receiver = [
        size[0] / 2 + rng.uniform(-0.4, 0.4),
        size[1] / 2 + rng.uniform(-0.4, 0.4),
        min(rng.uniform(1.3, 1.7), size[2] - 0.9),
    ]
    return Room(name, (size[0], size[1], size[2]), tuple(receiver), rng.uniform(*settings.rt60_s))  # type: ignore[arg-type]


def sample_scene(settings: SceneSettings, room: Room, seed: int) -> Scene:
    """Draw a scene: voices take turns with classes from a shuffled bag, so that all classes come equally often."""
    rng = np.random.default_rng([seed, 2])
    num_frames = round(settings.duration_s / LABEL_HOP_S)
    free_at = [_frames(rng.uniform(*settings.gap_s)) for _ in range(settings.polyphony)]
    bag: list[int] = []
    events: list[SceneEvent] = []
    while min(free_at) < num_frames:
        voice = int(np.argmin(free_at))
        start = free_at[voice]
        length = min(_frames(rng.uniform(*settings.event_s)), num_frames - start)
        if length < _frames(min(settings.event_s[0], 1.0)):
            free_at[voice] = num_frames
            continue
        free_at[voice] = start + length + _frames(rng.uniform(*settings.gap_s))
        if voice > 0 and rng.random() >= settings.overlap:
            continue
        sounding = {e.class_index for e in events if e.stop_frame > start}
        class_index = _draw_class(settings, bag, sounding, rng)
        if class_index is None:
            continue
        events.append(
            SceneEvent(
                class_index=class_index,
                source=voice + 1,
                start_frame=start,
                stop_frame=start + length,
                positions_m=_draw_path(settings, room, length * LABEL_HOP_S, rng),
                level_db=rng.uniform(*settings.level_db),
                visible=bool(rng.random() < settings.visible_share),
                seed=int(rng.integers(2**31)),
            )
        )
    return Scene(room, tuple(events), num_frames, rng.uniform(*settings.snr_db), seed)


def _frames(seconds: float) -> int:
    return round(seconds / LABEL_HOP_S)


def _draw_class(settings: SceneSettings, bag: list[int], sounding: set[int], rng: np.random.Generator) -> int | None:
    """The bag's next class that may sound now; the bag is refilled before it runs dry. None where none may."""
    if len(bag) < len(settings.classes):
        bag.extend(rng.permutation(settings.classes).tolist())
    for i, class_index in enumerate(bag):
        if settings.same_class_overlap or class_index not in sounding:
            return bag.pop(i)
    return None


def _draw_path(settings: SceneSettings, room: Room, duration_s: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Positions at every 50 ms of a source that walks straight, or the one of a source at rest."""
    start = _draw_position(settings, room, rng)
    if rng.random() >= settings.moving_share:
        return start[None]
    # One position for each piece that `rooms.spatialise` cuts, the last one at or just past the end.
    steps = np.arange(round(duration_s * RATE_HZ) // round(PATH_HOP_S * RATE_HZ) + 2) * PATH_HOP_S
    walls = np.asarray(room.size_m)
    for _ in range(_TRIES):
        heading = np.deg2rad(rng.uniform(0, 360))
        velocity = rng.uniform(*settings.speed_m_s) * np.array([np.cos(heading), np.sin(heading), 0.0])
        path = start + steps[:, None] * velocity
        inside = (path > _WALL_MARGIN_M).all() and (path < walls - _WALL_MARGIN_M).all()
        _, elevation, distance = seen_from_receiver(room, path)
        lowest, highest = settings.elevation_deg
        if inside and distance.min() >= _NEAREST_M and lowest <= elevation.min() and elevation.max() <= highest:
            return path
    return start[None]


def _draw_position(settings: SceneSettings, room: Room, rng: np.random.Generator) -> NDArray[np.float64]:
    """A point all round the microphone, at most as far as the walls allow and never behind them."""
    for _ in range(_TRIES):
        azimuth, elevation = rng.uniform(-180, 180), rng.uniform(*settings.elevation_deg)
        direction = position_m(room, azimuth, elevation, 1.0) - np.asarray(room.receiver_m)
        farthest = float(room.wall_distance_m(direction)) - _WALL_MARGIN_M
        if farthest >= settings.distance_m[0]:
            break
    distance = rng.uniform(min(settings.distance_m[0], farthest), min(settings.distance_m[1], farthest))
    return position_m(room, azimuth, elevation, distance)


def scene_events(scene: Scene) -> Events:
    """The labels of a scene at 10 Hz: the direction at the middle of each label frame, distance in centimetres."""
    columns: list[list[NDArray]] = [[] for _ in range(6)]
    for event in scene.events:
        frames = np.arange(event.start_frame, event.stop_frame)
        azimuth, elevation, distance = seen_from_receiver(scene.room, event.position_at((frames + 0.5) * LABEL_HOP_S))
        constant = np.ones(len(frames), dtype=np.int64)
        row = (frames, constant * event.class_index, constant * event.source, azimuth, elevation, 100 * distance)
        for column, values in zip(columns, row, strict=True):
            column.append(values)
    if not scene.events:
        return Events.build()
    table = Events.build(*(np.concatenate(column) for column in columns))
    return table.select(np.argsort(table.frame, kind="stable"))


@dataclass(frozen=True, eq=False)
class Stems:
    """What a recording is made of, float32: its events' sounds from a first sample on, and its noise (4, N)."""

    events: tuple[tuple[int, NDArray[np.float32]], ...]
    noise: NDArray[np.float32]

    def mix_events(self) -> NDArray[np.float32]:
        """All events together, (4, N)."""
        total = np.zeros_like(self.noise)
        for begin, sound in self.events:
            total[:, begin : begin + sound.shape[1]] += sound
        return total


def render_stems(scene: Scene) -> Stems:
    """The sound of each event and of the noise, before any common gain.

    Noise is diffuse: independent in each channel, Y, Z and X with a third of W's power. Its level follows from
    `scene.snr_db`: power in W of all events together over that of the noise, while at least one event sounds.
    """
    samples = scene.num_frames * SAMPLES_PER_LABEL
    sounds = []
    for event in scene.events:
        rng = np.random.default_rng([event.seed, 3])
        dry = make_source(event.class_index, rng, (event.stop_frame - event.start_frame) * LABEL_HOP_S)
        wet = spatialise(scene.room, dry * np.float32(10 ** (event.level_db / 20)), event.positions_m, rng)
        begin = event.start_frame * SAMPLES_PER_LABEL
        sounds.append((begin, wet[:, : samples - begin]))
    noise = _diffuse_noise(samples, np.random.default_rng([scene.seed, 4]))
    stems = Stems(tuple(sounds), noise)
    sounding = sounding_samples(scene)
    power = np.square(stems.mix_events()[0, sounding]).mean(dtype=np.float64) if sounding.any() else _QUIET_POWER
    noise *= np.float32(np.sqrt(power / 10 ** (scene.snr_db / 10) / np.square(noise[0]).mean(dtype=np.float64)))
    return stems


def sounding_samples(scene: Scene) -> NDArray[np.bool_]:
    """Whether at least one event sounds, per sample."""
    sounding = np.zeros(scene.num_frames, dtype=bool)
    for event in scene.events:
        sounding[event.start_frame : event.stop_frame] = True
    return np.repeat(sounding, SAMPLES_PER_LABEL)


def _diffuse_noise(samples: int, rng: np.random.Generator) -> NDArray[np.float32]:
    white = rng.standard_normal((4, samples), dtype=np.float32)
    # Rooms hum more than they hiss.
    noise = scipy.signal.lfilter(np.array([1.0], np.float32), np.array([1.0, -0.7], np.float32), white)
    noise[1:] /= np.float32(np.sqrt(3.0))
    return noise


def render_audio(scene: Scene) -> NDArray[np.int16]:
    """The recording, (4, N) int16 at 24 kHz in order W, Y, Z, X; turned down as a whole where it would clip."""
    stems = render_stems(scene)
    audio = stems.mix_events()
    audio += stems.noise
    audio *= np.float32(32767 * min(1.0, _PEAK / max(_PEAK, float(np.abs(audio).max()))))
    return np.rint(audio).astype(np.int16)
