"""Training batches from rows that come one after another: well mixed, exact and repeatable, with few rows held at once.

The whole order of an epoch follows from the index of the store, (seed, epoch) and how many rows may be held. The rows
stand in a line in random order, each with its windows. The line is cut into lanes of equally many windows, and every
batch takes the same number from each; a worker serves neighbouring lanes, so that the batches are the same whatever the
number of workers. In a lane the windows of a row are spread over the places of the rows beside it, so that at any time
several rows are in use and each comes and goes once. Every other lane runs backwards: where a row lies across the cut
between two lanes, both need it at the same time. Only between two workers is it read twice.

Pure numpy; `data.feeding.stream` brings the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from data.errors import UserError
from data.feeding.contract import SEEN, Batch, PreparedRow
from data.feeding.cutter import Cutter, Extent
from data.feeding.windows import Sampling, Windows, training_windows

MAX_LANES = 8
# Rows of a lane that are in use together. A batch that ends one row and starts another holds one more.
_MIN_MIXED = 3
# So many rows are asked for at once: a start costs half a second, and each row asked for a few kilobytes.
_ROWS_AHEAD = 2_000


class RowSource(Protocol):
    """Rows that arrive in the order asked for. Ends what was begun when closed."""

    def __iter__(self) -> Iterator[PreparedRow]: ...

    def __next__(self) -> PreparedRow: ...

    def close(self) -> None: ...


Fetch = Callable[[Sequence[int]], RowSource]
"""From the numbers of rows, by their place in the index, to the rows themselves; the same number may come again."""


class WindowStream(Windows):
    """Like `WindowSampler`, over rows of which at most about `held_rows` are held at once, by all workers together.

    Args:
        extents: of every row, in the order of the index.
        recordings: of every row.
        fetch: brings this worker's rows. It is asked for several epochs at once, so that the rows of the next are on
            their way while the last windows of this one are used.
        any_video: whether any row has something to be seen.
        epochs: the number of the last epoch that will be asked for; epochs count from whatever is asked for first.

    Epochs are to be asked for in turn; any other order costs a new start.

    Raises:
        UserError: there is no window, or the lanes, at most `MAX_LANES`, are no multiple of the workers.
    """

    def __init__(
        self,
        extents: Sequence[Extent],
        recordings: Sequence[str],
        fetch: Fetch,
        sampling: Sampling,
        *,
        held_rows: int,
        any_video: bool = True,
        epochs: int = 0,
    ) -> None:
        windows = training_windows(extents, sampling.window_labels, sampling.hop_labels)
        super().__init__(windows, recordings, sampling)
        batch_size, world_size = sampling.batch_size, sampling.world_size
        # A single batch that is not full has no equal parts: workers then may need the same rows.
        whole = self._per_epoch >= batch_size
        self._lanes = lanes_of(batch_size, held_rows) if whole else 1
        if whole and self._lanes % world_size:
            raise UserError(
                f"streamed batches of {batch_size} windows from {held_rows} rows held at once have {self._lanes} "
                f"lanes, which {world_size} workers cannot share; choose fewer workers, a batch size that is a "
                f"multiple of {MAX_LANES}, or more memory for data"
            )
        self._mixed = max(1, held_rows // self._lanes - 1)
        self._fetch = fetch
        self._any_video = any_video
        self._last_epoch = epochs
        self._arrivals: RowSource | None = None
        self._covered: range = range(0)
        """Epochs whose rows are still to come from the arrivals."""

    def epoch(self, epoch: int) -> Iterator[Batch]:
        parts = list(self.parts(epoch))
        last_use = {row: number for number, (windows, _) in enumerate(parts) for row in windows[:, 0].tolist()}
        arrivals = self._arrivals_of(epoch)
        held: dict[int, PreparedRow] = {}
        cutter: Cutter | None = None
        done = False
        try:
            for number, (windows, swaps) in enumerate(parts):
                for row in dict.fromkeys(windows[:, 0].tolist()):
                    if row not in held:
                        held[row] = next(arrivals)
                if cutter is None and held:
                    cutter = self._cutter(held)
                assert cutter is not None, "each worker has a part of every batch"
                batch = cutter.batch(windows, swaps, own_labels_only=False)
                for row in [row for row in held if last_use[row] == number]:
                    del held[row]
                done = number == len(parts) - 1
                yield batch
        finally:
            if not done:
                self.close()

    def close(self) -> None:
        if self._arrivals is not None:
            self._arrivals.close()
        self._arrivals, self._covered = None, range(0)

    def _order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        lanes = self._lanes
        owners, held = self._windows[:, 0], lanes * (self._mixed + 1)
        lines = [
            pool.windows[_line(owners[pool.windows], count, round(pool.share * held), rng)]
            for pool, count in self._of_each_pool()
        ]
        line = lines[0] if len(lines) == 1 else _by_row(np.concatenate(lines), owners, rng)
        in_lanes = line.reshape(lanes, -1)
        in_lanes[1::2] = in_lanes[1::2, ::-1].copy()
        mixed = [lane[_mixed(self._windows[lane, 0], self._mixed, rng)] for lane in in_lanes]
        return np.stack(mixed).reshape(lanes, len(self), -1).swapaxes(0, 1).reshape(-1)

    def _arrivals_of(self, epoch: int) -> RowSource:
        if self._arrivals is None or not self._covered or self._covered[0] != epoch:
            self.close()
            wanted = self._needs(epoch)
            last = epoch
            while last < self._last_epoch and len(wanted) < _ROWS_AHEAD:
                last += 1
                wanted += self._needs(last)
            self._covered = range(epoch, last + 1)
            self._arrivals = self._fetch(wanted)
        self._covered = self._covered[1:]
        return self._arrivals

    def _needs(self, epoch: int) -> list[int]:
        """This worker's rows of an epoch in the order of their first use."""
        return list(dict.fromkeys(chain.from_iterable(windows[:, 0].tolist() for windows, _ in self.parts(epoch))))

    def _cutter(self, held: Mapping[int, PreparedRow]) -> Cutter:
        row = next(iter(held.values()))
        empty = {column for column in SEEN if column in row and not len(row[column])}
        # What no row of the split has anything of is not cut.
        like = {name: value for name, value in row.items() if name not in empty or self._any_video}
        return Cutter(held, cast(PreparedRow, like), self._sampling.window_labels, self._sampling.picture_rate_hz)


