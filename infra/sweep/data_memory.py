"""What of a sweep's data is decoded once and shared, and what is streamed: decided before anything is decoded.

Memory: 7 x n_mels x 4 bytes a feature frame, e.g. 0.52 GB an hour at 64 bands and 80 frames a second, and
width x height x 3 bytes a picture where a model of the space looks at pictures, e.g. 11 GB an hour at 448 x 224 and ten
a second. A stored recording is a fifth to a hundredth of that.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data.errors import UserError
from data.feeding.streamed_split import FEWEST_ROWS, decoded_bytes, largest_row_bytes
from data.stores.chunks import Store, read_index
from trainables.inputs.prepare import PrepareRow

logger = logging.getLogger(f"seldtune.{__name__}")

SEARCHED = ("train", "val")
"""What a search may see; the test split is for finalists alone."""

STORE_SHARE = 0.6
"""Of the object stores, what decoded data may take where nothing else is said; Ray and its libraries use them too."""
_MOST_BESIDE_STREAMS = 0.5


@dataclass(frozen=True, kw_only=True)
class DataDivision:
    """Which splits are shared and which are streamed."""

    sizes: dict[str, int]
    """Decoded bytes of each split."""
    row_bytes: int
    """Of the largest decoded row of those streamed."""
    memory_bytes: int
    """For all of it together."""
    shared: tuple[str, ...]
    streamed: tuple[str, ...]

    @property
    def needed_bytes(self) -> int:
        """What would hold everything."""
        return sum(self.sizes.values())

    def stream_bytes(self, trials: int) -> int:
        """For each stream, where so many trials run at a time."""
        left = self.memory_bytes - sum(self.sizes[split] for split in self.shared)
        return left // (trials * max(1, len(self.streamed)))

    def streams(self, workers: int) -> int:
        """Trials of so many workers that there is room to stream to.

        Raises:
            UserError: none.
        """
        least = FEWEST_ROWS * workers * self.row_bytes
        room = self.stream_bytes(1) // least
        if room < 1:
            needed = self.memory_bytes + (least - self.stream_bytes(1)) * len(self.streamed)
            raise UserError(
                f"decoded data may take {self.text(self.memory_bytes)} of memory, too little even to stream "
                f"{' and '.join(self.streamed)} in rows of {self.text(self.row_bytes)}; give at least "
                f"--data-memory {self.text(needed)}, or make pictures smaller (inputs.frame_*)"
            )
        return room

    @staticmethod
    def text(bytes_: int) -> str:
        """As `--data-memory` takes it, rounded up."""
        return f"{-(-bytes_ // 10**6)}MB" if bytes_ < 10**10 else f"{-(-bytes_ // 10**9)}GB"


def divide_data(
    store: Store, prepare: PrepareRow, memory_bytes: int | None = None, splits: Sequence[str] = SEARCHED
) -> DataDivision:
    """Share what fits into so many bytes, or into a share of the cluster's object stores; stream the rest, and say so.

    The smaller split is shared beside a stream of the other if that leaves the stream half of the memory. Needs a
    running Ray, and reads the store's index alone.
    """
    import ray

    stores = int(ray.cluster_resources().get("object_store_memory", 0))
    allowed = int(STORE_SHARE * stores) if memory_bytes is None else memory_bytes
    if allowed > stores:
        logger.warning(
            "%.1f GB of memory for data is more than the object stores' %.1f GB: what does not fit is spilled to disk",
            allowed / 1e9,
            stores / 1e9,
        )
    division = divide({split: read_index(store, split).to_pylist() for split in splits}, prepare, allowed)
    if division.streamed:
        logger.info(
            "%s streamed to each trial, %s: decoded, %s, and %s may be taken; --data-memory %s would hold all",
            " and ".join(division.streamed),
            f"{division.shared[0]} shared" if division.shared else "nothing shared",
            ", ".join(f"{split} takes {division.text(size)}" for split, size in division.sizes.items()),
            division.text(allowed),
            division.text(division.needed_bytes),
        )
    return division


def divide(indices: Mapping[str, list[dict[str, Any]]], prepare: PrepareRow, allowed: int) -> DataDivision:
    """What is shared and streamed of splits with these indices (`data.stores.chunks.INDEX_SCHEMA`) in so many bytes."""
    sizes = {split: decoded_bytes(index, prepare) for split, index in indices.items()}
    shared = tuple(sizes)
    if sum(sizes.values()) > allowed:
        smallest = min(sizes, key=lambda split: sizes[split])
        shared = (smallest,) if sizes[smallest] <= _MOST_BESIDE_STREAMS * allowed else ()
    streamed = tuple(split for split in sizes if split not in shared)
    row_bytes = max((largest_row_bytes(indices[split], prepare) for split in streamed), default=0)
    return DataDivision(sizes=sizes, row_bytes=row_bytes, memory_bytes=allowed, shared=shared, streamed=streamed)
