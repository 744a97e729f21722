"""Where training finds the windows of a split, and evaluation its recordings, however the rows come: a feed.

A split that fits is held: all its rows at once, shared with whoever else holds them. One that does not is streamed
(`data.feeding.streamed_split`). Both cut the same windows; only the order of the training windows differs, for a stream
cannot draw from all rows at once. Pure numpy.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Sequence
from typing import Protocol

import numpy as np

from data.feeding.contract import PreparedRow, as_looked_at
from data.feeding.windows import Sampling, Windows, WindowSampler


class Feed(Protocol):
    """A split, as one worker of a trial reads it."""

    def windows(self, columns: Collection[str], sampling: Sampling, *, epochs: int) -> Windows:
        """Training batches with what a model that looks at these columns sees.

        Args:
            epochs: the number of the last epoch.
        """
        ...

    def recordings(
        self, columns: Collection[str], rank: int = 0, world_size: int = 1
    ) -> Generator[list[PreparedRow], None, None]:
        """This worker's share of the recordings, a few rows at a time, in order of recording and start.

        Every recording is one worker's. A recording may begin in one list and end in a later one.
        """
        ...

    def without_distance(self) -> list[str]:
        """Names of the recordings with an event whose distance nobody measured."""
        ...


class HeldRows:
    """A split whose rows are all in memory, in any order."""

    def __init__(self, rows: Sequence[PreparedRow]) -> None:
        self._rows = sorted(rows, key=lambda row: (row["recording"], row["start_frame"]))

    def windows(self, columns: Collection[str], sampling: Sampling, *, epochs: int) -> Windows:
        return WindowSampler(as_looked_at(self._rows, columns), sampling)

    def recordings(
        self, columns: Collection[str], rank: int = 0, world_size: int = 1
    ) -> Generator[list[PreparedRow], None, None]:
        mine = share((row["recording"] for row in self._rows), rank, world_size)
        rows = [row for row in self._rows if row["recording"] in mine]
        if rows:
            yield as_looked_at(rows, columns)

    def without_distance(self) -> list[str]:
        return sorted({row["recording"] for row in self._rows if np.isnan(row["events"][:, -1]).any()})


def share(recordings: Iterable[str], rank: int, world_size: int) -> set[str]:
    """The names of the recordings that are this worker's."""
    return set(sorted(set(recordings))[rank::world_size])
