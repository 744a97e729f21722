"""Building a chunk store from recordings, whoever makes or reads them: in tasks, resumable, published at the end.

A task yields some recordings of one split and leaves their shards and, last, a small record of them. A record's name is
the hash of everything that its shards follow from, so that an interrupted run, or one after a source has changed, does
again only what is not there. The manifest comes when all records are; until then the store is what it was.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np

from data import storage
from data.classes import STARSS23, ClassList
from data.errors import UserError
from data.remembered import read_back
from data.stores.chunks import (
    MANIFEST_NAME,
    SPLITS,
    Manifest,
    Shard,
    Split,
    Store,
    index_entry,
    open_store,
    write_index,
    write_manifest,
    write_shard,
)
from data.stores.progress import Progress
from data.stores.replacing import MayReplace, differences_of, refuse_to_replace
from data.stores.rows import RawRow, cut_rows, labels_per_class, polyphony
from data.stores.source import Fault, Task, told_together
from data.timing import LABEL_HOP_S

SHARD_BYTES = 64_000_000
"""What shards aim at; they are at most twice as large, and smaller only where a task has no more."""

RECORDS = "records"
REPORT_NAME = "report.json"

logger = logging.getLogger(f"seldtune.{__name__}")


@dataclass(frozen=True)
class Record:
    """What a finished task left."""

    split: str
    shards: tuple[Shard, ...]
    index: tuple[tuple[Mapping[str, Any], ...], ...]
    """For each shard an entry a row."""
    recordings: tuple[Mapping[str, Any], ...]
    """For each recording its name, room, counts and facts."""
    faults: tuple[Fault, ...]

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Record:
        fields = json.loads(text)
        return cls(
            split=fields["split"],
            shards=tuple(Shard(**shard) for shard in fields["shards"]),
            index=tuple(tuple(entries) for entries in fields["index"]),
            recordings=tuple(fields["recordings"]),
            faults=tuple(Fault(**fault) for fault in fields["faults"]),
        )


class _Finished(Protocol):
    @property
    def shards(self) -> Sequence[Shard]: ...


R = TypeVar("R", bound=_Finished)


@dataclass(frozen=True)
class Built:
    """A published store, and what became of its sources."""

    store: Store
    report: Mapping[str, Any]
    """`recordings` (name -> split, room, counts, facts), `faults` (recording, reason), `remarks`, and what a review
    says besides; `report.json`."""


@dataclass(frozen=True)
class Review:
    """What is to be said of a store before it is published."""

    remarks: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the report keeps besides, as JSON knows it."""


Run = Callable[[Callable[["WriteTask"], tuple[str, Record]], Sequence["WriteTask"]], Iterable[tuple[str, Record]]]
"""Works like `map`, in any order, and may spread the calls over processes or machines."""


@dataclass(frozen=True)
class WriteTask:
    """A task and where its result goes."""

    root: str
    task: Task
    num_classes: int

    @property
    def record_uri(self) -> str:
        return record_uri(self.root, self.task.key)


