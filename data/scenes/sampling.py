"""Scenes: who sounds where and when in a room, drawn at random, their labels, and facts about them.

A scene follows from its settings, its room and its seed alone (and from the recordings, where events are taken from a
folder), whatever the order in which scenes are made and whichever process makes them. Events, interferers,
distractors and occluders are drawn by generators of their own: more of one leaves the others as they were.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data.geometry import angle_between_deg, unit_vector
from data.labels import DECOYED, UNSEEN, Events
from data.scenes.event_folder import Excerpt, draw_excerpt, event_files
from data.scenes.interferers import KINDS
from data.scenes.parts import PATH_HOP_S, Distractor, Interferer, Occluder, Scene, SceneEvent
from data.scenes.rooms import Room, position_m, seen_from_receiver
from data.scenes.settings import NEAREST_M, SceneSettings
from data.timing import LABEL_HOP_S, RATE_HZ, SAMPLES_PER_LABEL

# A decoy is at least so far away from what it imitates.
DECOY_APART_DEG: Final = 40.0
_WALL_MARGIN_M: Final = 0.25
_TRIES: Final = 30


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
    """Draw a scene. UserError where events come from a folder that lacks one of the classes (see `event_files`)."""
    rng = np.random.default_rng([seed, 2])
    occluders = _draw_occluders(settings, room, np.random.default_rng([seed, 8]))
    stage = Scene(room, (), round(settings.duration_s / LABEL_HOP_S), 0.0, seed, occluders=occluders)
    drawn = list(_draw_events(settings, stage, rng))
    return replace(
        stage,
        events=tuple(event for event, _ in drawn),
        decoys=tuple(decoy for _, decoy in drawn if decoy is not None),
        snr_db=rng.uniform(*settings.snr_db),
        recording_dbfs=np.random.default_rng([seed, 10]).uniform(*settings.recording_dbfs),
        interferers=tuple(_draw_interferers(settings, stage, np.random.default_rng([seed, 6]))),
        distractors=tuple(_draw_distractors(settings, stage, np.random.default_rng([seed, 7]))),
    )


def _draw_events(
    settings: SceneSettings, stage: Scene, rng: np.random.Generator
) -> Iterator[tuple[SceneEvent, SceneEvent | None]]:
    """Events, each with its decoy. Voices take turns with classes from a shuffled bag: all come equally often."""
    files = event_files(settings.events, settings.classes) if settings.events else {}
    extra = np.random.default_rng([stage.seed, 5])
    free_at = [_labels(rng.uniform(*settings.gap_s)) for _ in range(settings.polyphony)]
    bag: list[int] = []
    events: list[SceneEvent] = []
    while min(free_at) < stage.num_labels:
        voice = int(np.argmin(free_at))
        start = free_at[voice]
        length = _length(settings.event_s, stage.num_labels - start, rng)
        if not length:
            free_at[voice] = stage.num_labels
            continue
        gap = _labels(rng.uniform(*settings.gap_s))
        free_at[voice] = start + length + gap
        if voice > 0 and rng.random() >= settings.overlap:
            continue
        sounding = {e.class_index for e in events if e.stop_label > start}
        class_index = _draw_class(settings, bag, sounding, rng)
        if class_index is None:
            continue
        with_decoy = bool(extra.random() < settings.decoy_share)
        excerpts: list[Excerpt] | list[None] = [None, None]
        if files:
            # Both as long as the shorter of the two, so that length does not tell an event from its decoy.
            drawn = [draw_excerpt(files[class_index], length * SAMPLES_PER_LABEL, extra) for _ in range(1 + with_decoy)]
            length = min(excerpt.num_labels for excerpt in drawn)
            excerpts = [replace(e, samples=min(e.samples, length * SAMPLES_PER_LABEL)) for e in drawn]
            free_at[voice] = start + length + gap
        event = SceneEvent(
            class_index=class_index,
            source=voice + 1,
            start_label=start,
            stop_label=start + length,
            positions_m=_draw_path(settings, stage.room, length, rng),
            level_db=rng.uniform(*settings.level_db),
            visible=bool(rng.random() < settings.visible_share),
            seed=int(rng.integers(2**31)),
            excerpt=excerpts[0],
        )
        decoy = None
        if with_decoy and event.visible and not stage.hidden_share(event):
            event, decoy = _with_decoy(settings, stage, event, excerpts[1], extra)
        events.append(event)
        yield event, decoy


def _with_decoy(
    settings: SceneSettings, stage: Scene, event: SceneEvent, excerpt: Excerpt | None, rng: np.random.Generator
) -> tuple[SceneEvent, SceneEvent | None]:
    """The event and its decoy, in another direction all the time; None where no place for one is found.

    Neither is behind an occluder, and a coin decides at last which of the two is labelled: nothing but the picture can
    tell them apart.
    """
    microphone = np.asarray(stage.room.receiver_m)
    for _ in range(_TRIES):
        twin = replace(
            event,
            positions_m=_draw_path(settings, stage.room, event.num_labels, rng),
            level_db=rng.uniform(*settings.level_db),
            seed=int(rng.integers(2**31)),
            excerpt=excerpt,
        )
        apart = angle_between_deg(event.label_positions() - microphone, twin.label_positions() - microphone)
        if apart.min() >= DECOY_APART_DEG and not stage.hidden_share(twin):
            labelled, decoy = (event, twin) if rng.random() < 0.5 else (twin, event)
            return labelled, replace(decoy, source=0, visible=False)
    return event, None


def _draw_interferers(settings: SceneSettings, stage: Scene, rng: np.random.Generator) -> Iterator[Interferer]:
    spans = _turns(settings.interferers, settings.interferer_s, settings.interferer_gap_s, stage.num_labels, rng)
    for start, stop in spans:
        yield Interferer(
            kind=KINDS[int(rng.integers(len(KINDS)))],
            start_label=start,
            stop_label=stop,
            positions_m=_draw_path(settings, stage.room, stop - start, rng),
            level_db=rng.uniform(*settings.interferer_db),
            seed=int(rng.integers(2**31)),
        )


def _draw_distractors(settings: SceneSettings, stage: Scene, rng: np.random.Generator) -> Iterator[Distractor]:
    """As long, as far apart and as mobile as events, so that the picture alone cannot tell them from events."""
    for start, stop in _turns(settings.distractors, settings.event_s, settings.gap_s, stage.num_labels, rng):
        path = _draw_path(settings, stage.room, stop - start, rng)
        yield Distractor(int(rng.choice(settings.classes)), start, stop, path)


def _draw_occluders(settings: SceneSettings, room: Room, rng: np.random.Generator) -> tuple[Occluder, ...]:
    """Pillars up to the ceiling and people, round about the microphone, the farthest first."""
    fewest, most = settings.occluders
    occluders = []
    for _ in range(int(rng.integers(fewest, most + 1))):
        azimuth, is_person = rng.uniform(-180, 180), bool(rng.random() < 0.5)
        farthest = float(room.wall_distance_m(unit_vector(azimuth, 0.0))) - _WALL_MARGIN_M
        # Nearer than most sources.
        distance = min(rng.uniform(0.7, 1.3), farthest)
        if is_person:
            width, height = rng.uniform(0.4, 0.55), min(rng.uniform(1.55, 1.9), room.size_m[2])
        else:
            width, height = rng.uniform(0.25, 0.5), room.size_m[2]
        occluders.append(Occluder(azimuth, distance, width, height, is_person))
    return tuple(sorted(occluders, key=lambda occluder: -occluder.distance_m))


def _labels(seconds: float) -> int:
    return round(seconds / LABEL_HOP_S)


def _length(range_s: tuple[float, float], labels_left: int, rng: np.random.Generator) -> int:
    """Label frames of something whose length is drawn from a range; 0 where too little time is left."""
    length = min(_labels(rng.uniform(*range_s)), labels_left)
    return length if length >= _labels(min(range_s[0], 1.0)) else 0


def _turns(
    voices: int,
    length_s: tuple[float, float],
    gap_s: tuple[float, float],
    num_labels: int,
    rng: np.random.Generator,
) -> Iterator[tuple[int, int]]:
    """Stretches [start, stop) in label frames, at most `voices` at once."""
    for _ in range(voices):
        start = _labels(rng.uniform(*gap_s))
        while start < num_labels:
            length = _length(length_s, num_labels - start, rng)
            if not length:
                break
            yield start, start + length
            start += length + _labels(rng.uniform(*gap_s))


def _draw_class(settings: SceneSettings, bag: list[int], sounding: set[int], rng: np.random.Generator) -> int | None:
    """The bag's next class that may sound now; the bag is refilled before it runs dry. None where none may."""
    if len(bag) < len(settings.classes):
        bag.extend(rng.permutation(settings.classes).tolist())
    for i, class_index in enumerate(bag):
        if settings.same_class_overlap or class_index not in sounding:
            return bag.pop(i)
    return None


