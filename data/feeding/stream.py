"""From the chunk store to prepared rows through Ray Data: rows are read, verified and decoded in parallel tasks.

Prepared rows (see `data.feeding.windows`) travel as one Arrow table each, with arrays as bytes beside their shapes. So
a row that lies in the object store is read as numpy views, and every worker of a machine shares the same copy.

A split that fits into the object stores is read whole and stays there for all who use it (`read_split`, `materialise`,
`rows_of`). Of one that does not, each user has the rows it needs next brought in their order (`stream_rows`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, cast

import numpy as np
import pyarrow as pa

from data import patience
from data.errors import Unavailable, UserError, WaitedInVain
from data.feeding.contract import PreparedRow
from data.stores.chunks import Shard, Store, read_shard
from data.stores.rows import RawRow

# Tasks cost about 16 ms each, so that rows which decode faster than that share one.
_TASK_BYTES = 8_000_000
_STEP_S = 0.01

_ARRAYS = {
    "features": np.float32,
    "target": np.float32,
    "events": np.float64,
    "frames": np.uint8,
    "boxes": np.float32,
    "resnet_embeddings": np.float16,
    "i3d_embeddings": np.float16,
}
_SCALARS = ("recording", "room", "start_frame", "num_frames", "has_video")


class Prepare(Protocol):
    """Turns a raw row (`data.stores.rows`) into a prepared one. Picklable."""

    @property
    def columns(self) -> list[str] | None:
        """Columns of the raw row that it needs; None: all. No others are read."""
        ...

    def __call__(self, row: RawRow, /) -> PreparedRow: ...

    def looking_at(self, columns: Collection[str]) -> Prepare:
        """The same for a model that looks at these columns."""
        ...

    def bytes_per_label(self, has_video: bool) -> float:
        """Bytes of a prepared row for each label frame in it."""
        ...


Place = tuple[int, int]
"""A row of a split: number of the shard, number of the row in it."""


@dataclass(frozen=True)
class _ReadShards:
    """The task of a batch that names shards -> a table for each of their rows."""

    store: Store
    shards: tuple[Shard, ...]
    prepare: Prepare

    def __call__(self, batch: dict[str, Any]) -> Iterator[pa.Table]:
        for index in batch["id"]:
            for raw in read_shard(self.store, self.shards[int(index)], self.prepare.columns):
                yield pack_row(self.prepare(raw))


@dataclass(frozen=True)
class _ReadRows:
    """The task of a batch that names groups of rows -> a table for each of them."""

    store: Store
    shards: tuple[Shard, ...]
    prepare: Prepare
    groups: tuple[tuple[Place, ...], ...]

    def __call__(self, batch: dict[str, Any]) -> Iterator[pa.Table]:
        for index in batch["id"]:
            for shard, row in self.groups[int(index)]:
                for raw in read_shard(self.store, self.shards[shard], self.prepare.columns, rows=[row]):
                    yield pack_row(self.prepare(raw))


def read_split(store: Store, split: str, prepare: Prepare) -> Any:
    """A lazy `ray.data.Dataset` of the prepared rows of a split, one task a shard. Needs a running Ray.

    Run it inside `user_errors()` so that a corrupted shard reaches the caller as the UserError it is. Raises UserError
    for an unknown split.
    """
    shards = store.split(split).shards
    return _tasks(_ReadShards(store, shards, prepare), len(shards))


def _tasks(read: _ReadShards | _ReadRows, count: int) -> Any:
    import ray

    limit_s = patience.limit_s()

    def patiently(batch: dict[str, Any]) -> Iterator[pa.Table]:
        with patience.patient(limit_s):
            yield from read(batch)

    numbers = ray.data.range(count, override_num_blocks=max(1, count))
    return numbers.map_batches(patiently, batch_size=None, batch_format="numpy")


def materialise(dataset: Any) -> Any:
    """Run the dataset's tasks once and keep the rows in the object store, owned by the calling process."""
    with user_errors():
        return dataset.materialize()


def rows_of(source: Any) -> list[PreparedRow]:
    """All prepared rows of a dataset, or of a Ray Train worker's shard of one, in order of recording and start.

    Arrays are read-only views of the object store where rows are materialised; they keep their block alive.
    """
    with user_errors():
        tables = list(source.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))
    rows = [row for table in tables for row in unpack_rows(table)]
    return sorted(rows, key=lambda row: (row["recording"], row["start_frame"]))