def build(
    root: str,
    source: str,
    settings: Mapping[str, Any],
    tasks: Sequence[Task],
    run: Run = map,
    faults: Sequence[Fault] = (),
    remarks: Sequence[str] = (),
    review: Callable[[Store, Mapping[str, Any]], Review] = lambda store, recordings: Review(),
    may_replace: MayReplace = refuse_to_replace,
    classes: ClassList = STARSS23,
) -> Built:
    """Make the store at `root` from the tasks, or find it there.

    `settings` become part of its identity. A store of the same `source` that is there is replaced, if it may be, once
    the new one is whole, and the log says so.

    Args:
        faults: recordings that no task could be made of.
        remarks: what else the report should say of the source.
        review: looks at the whole store and at the report's recordings before the store is published; what it raises
            leaves the store as it was, and the same call goes on from there.
        may_replace: refuses (UserError) that the store there is replaced; asked before anything is made where settings
            differ, and in the end where recordings do.

    Raises:
        UserError: `root` holds data of another source, or data that may not be replaced, or cannot be used (see
            `storage.check_root`), or no task yields a recording; the store is what it was then.
    """
    root = storage.absolute(root)
    storage.check_root(root)
    before = _published(root)
    plain_settings = json.loads(json.dumps(settings))
    if before is not None:
        _check_source(before, source)
        if before.manifest.settings != plain_settings:
            may_replace(before, differences_of(before.manifest.settings, plain_settings))
    todo = [WriteTask(root, task, len(classes)) for task in tasks]
    there = storage.list_files(root)
    records = {
        task.key: record
        for task in tasks
        # What could not be read is tried again: what was in its way may be gone.
        if (record := finished(root, task.key, there, Record.from_json)) is not None and not record.faults
    }
    left = [one for one in todo if one.task.key not in records]
    if records and left:
        logger.info("%s: %d of %d tasks are done already", root, len(records), len(todo))
    for told in (*remarks, *told_together(faults)):
        logger.warning("%s", told)
    progress = Progress(root, {one.task.key: one.task.seconds for one in left})
    for key, record in run(write_task, left):
        records[key] = record
        progress.tell(key, sum(shard.bytes for shard in record.shards))
        for told in told_together(record.faults):
            logger.warning("%s", told)
    ordered = [records[task.key] for task in tasks]
    report = _report(ordered, faults, remarks)
    if not report["recordings"]:
        reasons = "; ".join(told_together([Fault(**fault) for fault in report["faults"]])[:3])
        raise UserError(f"nothing to put into {root}: no recording could be read ({reasons or 'there are none'})")
    splits, contents = {}, {}
    for name in SPLITS:
        parts = [record for record in ordered if record.split == name and record.recordings]
        if parts:
            splits[name] = _split(parts)
            contents[name] = [pair for part in parts for pair in zip(part.shards, part.index, strict=True)]
    manifest = Manifest(source, plain_settings, splits, write_index(root, contents), classes=classes)
    store = Store(root, manifest)
    _check_nothing_vanished(store)
    reviewed = review(store, report["recordings"])
    for told in reviewed.remarks:
        logger.warning("%s", told)
    report["remarks"] += reviewed.remarks
    report |= reviewed.facts
    before = _published(root)
    is_new = before is None or before.manifest != store.manifest
    if is_new and before is not None:
        differences = differences_of(before.manifest.settings, plain_settings)
        may_replace(before, differences)
        was, now = before.manifest.sha256[:12], store.manifest.sha256[:12]
        logger.warning("%s: replaces the data there (%s) with %s: %s", root, was, now, differences)
    storage.write_bytes(storage.join(root, REPORT_NAME), (json.dumps(report, indent=1) + "\n").encode())
    if is_new:
        write_manifest(root, store.manifest)
    else:
        logger.info("%s: the data is there already (%s)", root, store.manifest.sha256[:12])
    remove_others(root, {shard.path for shard in store.files()}, {one.record_uri for one in todo})
    return Built(store, report)


def _check_nothing_vanished(store: Store) -> None:
    try:
        store.check()
    except UserError as error:
        raise UserError(
            f"{store.root} lost files while it was being made ({error.args[0].partition(' though')[0]}); was the "
            "bucket or folder deleted? Make it again if so, and give the same command again"
        ) from error


