"""Windows of 3 s in training and evaluation: which there are, in which order they come, and their batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from data.errors import UserError
from data.feeding.contract import Batch, PreparedRow
from data.feeding.cutter import Cutter, Extent
from data.names import origin_of
from data.swaps import IDENTITY, NUM_SWAPS
from data.timing import HOP_LABELS, PICTURE_RATE_HZ, WINDOW_LABELS

Of = TypeVar("Of")


@dataclass(frozen=True)
class Sampling:
    """How training windows are drawn from a split and put into batches. UserError for what workers cannot share."""

    batch_size: int
    """Windows of all workers together."""
    _: KW_ONLY
    window_labels: int = WINDOW_LABELS
    """Length of a window."""
    hop_labels: int = HOP_LABELS
    """From the start of a window to that of the next in the same row."""
    epoch_windows: int | None = None
    """Most windows of an epoch, drawn anew each epoch; None: all."""
    added_share: float | None = None
    """Share of them that come from what was added to the store (`data.stores.mix`); None: as it falls."""
    swap: bool = False
    """Whether each window comes under a random channel swap."""
    seed: int = 0
    rank: int = 0
    """The worker's number: it cuts its own equal part of the very same batches."""
    world_size: int = 1
    """Workers that share the batches."""
    picture_rate_hz: float = PICTURE_RATE_HZ
    """Of the rows' pictures."""

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.batch_size % self.world_size:
            raise UserError(
                f"batch size {self.batch_size} cannot be shared by {self.world_size} workers; choose a multiple of "
                f"{self.world_size}"
            )