def _draw_path(settings: SceneSettings, room: Room, num_labels: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Positions at every 50 ms of a source that walks straight, or the one of a source at rest."""
    start = _draw_position(settings, room, rng)
    if rng.random() >= settings.moving_share:
        return start[None]
    # One position for each piece that `rooms.spatialise` cuts, the last one at or just past the end.
    steps = np.arange(num_labels * SAMPLES_PER_LABEL // round(PATH_HOP_S * RATE_HZ) + 2) * PATH_HOP_S
    walls = np.asarray(room.size_m)
    for _ in range(_TRIES):
        heading = np.deg2rad(rng.uniform(0, 360))
        velocity = rng.uniform(*settings.speed_m_s) * np.array([np.cos(heading), np.sin(heading), 0.0])
        path = start + steps[:, None] * velocity
        inside = (path > _WALL_MARGIN_M).all() and (path < walls - _WALL_MARGIN_M).all()
        _, elevation, distance = seen_from_receiver(room, path)
        lowest, highest = settings.elevation_deg
        if inside and distance.min() >= NEAREST_M and lowest <= elevation.min() and elevation.max() <= highest:
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
        labels = np.arange(event.start_label, event.stop_label)
        azimuth, elevation, distance = seen_from_receiver(scene.room, event.label_positions())
        constant = np.ones(len(labels), dtype=np.int64)
        row = (labels, constant * event.class_index, constant * event.source, azimuth, elevation, 100 * distance)
        for column, values in zip(columns, row, strict=True):
            column.append(values)
    if not scene.events:
        return Events.build()
    table = Events.build(*(np.concatenate(column) for column in columns))
    return table.select(np.argsort(table.frame, kind="stable"))


def scene_facts(scene: Scene) -> dict[str, Any]:
    """What a manifest tells of a recording, as JSON knows it; nothing is rendered for it.

    `polyphony` counts the label frames with 0, 1, 2... labelled events at once. `hidden` events are never in the
    picture, `occluded` ones are behind a pillar or a person for at least half of their time. `spans` has class, source,
    first label frame and the one after the last of each event that is not to be seen for either reason, and of each
    that a decoy goes with.
    """
    voices = np.zeros(scene.num_labels, dtype=np.int64)
    for event in scene.events:
        voices[event.start_label : event.stop_label] += 1
    kinds = Counter(interferer.kind for interferer in scene.interferers)
    occluded = [event for event in scene.events if event.visible and scene.hidden_share(event) >= 0.5]
    decoys = {(decoy.class_index, decoy.start_label, decoy.stop_label) for decoy in scene.decoys}
    spans = {
        UNSEEN: [_span(event) for event in scene.events if not event.visible or event in occluded],
        DECOYED: [span for span in map(_span, scene.events) if (span[0], *span[2:]) in decoys],
    }
    return {
        "snr_db": float(scene.snr_db),
        "recording_dbfs": float(scene.recording_dbfs),
        "rt60_s": float(scene.room.rt60_s),
        "polyphony": np.bincount(voices).tolist(),
        "events": len(scene.events),
        "moving": sum(event.moving for event in scene.events),
        "hidden": sum(not event.visible for event in scene.events),
        "occluded": len(occluded),
        "decoys": len(scene.decoys),
        "interferers": dict(sorted(kinds.items())),
        "interferer_db": [float(interferer.level_db) for interferer in scene.interferers],
        "distractors": len(scene.distractors),
        "occluders": len(scene.occluders),
        "spans": spans,
    }


def _span(event: SceneEvent) -> list[int]:
    return [event.class_index, event.source, event.start_label, event.stop_label]
