"""Several stores as one: the first is the target, and the training recordings of the others are added to its own.

What trains on it, resumes on it or is scored on it needs to know nothing of that: it is a store like any other. Added
recordings and their rooms are called `<part>+<name>`, so that two synthetic data sets do not meet in "room1", and that
whoever samples windows knows which is which (`data.names.origin_of`). Sound, labels and pictures are what they were,
bit by bit; the cost is a copy of what is added and of the target.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.errors import UserError
from data.labels import Events
from data.names import ADDED_MARK, check_name, some_of
from data.stores.build import SHARD_BYTES, Run, build
from data.stores.chunks import SPLITS, Shard, Store, read_index, read_shard
from data.stores.facts import recording_facts
from data.stores.replacing import MayReplace, refuse_to_replace
from data.stores.rows import RawRow, decode_flac, row_events
from data.stores.source import Recording
from data.timing import LABEL_HOP_S, LABEL_RATE_HZ, SAMPLES_PER_LABEL

SOURCE = "mix"
_ADDED_SPLIT = "train"
_TARGET = "target"


def parts_of_store(store: Store) -> list[dict[str, Any]]:
    """What a mixed store was made of, the target first: name, source, manifest and hours; a list of one for others."""
    if store.manifest.source == SOURCE:
        return [dict(part) for part in store.manifest.settings["parts"]]
    return [_part(_TARGET, store, SPLITS)]


def parts_text(store: Store) -> str:
    """The same in a line, with the hours that are trained on: what a figure has to come with."""
    parts = parts_of_store(store)
    texts = [
        f"{_hours_text(part['hours'].get(_ADDED_SPLIT, 0.0))} of {part['source']} {part['manifest'][:12]}"
        for part in parts
    ]
    if len(parts) == 1:
        return texts[0]
    return "; ".join(f"{part['name']}: {text}" for part, text in zip(parts, texts, strict=True))


def _hours_text(hours: float) -> str:
    return f"{hours:.2f} h" if hours >= 0.1 else f"{3600 * hours:.0f} s"


def mix(
    root: str,
    target: Store,
    added: Mapping[str, Store],
    run: Run = map,
    may_replace: MayReplace = refuse_to_replace,
) -> Store:
    """Make the mixed store at `root`, or find it there.

    Args:
        target: whose splits it has; scores are of its recordings alone.
        added: by name; of these the training split is taken.

    Raises:
        UserError: nothing is added, a name cannot be used, or a part is mixed itself, or has nothing to train on; see
            `data.stores.build.build`.
    """
    check_mix(target, added)
    parts = [_part(_TARGET, target, SPLITS), *(_part(name, store, (_ADDED_SPLIT,)) for name, store in added.items())]
    tasks = _tasks(target, tuple(target.manifest.splits), "")
    for name, store in added.items():
        tasks += _tasks(store, (_ADDED_SPLIT,), name)
    classes = target.manifest.classes
    return build(root, SOURCE, {"parts": parts}, tasks, run, may_replace=may_replace, classes=classes).store


def check_mix(target: Store, added: Mapping[str, Store]) -> None:
    """UserError where `mix` would refuse these; nothing of their recordings is read."""
    if not added:
        raise UserError("nothing to mix: name the target and one store or more to add to its training split")
    seen = {target.manifest.sha256: target.root}
    for store in added.values():
        if same := seen.get(store.manifest.sha256):
            raise UserError(f"{store.root} holds what {same} holds: its recordings would be trained on twice")
        seen[store.manifest.sha256] = store.root
    for name, store in added.items():
        check_name(name, "added store")
        if name == _TARGET:
            raise UserError(
                f"added store {name!r}: that is what the store is called that is added to; rename its folder"
            )
        if store.manifest.classes != target.manifest.classes:
            theirs, ours = (some_of(one.manifest.classes.short_names) for one in (store, target))
            raise UserError(
                f"{store.root} has other classes ({theirs}) than {target.root} ({ours}); take one of them in anew with "
                "`data ingest --classes`, which gives both one list"
            )
        if not store.split(_ADDED_SPLIT).clips:
            raise UserError(f"{store.root} has no recording to train on: there is nothing to add")
    for store in (target, *added.values()):
        if store.manifest.source == SOURCE:
            raise UserError(f"{store.root} is mixed already; name all that it was made of at once")


def _part(name: str, store: Store, splits: Sequence[str]) -> dict[str, Any]:
    manifest = store.manifest
    hours = {split: manifest.splits[split].hours for split in splits if split in manifest.splits}
    return {"name": name, "source": manifest.source, "manifest": manifest.sha256, "hours": hours}


@dataclass(frozen=True)
class MixTask:
    """Some recordings of one split of a part: picklable, and independent of all others."""

    store: Store
    split: str
    part: str
    """Empty for the target's own."""
    names: tuple[str, ...]
    places: tuple[tuple[tuple[int, int], ...], ...]
    """Shard and row of each recording's rows."""
    facts: tuple[Mapping[str, Any], ...]
    seconds: float
    key: str

    def recordings(self) -> Iterator[Recording]:
        """Read them, one after the other."""
        shards = self.store.split(self.split).shards
        prefix = f"{self.part}{ADDED_MARK}" if self.part else ""
        for name, places, facts in zip(self.names, self.places, self.facts, strict=True):
            rows = [_row(self.store, shards, *place) for place in places]
            yield _whole(rows, f"{prefix}{name}", f"{prefix}{rows[0]['room']}", facts)


