"""What any reader gives, called and checked in one place: the tree that it finds, the recordings that it reads.

A reader may be anybody's. What it gives wrongly, or raises, is told in a line that names it, the recording and the fix,
before anything of it is stored.
"""

from __future__ import annotations

import inspect
import json
import math
import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any, Final

import numpy as np

from data.agreement.directions import listen_to_some
from data.agreement.verdict import compare_once
from data.classes import ClassList
from data.errors import UserError
from data.geometry import wrap_azimuth_deg
from data.labels import Events
from data.readers.contract import Clip, Fault, IngestSettings, Reader, Recording, Tree
from data.registry.plugins import plugins_behind
from data.registry.user_code import FAILURES, said, where
from data.stores.rows import PICTURE_HEIGHT, PICTURE_WIDTH
from data.timing import LABEL_HOP_S, SAMPLES_PER_LABEL

_SPLITS: Final = ("train", "val", "test", "eval")
_WHOLE: Final = ("frame", "class_index", "source")
_LARGEST_WHOLE: Final = 2**31 - 1
_JPEG: Final = b"\xff\xd8"
COMPARED_LABELS: Final = 100
"""Of each recording, for whether its labels say what is heard."""
MOST_LATE: Final = 0.1
"""Share of a recording's labels that may lie more than a second past its end, and are dropped."""
_LATE_LABELS: Final = 10


def find_tree(reader: Reader, root: str) -> Tree:
    """`reader.find`, checked.

    Raises:
        UserError: from the reader itself; or it is a plugin's and raised something else, or no such tree was given.
    """
    with _named(reader, ""):
        tree = reader.find(root)
    for problem in _problems_of_tree(tree):
        raise UserError(f"{_shown(reader, 'find')}: {problem}")
    return tree


def read_recording(reader: Reader, root: str, clip: Clip, settings: IngestSettings) -> Recording | Fault:
    """`reader.read`, checked. Labels past the end of the sound are dropped, azimuths beyond 180 degrees brought within.

    `facts["notes"]` of the recording counts these too, and `facts["agreement"]` says how labels and sound go together.

    Raises:
        UserError: from the reader itself; or it is a plugin's and raised something else, or no such recording was
            given.
    """
    with _named(reader, f" on {clip.name}"):
        given = reader.read(root, clip, settings)
    if isinstance(given, Fault):
        return given
    for problem in _problems_of_recording(given, clip, settings.class_map.classes):
        raise UserError(f"{_shown(reader, 'read')} on {clip.name}: {problem}")
    if late := _late_labels(given):
        return Fault(given.name, late)
    return _noted(given)


@contextmanager
def _named(reader: Reader, on: str) -> Iterator[None]:
    """What a plugin raises becomes a UserError that names it; the traceback goes with it as a note."""
    try:
        yield
    except UserError:
        raise
    except FAILURES as error:
        if not plugins_behind([reader]):
            raise
        place = where(inspect.getfile(type(reader)), error)
        told = UserError(f"reader {reader.name!r} ({place}) raised {said(error)}{on}")
        # Of an exception that comes out of a worker, its notes are all that is left beside its message.
        told.add_note(traceback.format_exc())
        raise told from None


def _shown(reader: Reader, method: str) -> str:
    """The reader's name and, of a plugin's, where the method begins."""
    if not plugins_behind([reader]):
        return f"reader {reader.name!r}"
    code = getattr(inspect.unwrap(getattr(type(reader), method)), "__code__", None)
    place = f"{code.co_filename}:{code.co_firstlineno}" if code else inspect.getfile(type(reader))
    return f"reader {reader.name!r} ({place})"


def _problems_of_tree(tree: Any) -> Iterator[str]:
    """Each may rely on those before it: the first one counts."""
    if not isinstance(tree, Tree):
        yield f"`find` gave {_kind(tree)}, not a Tree: give Tree(root, clips, faults, orphans, versions)"
    if not isinstance(tree.root, str):
        yield f"root of the tree is {_kind(tree.root)}, not the text that `find` was given"
    yield from _problems_of_list("clips", tree.clips, Clip)
    yield from _problems_of_list("faults", tree.faults, Fault)
    yield from _problems_of_list("orphans", tree.orphans, str)
    if not isinstance(tree.versions, Mapping):
        yield f"versions of the tree are {_kind(tree.versions)}; give what data.storage.list_versions(root) says"
    named: dict[str, Clip] = {}
    for clip in tree.clips:
        yield from _problems_of_clip(clip, tree.versions)
        if (other := named.get(clip.name)) is not None:
            yield f"two clips have the name {clip.name}: {other.wav} and {clip.wav}; give each its own"
        named[clip.name] = clip