class RowArrivals:
    """Prepared rows of the `places` of a split, in that order, read and decoded ahead of their use.

    At most `cpus` tasks run at a time, and what is decoded but not yet taken stays below `memory_bytes`, or is a row or
    two. Rows are read-only views of the object store and keep their block alive. Closing it ends its tasks; so does
    reading it to the end, or an error. Raises, as it is read, UserError for a shard that is missing or corrupted.
    """

    def __init__(
        self,
        store: Store,
        split: str,
        prepare: Prepare,
        places: Sequence[Place],
        row_bytes: int,
        memory_bytes: int,
        cpus: int = 1,
    ) -> None:
        from ray.data import ExecutionResources

        size = max(1, min(_TASK_BYTES // row_bytes, memory_bytes // (8 * row_bytes)))
        groups = tuple(tuple(places[start : start + size]) for start in range(0, len(places), size))
        dataset = _tasks(_ReadRows(store, store.split(split).shards, prepare, groups), len(groups))
        dataset.context.enable_progress_bars = False
        dataset.context.print_on_execution_start = False
        dataset.context.custom_execution_callback_classes = [_Unhurried]
        options = dataset.context.execution_options
        options.preserve_order = True
        options.resource_limits = ExecutionResources(cpu=cpus, object_store_memory=memory_bytes)
        self._rows = self._read(dataset)

    def __iter__(self) -> RowArrivals:
        return self

    def __next__(self) -> PreparedRow:
        return next(self._rows)

    def close(self) -> None:
        self._rows.close()

    @staticmethod
    def _read(dataset: Any) -> Generator[PreparedRow, None, None]:
        import ray

        # `iter_batches` would leave a thread behind, with the blocks it last waited for, where it is not read to its
        # end. This iterator ends the execution when nothing refers to it any more, as it does when this function ends.
        with user_errors():
            bundles = iter(dataset.iter_internal_ref_bundles())
        while True:
            with user_errors():
                bundle = next(bundles, None)
                if bundle is None:
                    return
                rows = [row for table in ray.get(list(bundle.block_refs)) for row in unpack_rows(table)]
            del bundle
            while rows:
                # Not kept here: whoever takes a row decides how long it lives.
                yield rows.pop(0)


class _Unhurried:
    """An execution callback (`ray.data`'s `ExecutionCallback`) that gives the processor away.

    Ray Data's loop runs in a thread of the process that reads, and does not wait while no task may be started: a stream
    that is ahead of its reader would take a whole CPU from it.
    """

    def before_execution_starts(self, executor: Any) -> None: ...

    def on_execution_step(self, executor: Any) -> None:
        time.sleep(_STEP_S)

    def after_execution_succeeds(self, executor: Any) -> None: ...

    def after_execution_fails(self, executor: Any, error: Exception) -> None: ...


def pack_row(row: PreparedRow) -> pa.Table:
    """A prepared row as a table of one row."""
    values = cast(dict[str, Any], row)
    columns: dict[str, pa.Array] = {name: pa.array([values[name]]) for name in _SCALARS}
    for name in (column for column in _ARRAYS if column in values):
        array = np.ascontiguousarray(values[name], dtype=_ARRAYS[name])
        # An Arrow buffer around the array's own memory: no copy is made here.
        offsets = pa.py_buffer(np.array([0, array.nbytes], dtype=np.int64))
        columns[name] = pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, pa.py_buffer(array)])
        columns[f"{name}_shape"] = pa.array([array.shape], type=pa.list_(pa.int64()))
    return pa.table(columns)


def unpack_rows(table: pa.Table) -> Iterator[PreparedRow]:
    """Inverse of `pack_row`, for tables of any number of rows; arrays are views."""
    present = [name for name in _ARRAYS if name in table.column_names]
    contents = {name: _buffers(table.column(name)) for name in present}
    for i in range(table.num_rows):
        row: dict[str, Any] = {name: table.column(name)[i].as_py() for name in _SCALARS}
        for name in present:
            shape = table.column(f"{name}_shape")[i].as_py()
            row[name] = np.frombuffer(contents[name][i], dtype=_ARRAYS[name]).reshape(shape)
        yield cast(PreparedRow, row)


def _buffers(column: pa.ChunkedArray) -> list[pa.Buffer]:
    """Each value of a column of large binaries, as a part of the column's memory; a scalar would be a copy of it."""
    values = []
    for chunk in column.chunks:
        _, offsets, data = chunk.buffers()
        bounds = np.frombuffer(offsets, dtype=np.int64)[chunk.offset : chunk.offset + len(chunk) + 1].tolist()
        values += [data.slice(start, stop - start) for start, stop in pairwise(bounds)]
    return values


@contextmanager
def user_errors() -> Iterator[None]:
    """Raise a UserError from inside a Ray task as itself: a line and its notes, without Ray's wrapping or traceback."""
    ray_data = logging.getLogger("ray.data")
    level = ray_data.level
    # It would print the traceback twice before the exception gets here, which says the same.
    ray_data.setLevel(logging.CRITICAL)
    try:
        yield
    except Exception as error:
        found = _user_error(error)
        if found is None or found is error:
            raise
        # Ray adds lines of its own advice to a message.
        told = type(found)(str(found).splitlines()[0])
        for note in getattr(found, "__notes__", ()):
            told.add_note(note)
        raise told from None
    finally:
        ray_data.setLevel(level)


def _user_error(error: BaseException) -> UserError | None:
    seen: set[int] = set()
    queue: list[Any] = [error]
    while queue:
        current = queue.pop(0)
        if not isinstance(current, BaseException) or id(current) in seen:
            continue
        seen.add(id(current))
        # Ray makes classes on the fly that are both its own error and ours; only ours has the plain message.
        if isinstance(current, UserError) and type(current) in (UserError, Unavailable, WaitedInVain):
            return current
        queue += [getattr(current, "cause", None), current.__cause__, current.__context__]
    return None