def _tasks(store: Store, splits: Sequence[str], part: str) -> list[MixTask]:
    """Recordings in the order of the store, about a shard to a task."""
    facts = recording_facts(store)
    return [
        MixTask(
            store=store,
            split=split,
            part=part,
            names=tuple(group),
            places=tuple(
                tuple((entry["shard"], entry["row"]) for entry in sorted(rows, key=lambda e: e["start_frame"]))
                for rows in group.values()
            ),
            facts=tuple(facts.get(name, {}) for name in group),
            seconds=LABEL_HOP_S * sum(entry["num_frames"] for rows in group.values() for entry in rows),
            key=hashlib.sha256(
                json.dumps([SOURCE, store.manifest.sha256, split, part, list(group)]).encode()
            ).hexdigest()[:16],
        )
        for split in splits
        for group in _groups(store, split)
    ]


Entries = dict[str, list[dict[str, Any]]]
"""By recording, its rows' entries in the index."""


def _groups(store: Store, split: str) -> Iterator[Entries]:
    """The recordings of a split, about a shard at a time."""
    shards = store.split(split).shards
    by_name: Entries = {}
    for entry in read_index(store, split).to_pylist():
        by_name.setdefault(entry["recording"], []).append(entry)
    group: Entries = {}
    size = 0.0
    for name, rows in by_name.items():
        if ADDED_MARK in name:
            raise UserError(
                f"{store.root}: recording {name!r} has a {ADDED_MARK!r} in its name, which marks what was added"
            )
        group[name] = rows
        size += sum(shards[entry["shard"]].bytes / shards[entry["shard"]].rows for entry in rows)
        if size >= SHARD_BYTES:
            yield group
            group, size = {}, 0.0
    if group:
        yield group


def _row(store: Store, shards: Sequence[Shard], shard: int, row: int) -> RawRow:
    (found,) = read_shard(store, shards[shard], rows=[row])
    return found


def _whole(rows: Sequence[RawRow], name: str, room: str, facts: Mapping[str, Any]) -> Recording:
    """A recording from its rows, each of which goes on for a tail that the next one has again."""
    audio, pictures, events = [], [], []
    rate = rows[0]["frame_rate_hz"]
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        sound, seen = decode_flac(row["audio"]), row["frames"]
        table = row_events(row).between(0, row["num_frames"])
        if following is not None:
            first, stop = (round(at["start_frame"] * rate / LABEL_RATE_HZ) for at in (row, following))
            sound, seen = sound[:, : row["num_frames"] * SAMPLES_PER_LABEL], seen[: stop - first]
        audio.append(sound)
        pictures += seen
        events.append((table.frame + row["start_frame"], *table.columns()[1:]))
    columns = [np.concatenate(column) for column in zip(*events, strict=True)]
    return Recording(name, room, np.concatenate(audio, axis=1), Events.build(*columns), pictures, rate, facts)