def _problems_of_list(what: str, given: Any, kind: type) -> Iterator[str]:
    if isinstance(given, str) or not isinstance(given, Sequence):
        yield f"{what} of the tree are {_kind(given)}, not a tuple of {kind.__name__}"
    for one in given:
        if not isinstance(one, kind):
            yield f"{what} of the tree hold {_kind(one)}, not {kind.__name__} alone"


def _problems_of_clip(clip: Clip, versions: Mapping[str, str]) -> Iterator[str]:
    for field in ("name", "room", "wav"):
        if not isinstance(text := getattr(clip, field), str) or not text:
            yield f"{field} of a clip is {text!r}, not a text: {clip}"
    if clip.split not in _SPLITS:
        rule = "train, val, test or eval; without val, rooms are taken out of train (--val-rooms)"
        yield f"split of clip {clip.name} is {clip.split!r}, and has to be {rule}"
    for field in ("wav", "csv", "video"):
        path = getattr(clip, field)
        if path is None:
            continue
        if not isinstance(path, str) or not re.match(r"\d+(-|$)", str(versions.get(path, ""))):
            yield (
                f"{field} of clip {clip.name} is {path!r}, of which versions of the tree say "
                f"{versions.get(path) if isinstance(path, str) else None!r}: give paths relative to the root, and what "
                "data.storage.list_versions(root) says as versions"
            )


def _problems_of_recording(given: Any, clip: Clip, classes: ClassList) -> Iterator[str]:
    """Each may rely on those before it: the first one counts."""
    if not isinstance(given, Recording):
        yield f"`read` gave {_kind(given)}, not a Recording, or a Fault where a file is bad"
    for field in ("name", "room"):
        if getattr(given, field) != (expected := getattr(clip, field)):
            yield f"{field} of the recording is {getattr(given, field)!r}, not {expected!r} as its clip has it"
    yield from _problems_of_audio(given.audio)
    yield from _problems_of_events(given.events, classes)
    yield from _problems_of_pictures(given)
    if not isinstance(given.facts, Mapping) or not isinstance(given.facts.get("notes", {}), Mapping):
        yield "facts have to be a mapping, and so has facts['notes']: what is unusual -> how often"
    if not all(isinstance(count, int) for count in given.facts.get("notes", {}).values()):
        yield "facts['notes'] have to say how often as whole numbers (int): what is unusual -> how often"
    try:
        json.dumps(dict(given.facts))
    except (TypeError, ValueError) as error:
        yield f"facts hold what JSON does not know ({error})"


def _problems_of_audio(audio: Any) -> Iterator[str]:
    if not isinstance(audio, np.ndarray):
        yield f"audio is {_kind(audio)}, not an int16 array of NumPy (4, N)"
    if audio.ndim != 2 or audio.shape[0] != 4:
        shape = f"audio is ({', '.join(map(str, audio.shape))}), not (4, N)"
        if audio.ndim == 2 and audio.shape[1] == 4:
            yield f"{shape}: it is (N, 4); give audio.T"
        yield f"{shape}: four channels W, Y, Z, X at 24 kHz are needed"
    if audio.dtype != np.int16:
        fix = ": np.rint(32767 * audio).astype(np.int16) where full scale is 1" if audio.dtype.kind == "f" else ""
        yield f"audio is {audio.dtype}, not int16{fix}"


