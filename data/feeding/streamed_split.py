"""A split that does not fit into memory, read row by row by whoever needs it: the streamed kind of `Feed`."""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from data.errors import UserError
from data.feeding.contract import PreparedRow
from data.feeding.cutter import Extent
from data.feeding.feed import Feed, HeldRows, share
from data.feeding.stream import Place, Prepare, RowArrivals, rows_of
from data.feeding.window_stream import WindowStream
from data.feeding.windows import Sampling, Windows
from data.stores.chunks import Store, read_index, read_shard

# Rows of recordings that are evaluated together; two give a full batch of windows that do not overlap.
_EVALUATED_TOGETHER = 4
FEWEST_ROWS = 4
"""Rows that a reader needs room for: two in use, one on its way, one being decoded."""


@dataclass(frozen=True, kw_only=True)
class StreamedSplit:
    """A split of a store whose rows come one after another. Travels to whoever reads it.

    Half of `memory_bytes` is for rows in use, half for those on their way; `workers` of a trial share both, and the
    `cpus` as well. UserError, as it is read, where that is too little for any.
    """

    store: Store
    split: str
    prepare: Prepare
    memory_bytes: int
    cpus: int = 1
    workers: int = 1

    def windows(self, columns: Collection[str], sampling: Sampling, *, epochs: int) -> Windows:
        index, prepare = self._index, self.prepare.looking_at(columns)
        row_bytes = self._row_bytes(index, prepare)
        places = [(row["shard"], row["row"]) for row in index]
        return WindowStream(
            [Extent(row["start_frame"], row["num_frames"], row["num_labels"]) for row in index],
            [row["recording"] for row in index],
            lambda wanted: self._arrivals(prepare, [places[number] for number in wanted], row_bytes),
            sampling,
            held_rows=max(2, self.memory_bytes // (2 * row_bytes)),
            any_video=any(row["has_video"] for row in index),
            epochs=epochs,
        )

    def recordings(
        self, columns: Collection[str], rank: int = 0, world_size: int = 1
    ) -> Generator[list[PreparedRow], None, None]:
        index, prepare = self._index, self.prepare.looking_at(columns)
        mine = share((row["recording"] for row in index), rank, world_size)
        entries = sorted(
            (row for row in index if row["recording"] in mine), key=lambda row: (row["recording"], row["start_frame"])
        )
        row_bytes = self._row_bytes(index, prepare)
        size = max(1, min(_EVALUATED_TOGETHER, self.memory_bytes // (2 * row_bytes * self.workers)))
        arrivals = self._arrivals(prepare, [(row["shard"], row["row"]) for row in entries], row_bytes)
        try:
            for start in range(0, len(entries), size):
                yield [next(arrivals) for _ in entries[start : start + size]]
        finally:
            arrivals.close()

    def without_distance(self) -> list[str]:
        shards = self.store.split(self.split).shards
        rows = (row for shard in shards for row in read_shard(self.store, shard, ["recording", "events"]))
        return sorted({row["recording"] for row in rows if any(np.isnan(e["distance_cm"]) for e in row["events"])})

    @cached_property
    def _index(self) -> list[dict[str, Any]]:
        return read_index(self.store, self.split).to_pylist()

    def _row_bytes(self, index: list[dict[str, Any]], prepare: Prepare) -> int:
        row_bytes = largest_row_bytes(index, prepare)
        if self.memory_bytes < FEWEST_ROWS * self.workers * row_bytes:
            raise UserError(
                f"a stream of the split {self.split!r} needs room for {FEWEST_ROWS * self.workers} rows of "
                f"{row_bytes / 1e6:.0f} MB, and has {self.memory_bytes / 1e6:.0f} MB; give it more memory for data"
            )
        return row_bytes

    def _arrivals(self, prepare: Prepare, places: list[Place], row_bytes: int) -> RowArrivals:
        return RowArrivals(
            self.store,
            self.split,
            prepare,
            places,
            row_bytes,
            memory_bytes=self.memory_bytes // (2 * self.workers),
            cpus=max(1, self.cpus // self.workers),
        )


def largest_row_bytes(index: Sequence[dict[str, Any]], prepare: Prepare) -> int:
    """Bytes of the largest prepared row of an index (`data.stores.chunks.INDEX_SCHEMA`)."""
    return max((_bytes(row, prepare) for row in index), default=1)


def decoded_bytes(index: Sequence[dict[str, Any]], prepare: Prepare) -> int:
    """Bytes of all prepared rows of an index."""
    return sum(_bytes(row, prepare) for row in index)


def _bytes(row: dict[str, Any], prepare: Prepare) -> int:
    return max(1, round(row["num_labels"] * prepare.bytes_per_label(row["has_video"])))


def open_feed(source: Any) -> Feed:
    """The feed of a streamed split, or of a `ray.data.Dataset` of prepared rows, which is read whole."""
    return source if isinstance(source, StreamedSplit) else HeldRows(rows_of(source))