def write_task(one: WriteTask) -> tuple[str, Record]:
    """Run a task, leave its shards and its record; its key and the record."""
    rows: list[RawRow] = []
    recordings: list[dict[str, Any]] = []
    faults: list[Fault] = []
    for found in one.task.recordings():
        if isinstance(found, Fault):
            faults.append(found)
            continue
        cut = cut_rows(found.name, found.room, found.audio, found.events, found.pictures, found.picture_rate_hz)
        if not cut:
            faults.append(Fault(found.name, f"{found.name} holds less than {LABEL_HOP_S} s of sound"))
            continue
        rows += cut
        recordings.append(
            {
                "recording": found.name,
                "room": found.room,
                "num_frames": sum(row["num_frames"] for row in cut),
                "has_video": cut[0]["has_video"],
                "class_frames": labels_per_class(cut, one.num_classes),
                "polyphony": polyphony(cut),
                "facts": dict(found.facts),
            }
        )
    shards, index = [], []
    for piece in _shares(rows):
        shards.append(write_shard(one.root, one.task.split, piece))
        index.append(tuple(index_entry(row) for row in piece))
    record = Record(one.task.split, tuple(shards), tuple(index), tuple(recordings), tuple(faults))
    storage.write_bytes(one.record_uri, record.to_json().encode())
    return one.task.key, record


def _shares(rows: list[RawRow]) -> Iterator[list[RawRow]]:
    """The rows in their order, cut into shards of about equal size."""
    sizes = np.cumsum([len(row["audio"]) + sum(map(len, set(row["frames"]))) for row in rows])
    count = max(1, math.ceil(sizes[-1] / (1.5 * SHARD_BYTES))) if rows else 0
    begin = 0
    for number in range(1, count + 1):
        end = len(rows) if number == count else int(np.searchsorted(sizes, sizes[-1] * number / count)) + 1
        if end > begin:
            yield rows[begin:end]
        begin = max(begin, end)


def record_uri(root: str, key: str) -> str:
    """Where the record of the task with that key is."""
    return storage.join(root, RECORDS, f"{key}.json")


def finished(root: str, key: str, there: Mapping[str, int], read: Callable[[str], R]) -> R | None:
    """The record of a task, if it and all its shards are `there` (`storage.list_files`)."""
    if f"{RECORDS}/{key}.json" not in there:
        return None
    uri = record_uri(root, key)
    with read_back(uri, "delete it, and give the same command again: its recordings are read anew"):
        record = read(storage.read_bytes(uri).decode())
    return record if all(there.get(shard.path) == shard.bytes for shard in record.shards) else None


def _check_source(there: Store, source: str) -> None:
    if there.manifest.source != source:
        raise UserError(
            f"{there.root} holds data from {there.manifest.source!r}; choose another place for data from {source!r}"
        )


def _published(root: str) -> Store | None:
    return open_store(root) if storage.exists(storage.join(root, MANIFEST_NAME)) else None


def _split(parts: Sequence[Record]) -> Split:
    recordings = [one for part in parts for one in part.recordings]
    return Split(
        clips=len(recordings),
        clips_without_video=sum(not one["has_video"] for one in recordings),
        hours=round(sum(one["num_frames"] for one in recordings) * LABEL_HOP_S / 3600, 6),
        rooms=tuple(sorted({one["room"] for one in recordings})),
        class_frames=tuple(np.sum([one["class_frames"] for one in recordings], axis=0).tolist()),
        polyphony=tuple(np.sum([one["polyphony"] for one in recordings], axis=0).tolist()),
        shards=tuple(shard for part in parts for shard in part.shards),
    )


def _report(records: Sequence[Record], faults: Sequence[Fault], remarks: Sequence[str]) -> dict[str, Any]:
    recordings = {
        one["recording"]: {"split": record.split, **{name: one[name] for name in one if name != "recording"}}
        for record in records
        for one in record.recordings
    }
    found = [*faults, *(fault for record in records for fault in record.faults)]
    return {"recordings": recordings, "faults": [asdict(fault) for fault in found], "remarks": list(remarks)}


def remove_others(root: str, named: set[str], records: set[str]) -> None:
    """Delete what earlier settings and interrupted writes left: all but the named paths and the URIs of records."""
    for path in storage.list_files(root, half_written=True):
        folder, _, name = path.rpartition("/")
        uri = storage.join(root, path)
        ours = folder in SPLITS and name.startswith(("part-", ".part-"))
        ours = ours or (not folder and name.startswith(("index-", ".index-")))
        if (ours and path not in named) or (folder == RECORDS and uri not in records):
            storage.delete(uri)
