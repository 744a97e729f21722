"""The rows of a store without their sound and pictures, by recording; and more of a row where it is wanted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import groupby

from data.errors import UserError
from data.labels import Events
from data.rows import RawRow, row_events
from data.store import SPLITS, Manifest, Shard, Store, read_shard


@dataclass(frozen=True, eq=False)
class RowFacts:
    """A row without its sound and pictures: where it lies, and what is known of it."""

    split: str
    shard: Shard
    index: int
    """Its place in the shard."""
    recording: str
    start_frame: int
    num_frames: int
    has_video: bool
    events: Events
    """Of its own label frames, counted from the row's start."""


def split_names(manifest: Manifest) -> list[str]:
    """Its splits: train, val, test, then any other."""
    return sorted(manifest.splits, key=lambda name: (SPLITS.index(name) if name in SPLITS else len(SPLITS), name))


def read_rows(store: Store) -> list[RowFacts]:
    """All rows, in the order of splits and shards; sound and pictures are not read."""
    columns = ["recording", "start_frame", "num_frames", "has_video", "events"]
    return [
        RowFacts(
            split=name,
            shard=shard,
            index=index,
            events=row_events(row).between(0, row["num_frames"]),
            **{column: row[column] for column in columns[:-1]},
        )
        for name in split_names(store.manifest)
        for shard in store.manifest.splits[name].shards
        for index, row in enumerate(read_shard(store, shard, columns))
    ]


def rows_of_recording(rows: Sequence[RowFacts], recording: str | None) -> list[RowFacts]:
    """The rows of a recording in order of time; of the first one if none is named.

    Raises:
        UserError: there is none of that name; near names are listed.
    """
    names = list(dict.fromkeys(row.recording for row in rows))
    name = names[0] if recording is None else recording
    if name not in names:
        near = get_close_matches(name, names, n=5, cutoff=0.5) or names[:5]
        raise UserError(f"there is no recording {name!r} among the {len(names)} here; near it: {', '.join(near)}")
    return sorted((row for row in rows if row.recording == name), key=lambda row: row.start_frame)


def read_whole(store: Store, rows: Sequence[RowFacts], columns: list[str]) -> Iterator[tuple[RowFacts, RawRow]]:
    """Rows with more of their columns; nothing but these rows is read, shard by shard."""
    for shard, group in groupby(rows, key=lambda row: row.shard):
        of_shard = list(group)
        yield from zip(of_shard, read_shard(store, shard, columns, [row.index for row in of_shard]), strict=True)