def lanes_of(batch_size: int, held_rows: int) -> int:
    """Lanes that a batch of so many windows is drawn from: as many as divide it, and mix well with the rows held."""
    most = max(1, min(MAX_LANES, held_rows // (_MIN_MIXED + 1)))
    return max(lanes for lanes in range(1, most + 1) if batch_size % lanes == 0)


def _line(owners: NDArray[np.int64], count: int, held_rows: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`count` windows drawn at random from as few rows as will do, but no fewer than are held at once; row after row.

    `owners` are the rows of all windows. Returns numbers of windows; rows, and the windows of each, in random order.
    """
    rows, sizes = np.unique(owners, return_counts=True)
    shuffled = rng.permutation(len(rows))
    used = max(int(np.searchsorted(sizes[shuffled].cumsum(), count)) + 1, min(held_rows, len(rows)))
    place = np.full(rows[-1] + 1, len(rows))
    place[rows[shuffled]] = np.arange(len(rows))
    candidates = np.flatnonzero(place[owners] < used)
    chosen = rng.permutation(candidates)[:count]
    return chosen[np.argsort(place[owners[chosen]], kind="stable")]


def _by_row(windows: NDArray[np.int64], owners: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """The windows row after row, the rows in random order."""
    place = rng.permutation(int(owners.max()) + 1)
    return windows[np.argsort(place[owners[windows]], kind="stable")]


def _mixed(owners: NDArray[np.int64], together: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """An order for the windows of a lane, whose rows come one after another, with `together` rows in use at any time.

    Time runs by rows: row i is in use from i - together + 1 to i + 1, or as much of it as leaves the same number at
    either end of the lane; its windows fall anywhere in that time.
    """
    number = np.cumsum(np.concatenate([[0], np.diff(owners) != 0]))
    rows = int(number[-1]) + 1
    begin = np.maximum(number - together + 1, 0)
    end = np.minimum(number + 1, max(rows - together + 1, 1))
    return np.argsort(begin + rng.random(len(owners)) * (end - begin), kind="stable")