def _problems_of_events(events: Any, classes: ClassList) -> Iterator[str]:
    if not isinstance(events, Events):
        yield f"events are {_kind(events)}, not data.labels.Events: Events.build(frame, class_index, ...)"
    columns = {field.name: getattr(events, field.name) for field in fields(Events)}
    for name, column in columns.items():
        kinds = "iu" if name in _WHOLE else "f"
        if not isinstance(column, np.ndarray) or column.ndim != 1 or column.dtype.kind not in kinds:
            wanted = "whole numbers" if name in _WHOLE else "floats"
            yield f"events.{name} is no array (events,) of {wanted}: make the table with Events.build"
    if len({len(column) for column in columns.values()}) > 1:
        lengths = ", ".join(f"{name} {len(column)}" for name, column in columns.items())
        yield f"columns of events differ in length: {lengths}; one value for each event and label frame is needed"
    rules = {
        "frame": (events.frame >= 0, f"label frames count from 0 in steps of {LABEL_HOP_S} s"),
        "class_index": (
            (events.class_index >= 0) & (events.class_index < len(classes)),
            f"classes are 0..{len(classes) - 1}, the places in settings.class_map.classes; leave out others",
        ),
        "source": (np.abs(events.source) <= _LARGEST_WHOLE, "sources have small numbers, from 0 in each recording"),
        "azimuth_deg": (np.abs(events.azimuth_deg) <= 360, "degrees within +-360 are expected, 0 front and 90 left"),
        "elevation_deg": (np.abs(events.elevation_deg) <= 90, "degrees within +-90 are expected, upwards positive"),
        "distance_cm": (
            ~(np.isinf(events.distance_cm) | (events.distance_cm < 0)),
            "centimetres are expected, from 0 on, and NaN where nobody measured",
        ),
    }
    for name, (is_right, rule) in rules.items():
        if not is_right.all():
            row = int(is_right.argmin())
            yield f"events.{name} is {columns[name][row]:g} in row {row} of {len(events)}: {rule}"


def _problems_of_pictures(given: Recording) -> Iterator[str]:
    pictures, rate_hz = given.pictures, given.picture_rate_hz
    if not isinstance(rate_hz, int | float) or not (math.isfinite(rate_hz) and rate_hz > 0):
        yield f"picture_rate_hz is {rate_hz!r}, not a number above 0"
    if isinstance(pictures, bytes) or not isinstance(pictures, Sequence):
        yield f"pictures are {_kind(pictures)}, not a list of JPEG pictures as bytes"
    for number, picture in enumerate(pictures):
        if not isinstance(picture, bytes) or not picture.startswith(_JPEG):
            yield f"picture {number} is {_kind(picture)} that holds no JPEG: give data.files.video.encode_jpeg(picture)"
    if pictures:
        from data.files.video import decode_jpeg

        try:
            height, width, _ = decode_jpeg(pictures[0]).shape
        except OSError as error:
            yield f"picture 0 cannot be decoded ({error})"
        if (width, height) != (PICTURE_WIDTH, PICTURE_HEIGHT):
            yield f"pictures are {width} x {height}, not {PICTURE_WIDTH} x {PICTURE_HEIGHT}: resize them"


def _late_labels(given: Recording) -> str | None:
    """What is to be said of labels of which too many lie past the end of the sound."""
    total = given.audio.shape[1] // SAMPLES_PER_LABEL
    if not total:
        return None  # which is said where it is cut into rows
    late = int((given.events.frame >= total).sum())
    last = int(given.events.frame.max(initial=0))
    if late <= MOST_LATE * len(given.events) or last < total + _LATE_LABELS:
        return None
    guess = next((ms for ms in (50, 20, 10) if last * ms <= 1.1 * total * 1000 * LABEL_HOP_S), None)
    asks = f"do frames count {guess} ms there? Write one every 100 ms" if guess else "are they of another recording?"
    return (
        f"{given.name}: {late:,} of {len(given.events):,} rows of its labels lie past the end of its sound, after "
        f"{total * LABEL_HOP_S:.1f} s, the last one at {last * LABEL_HOP_S:.1f} s: label frames are {LABEL_HOP_S} s; "
        f"{asks}"
    )


def _noted(given: Recording) -> Recording:
    """The recording with labels that lie in its sound, and azimuths within 180 degrees."""
    inside = given.events.frame < given.audio.shape[1] // SAMPLES_PER_LABEL
    beyond = np.abs(given.events.azimuth_deg) > 180
    events = given.events
    if beyond.any():
        events = replace(events, azimuth_deg=np.where(beyond, wrap_azimuth_deg(events.azimuth_deg), events.azimuth_deg))
    if not inside.all():
        events = events.select(inside)
    notes = dict(given.facts.get("notes", {}))
    for what, rows in (
        ("rows with an azimuth beyond 180 degrees", beyond),
        ("rows past the end of the sound dropped", ~inside),
    ):
        if rows.any():
            notes[what] = notes.get(what, 0) + int(rows.sum())
    found = compare_once(listen_to_some(given.audio, events, COMPARED_LABELS))
    agreement = {"frames": found.frames, "median_deg": found.median_deg, "near": round(found.near, 3)}
    return replace(given, events=events, facts={**given.facts, "notes": notes, "agreement": agreement})


def _kind(thing: object) -> str:
    return "None" if thing is None else f"a {type(thing).__name__}"
