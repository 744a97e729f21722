"""From the chunk store to prepared rows through Ray Data: shards are read, verified and decoded in parallel tasks.

Prepared rows (see `data.windows`) travel as one Arrow table each, with arrays as bytes beside their shapes. So a row
that lies in the object store is read as numpy views, and every worker of a machine shares the same copy.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from data.errors import UserError
from data.rows import RawRow
from data.store import Shard, Store, read_shard
from data.windows import PreparedRow

Prepare = Callable[[RawRow], PreparedRow]

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


@dataclass(frozen=True)
class _ReadShard:
    """The task: a batch that names one shard -> a table for each of its rows."""

    store: Store
    shards: tuple[Shard, ...]
    prepare: Prepare
    columns: list[str] | None

    def __call__(self, batch: dict[str, Any]) -> Iterator[pa.Table]:
        for index in batch["item"]:
            for raw in read_shard(self.store, self.shards[int(index)], self.columns):
                yield pack_row(self.prepare(raw))


def read_split(store: Store, split: str, prepare: Prepare, columns: list[str] | None = None) -> Any:
    """A lazy `ray.data.Dataset` of the prepared rows of a split, one task a shard. Needs a running Ray.

    `prepare` is picklable and turns a raw row (`data.rows`), with all of its columns or those named, into a prepared
    one. Run it inside `user_errors()` so that a corrupted shard reaches the caller as the UserError it is. Raises
    UserError for an unknown split.
    """
    shards = store.split(split).shards
    import ray

    dataset = ray.data.from_items(list(range(len(shards))), override_num_blocks=len(shards))
    return dataset.map_batches(_ReadShard(store, shards, prepare, columns), batch_size=1, batch_format="numpy")


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


def pack_row(row: PreparedRow) -> pa.Table:
    """A prepared row as a table of one row."""
    columns: dict[str, pa.Array] = {name: pa.array([row[name]]) for name in _SCALARS}
    for name in (column for column in _ARRAYS if column in row):
        array = np.ascontiguousarray(row[name], dtype=_ARRAYS[name])
        # An Arrow buffer around the array's own memory: no copy is made here.
        offsets = pa.py_buffer(np.array([0, array.nbytes], dtype=np.int64))
        columns[name] = pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, pa.py_buffer(array)])
        columns[f"{name}_shape"] = pa.array([array.shape], type=pa.list_(pa.int64()))
    return pa.table(columns)


def unpack_rows(table: pa.Table) -> Iterator[PreparedRow]:
    """Inverse of `pack_row`, for tables of any number of rows; arrays are views."""
    for i in range(table.num_rows):
        row: PreparedRow = {name: table.column(name)[i].as_py() for name in _SCALARS}
        for name in (column for column in _ARRAYS if column in table.column_names):
            shape = table.column(f"{name}_shape")[i].as_py()
            row[name] = np.frombuffer(table.column(name)[i].as_buffer(), dtype=_ARRAYS[name]).reshape(shape)
        yield row


@contextmanager
def user_errors() -> Iterator[None]:
    """Raise a UserError from inside a Ray task as itself: one line, without Ray's wrapping and its traceback."""
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
        raise UserError(str(found).splitlines()[0]) from None
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
        if type(current) is UserError:
            return current
        queue += [getattr(current, "cause", None), current.__cause__, current.__context__]
    return None