class Windows:
    """Training batches: some of all windows in a random order, anew each epoch.

    The last windows that fill no batch are left out, unless there is no other batch. Everything follows from the seed
    of `sampling` and the epoch.

    Args:
        windows: (n, 2), all that there are: row index and start in label frames.
        recordings: of each row.

    Raises:
        UserError: there is no window, or a share of added ones is asked for where none was added, or nothing else is
            there.
    """

    def __init__(self, windows: NDArray[np.int64], recordings: Sequence[str], sampling: Sampling) -> None:
        if not len(windows):
            raise UserError("no row is long enough for a window, or there are no rows; is the split empty?")
        self._windows = windows
        self._sampling = sampling
        self._batch_size = sampling.batch_size
        self._pools = [Pool(np.arange(len(windows)), 1.0)]
        if sampling.added_share is not None:
            added = np.array([bool(origin_of(name)) for name in recordings])[windows[:, 0]]
            self._pools = _pools(added, sampling.added_share)
        pools = [(len(pool.windows), pool.share) for pool in self._pools]
        self._per_epoch = windows_of_epoch(sampling.epoch_windows, pools)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return max(1, self._per_epoch // self._batch_size)

    @property
    def num_windows(self) -> int:
        """Windows that an epoch uses."""
        return min(self._per_epoch, len(self) * self._batch_size)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch, as this worker sees them."""
        raise NotImplementedError

    def close(self) -> None:
        """Give back what is held; no epoch can follow."""

    def parts(self, epoch: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """This worker's part of each batch: windows (n, 2), row index and start in label frames, and swaps (n,)."""
        rank, world_size = self._sampling.rank, self._sampling.world_size
        rng = np.random.default_rng([self._sampling.seed, epoch])
        order = self._order(rng)
        swaps = rng.integers(NUM_SWAPS, size=len(order)) if self._sampling.swap else np.full(len(order), IDENTITY)
        for start in range(0, len(order), self._batch_size):
            stop = min(start + self._batch_size, len(order))
            mine = slice(
                start + rank * (stop - start) // world_size,
                start + (rank + 1) * (stop - start) // world_size,
            )
            yield self._windows[order[mine]], swaps[mine]

    def _order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """The numbers of the windows of an epoch, `num_windows` of them."""
        raise NotImplementedError

    def _of_each_pool(self) -> list[tuple[Pool, int]]:
        """How many windows an epoch takes of each."""
        first = round(self._pools[0].share * self.num_windows)
        return list(zip(self._pools, [first, self.num_windows - first], strict=False))


def windows_of_epoch(limit: int | None, pools: Sequence[tuple[int, float]]) -> int:
    """How many windows an epoch has, each at most once, of pools of so many with these shares.

    What one pool cannot give the others do not make up for: the shares are kept.
    """
    return min(limit or sum(size for size, _ in pools), *(int(size / share) for size, share in pools))


def in_shares(own: Of, added: Of, share: float) -> list[tuple[Of, float]]:
    """What is not added, and what is, each with its share, as far as that leaves both."""
    return [(of, part) for of, part in ((own, 1 - share), (added, share)) if part > 0]


class Pool(NamedTuple):
    """Windows that an epoch takes a share of."""

    windows: NDArray[np.int64]
    """Their numbers."""
    share: float


def _pools(added: NDArray[np.bool_], share: float) -> list[Pool]:
    """Windows that are not added, and those that are."""
    wanted = [Pool(*one) for one in in_shares(np.flatnonzero(~added), np.flatnonzero(added), share)]
    if any(not len(pool.windows) for pool in wanted):
        raise UserError(
            f"a share of {share:g} of the training windows is to come from added recordings, and "
            f"{'none is' if not added.any() else 'nothing else is there'}; `seldtune data mix` makes a store with both"
        )
    return wanted


class WindowSampler(Windows):
    """Windows of rows in memory, in one random order over all of them."""

    def __init__(self, rows: Sequence[PreparedRow], sampling: Sampling) -> None:
        windows = training_windows(map(Extent.of, rows), sampling.window_labels, sampling.hop_labels)
        super().__init__(windows, [row["recording"] for row in rows], sampling)
        self._cutter = Cutter.over(rows, sampling.window_labels, sampling.picture_rate_hz)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        for windows, swaps in self.parts(epoch):
            yield self.cut(windows, swaps)

    def cut(self, windows: NDArray[np.int64], swaps: NDArray[np.int64] | None = None) -> Batch:
        """A batch of these windows (n, 2), row index and start in label frames, each under its swap, or none."""
        given = np.full(len(windows), IDENTITY) if swaps is None else swaps
        return self._cutter.batch(windows, given, own_labels_only=False)

    def _order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        chosen = [rng.permutation(pool.windows)[:count] for pool, count in self._of_each_pool()]
        return chosen[0] if len(chosen) == 1 else rng.permutation(np.concatenate(chosen))


def neighbour_distance(owners: Sequence[Any]) -> float:
    """How well a stream of windows is mixed: from a window to the next of the same recording, in windows, the mean.

    `owners` are the windows' recordings, in the stream's order. The longer, the better: for R equally long recordings
    in one random order it is about R, the best there is, and 1 where each recording comes in one piece. A recording
    with a single window does not count; nothing to count gives the number of windows.
    """
    last: dict[Any, int] = {}
    distances = []
    for place, owner in enumerate(owners):
        if owner in last:
            distances.append(place - last[owner])
        last[owner] = place
    return float(np.mean(distances)) if distances else float(len(owners))


def training_windows(extents: Iterable[Extent], window_labels: int, hop_labels: int) -> NDArray[np.int64]:
    """All training windows as (n, 2): row index and start in label frames.

    Starts are multiples of the hop among a row's own label frames, with the whole window inside the row and its tail. A
    recording shorter than a window gives one, padded; a short last row of a longer one gives none, because the tail
    of the row before has covered it.
    """
    windows: list[tuple[int, int]] = []
    for index, (start_label, own_labels, total) in enumerate(extents):
        last = min(own_labels - 1, total - window_labels)
        if total < window_labels and start_label == 0 and total > 0:
            windows.append((index, 0))
        windows.extend((index, start) for start in range(0, last + 1, hop_labels))
    return np.array(windows, dtype=np.int64).reshape(-1, 2)


def evaluation_windows(
    rows: Sequence[PreparedRow],
    batch_size: int,
    window_labels: int = WINDOW_LABELS,
    hop_labels: int | None = None,
    swap: int = IDENTITY,
    picture_rate_hz: float = PICTURE_RATE_HZ,
) -> Iterator[tuple[Batch, list[tuple[int, int]]]]:
    """Batches of windows over every row's own label frames, all under one channel swap, `hop_labels` apart.

    None: they follow each other without overlap. Beside each batch, per window: index of the row and start in label
    frames of the row. `valid` is false past the row's own frames; without overlap, each label frame of the split is
    valid exactly once.
    """
    if not rows:
        return
    cutter = Cutter.over(rows, window_labels, picture_rate_hz)
    windows = np.array(
        [
            (i, start)
            for i, row in enumerate(rows)
            for start in range(0, row["num_frames"], hop_labels or window_labels)
        ],
        dtype=np.int64,
    ).reshape(-1, 2)
    for begin in range(0, len(windows), batch_size):
        chosen = windows[begin : begin + batch_size]
        places = [(i, start) for i, start in chosen.tolist()]
        yield cutter.batch(chosen, np.full(len(chosen), swap), own_labels_only=True), places
