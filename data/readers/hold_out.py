"""Which rooms of a tree's training set are held out for validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from data import storage
from data.classes import ClassList
from data.errors import UserError
from data.files.class_map import ClassMap
from data.files.dcase_csv import parse_events_csv
from data.readers.contract import Clip, IngestSettings, Tree
from data.stores.chunks import Split
from data.timing import RATE_HZ

VAL_SHARE = 0.15
"""How much of the official training set the held-out rooms are meant to take, where nobody names them."""

_WAV_BYTES_PER_S: Final = RATE_HZ * 4 * 2


def hold_out(tree: Tree, settings: IngestSettings) -> tuple[list[Clip], tuple[str, ...]]:
    """The clips with validation taken out of training, and the rooms that it was taken from."""
    rooms = sorted({clip.room for clip in tree.clips if clip.split == "train"})
    if settings.val_rooms is None and any(clip.split == "val" for clip in tree.clips):
        held = []
    elif settings.val_rooms is None:
        held = choose_val_rooms(*_room_contents(tree, settings.class_map)) if rooms else []
    else:
        held = sorted(set(settings.val_rooms))
        unknown = [room for room in held if room not in rooms]
        if unknown:
            raise UserError(
                f"room to hold out for validation {unknown[0]!r} is not in the training set, which has: "
                f"{', '.join(rooms) or 'no rooms'}"
            )
    clips = [replace(c, split="val") if c.split == "train" and c.room in held else c for c in tree.clips]
    return clips, tuple(held)


def one_sided_classes(splits: Mapping[str, Split], classes: ClassList) -> list[str]:
    """What is to be said of rooms that were chosen for validation: the classes that only one side of the split has."""
    if "train" not in splits or "val" not in splits:
        return []
    told = []
    for side, other in (("val", "train"), ("train", "val")):
        there = zip(classes.short_names, splits[side].class_frames, splits[other].class_frames, strict=True)
        missing = [name for name, here, elsewhere in there if elsewhere and not here]
        if missing:
            rooms, words = ", ".join(splits["val"].rooms), {"val": "validation", "train": "training"}
            told.append(
                f"{words[side]} lacks {len(missing)} of the {len(classes)} classes that {words[other]} has: "
                f"{', '.join(missing)}; {rooms} was held out, choose other rooms with --val-rooms"
            )
    return told


def _room_contents(tree: Tree, classes: ClassMap) -> tuple[dict[str, float], dict[str, list[int]]]:
    """Hours and label frames of each class for the rooms of training, by the sizes of wav files and by labels.

    Labels that are no DCASE csv are the reader's own, and not known here: such a room goes by its hours alone.
    """
    hours: dict[str, float] = {}
    labels: dict[str, np.ndarray] = {}
    for clip in tree.clips:
        if clip.split == "train":
            hours[clip.room] = hours.get(clip.room, 0.0) + seconds_of(tree, clip) / 3600
            counts = np.zeros(len(classes.classes), dtype=np.int64)
            if clip.csv is not None:
                try:
                    content = storage.read_bytes(storage.join(tree.root, clip.csv))
                    events, _ = parse_events_csv(content, clip.csv, classes=classes)
                    counts += np.bincount(events.class_index, minlength=len(counts))
                except UserError:
                    pass  # Reading the recording says what is wrong.
            labels[clip.room] = labels.get(clip.room, 0) + counts
    return hours, {room: counts.tolist() for room, counts in labels.items()}


def seconds_of(tree: Tree, clip: Clip) -> float:
    """Length of a recording by the size of its file."""
    return int(tree.versions[clip.wav].partition("-")[0]) / _WAV_BYTES_PER_S


def choose_val_rooms(
    hours: Mapping[str, float], labels_per_class: Mapping[str, Sequence[int]], share: float = VAL_SHARE
) -> list[str]:
    """Rooms of the training set to hold out for validation, by name: about `share` of its hours and every class.

    Room after room is taken that leaves the fewest classes missing on either side and comes nearest to the share. At
    least one room stays for training. The same rooms give the same choice.

    Args:
        hours, class_frames: for each room its length, and label frames for each class.
    """
    total = sum(hours.values())
    labels = {room: np.asarray(labels_per_class[room]) for room in hours}
    chosen: list[str] = []

    def cost(rooms: list[str]) -> tuple[int, float]:
        held = np.sum([labels[room] for room in rooms], axis=0)
        left = np.sum([labels[room] for room in hours if room not in rooms], axis=0)
        there = (held + left) > 0
        missing = int((there & (held == 0)).sum() + (there & (left == 0)).sum())
        return missing, abs(sum(hours[room] for room in rooms) / total - share)

    while len(chosen) < len(hours) - 1:
        candidates = [[*chosen, room] for room in sorted(hours) if room not in chosen]
        best = min(candidates, key=cost)
        if chosen and (cost(best) >= cost(chosen) or sum(hours[room] for room in best) > 2 * share * total):
            break
        chosen = best
    return sorted(chosen)
