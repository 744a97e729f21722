"""Windows of 3 s cut from prepared rows, and the batches that training and evaluation consume.

Prepared row (a dict): `recording` str, `room` str, `start_frame` int and `num_frames` int in label frames,
`features` float32 (7, T*F, M) with F feature frames per label frame, `target` float32 (T, 6, 5, 13),
`events` float64 (n, 6), the columns of `data.labels.Events` from the row's start on, `has_video` bool, and what a model
may look at, as far as it is wanted: `frames` uint8 (V, H, W, 3) and `boxes` float32 (V, 6, 5) (`data.boxes`), whose
entry j shows the row's time j / rate, as far as the video goes (V = 0 where it does not reach the row), or what frozen
networks have made of the frames under each of the eight channel swaps (`data.stores.embeddings`): `resnet_embeddings`
float16 (V, 8, D) and `i3d_embeddings` float16 (W, 8, T', D), whose entry i is of the whole window that starts at label
frame `HOP_FRAMES` * i, as long as the video reaches its middle. The row owns its first `num_frames` label frames; the
T - num_frames after them are its tail, there so that windows that start in the row can be cut whole.

Batch (a dict): `features` float32 (B, 7, S*F, M), `target` float32 (B, S, 6, 5, 13), `valid` bool (B, S), false
where a window reaches past the end, `has_video` bool (B,), true where the video reaches the middle of what there is of
the window (past its end the last picture stays), and, where rows hold them, `frames` uint8 (B, Vs, H, W, 3), `boxes`
float32 (B, Vs, 6, 5), `resnet_embeddings` float16 (B, Vs, D) and `i3d_embeddings` float16 (B, T', D), zero where
`has_video` is false. S is the window's length in label frames.

Pure numpy: whoever streams the rows, and whatever trains on them, needs nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.boxes import swap_boxes
from data.errors import UserError
from data.swaps import IDENTITY, NUM_SWAPS, swap_features, swap_pictures, swap_target
from data.timing import HOP_LABELS, LABEL_RATE_HZ, PICTURE_RATE_HZ, WINDOW_LABELS

NUM_LOG_MEL_CHANNELS = 4

PreparedRow = dict[str, Any]
Batch = dict[str, NDArray]


def _embedded(embeddings: NDArray, k: int) -> NDArray:
    return embeddings[:, k]


# The columns that show what is to be seen, and how each turns with a channel swap.
SEEN: dict[str, Callable[[NDArray, int], NDArray]] = {
    "frames": swap_pictures,
    "boxes": swap_boxes,
    "resnet_embeddings": _embedded,
    "i3d_embeddings": _embedded,
}
# Those that the row holds under every swap, of which a window takes one.
EMBEDDED = {"resnet_embeddings", "i3d_embeddings"}
# Those with one entry for each window that may start in the row.
OF_WINDOWS = {"i3d_embeddings"}


def as_looked_at(rows: Iterable[PreparedRow], columns: Collection[str]) -> list[PreparedRow]:
    """The rows without what a model that looks at these columns does not see: it need not be cut."""
    unseen = SEEN.keys() - set(columns)
    return [{name: value for name, value in row.items() if name not in unseen} for row in rows]


def shown_pictures(start: int, count: int, rate_hz: float, total: int) -> NDArray[np.int64]:
    """Which of a row's `total` frames a window of `count` shows that starts at a label frame.

    The one nearest in time to its start, and those that follow it; past the end the last one stays.
    """
    first = int(start * rate_hz / LABEL_RATE_HZ + 0.5)
    return np.minimum(np.arange(first, first + count), total - 1)


def reaches_middle(pictures: int, rate_hz: float, start: int, stop: int) -> bool:
    """Whether so many frames from a row's start on reach the middle of the label frames from `start` to `stop`."""
    return pictures * LABEL_RATE_HZ / rate_hz >= (start + stop) / 2


class Extent(NamedTuple):
    """How much of a recording a row holds, in label frames: all that its windows follow from."""

    start_label: int
    own_labels: int
    num_labels: int
    """With the tail."""

    @classmethod
    def of(cls, row: PreparedRow) -> Extent:
        return cls(row["start_frame"], row["num_frames"], len(row["target"]))


class Cutter:
    """Copies windows of rows into batches, padded where a row ends before its window does.

    `rows` are looked up by their number when they are cut, so that they may come and go. `like` is a row of the same
    shapes; of what is to be seen, the columns that it has are cut.
    """

    def __init__(
        self, rows: Sequence[PreparedRow] | Mapping[int, PreparedRow], like: PreparedRow, window: int, rate_hz: float
    ) -> None:
        self._rows = rows
        self._window_labels = window
        self._channels, times, self._bands = like["features"].shape
        self._per_label = times // len(like["target"])
        self._target_shape = like["target"].shape[1:]
        self._rate_hz = rate_hz
        self._num_pictures = round(window * rate_hz / LABEL_RATE_HZ)
        self._seen = {}
        for column in (column for column in SEEN if column in like):
            entries = () if column in OF_WINDOWS else (self._num_pictures,)
            shape = like[column].shape[2 if column in EMBEDDED else 1 :]
            self._seen[column] = ((*entries, *shape), like[column].dtype)

    @classmethod
    def over(cls, rows: Sequence[PreparedRow], window_labels: int, picture_rate_hz: float = PICTURE_RATE_HZ) -> Cutter:
        """A cutter of rows in memory, which leaves out what none of them has anything of."""
        seen = {c: row[c] for c in SEEN for row in rows if len(row.get(c, ()))}
        heard = {name: value for name, value in rows[0].items() if name not in SEEN}
        return cls(rows, heard | seen, window_labels, picture_rate_hz)

    def batch(self, windows: NDArray[np.int64], swaps: NDArray[np.int64], own_labels_only: bool) -> Batch:
        """Cut `windows` (n, 2), row index and start in label frames, each under its swap."""
        count, size = len(windows), self._window_labels
        batch: Batch = {
            "features": np.empty((count, self._channels, size * self._per_label, self._bands), dtype=np.float32),
            "target": np.zeros((count, size, *self._target_shape), dtype=np.float32),
            "valid": np.zeros((count, size), dtype=bool),
            "has_video": np.zeros(count, dtype=bool),
        }
        for column, (shape, dtype) in self._seen.items():
            batch[column] = np.zeros((count, *shape), dtype=dtype)
        for i, ((index, start), k) in enumerate(zip(windows.tolist(), swaps.tolist(), strict=True)):
            row = self._rows[index]
            self._cut_features(row["features"], start, k, batch["features"][i])
            target = row["target"][start : start + size]
            batch["target"][i, : len(target)] = target if k == IDENTITY else swap_target(target, k)
            valid = row["num_frames"] - start if own_labels_only else len(target)
            batch["valid"][i, :valid] = True
            batch["has_video"][i] = self._is_seen(row, start)
            if batch["has_video"][i]:
                for column in self._seen:
                    self._cut_seen(row[column], start, k, column, batch[column][i])
        return batch

    def _is_seen(self, row: PreparedRow, start: int) -> bool:
        if not row["has_video"] or not self._seen:
            return bool(row["has_video"])
        column = next(iter(self._seen))
        if column in OF_WINDOWS:
            assert start % HOP_LABELS == 0, f"no embedding of a window that starts at label frame {start}"
            return start // HOP_LABELS < len(row[column])
        stop = min(start + self._window_labels, len(row["target"]))
        return reaches_middle(len(row[column]), self._rate_hz, start, stop)

    def _cut_features(self, features: NDArray, start: int, k: int, out: NDArray) -> None:
        piece = features[:, start * self._per_label : (start + self._window_labels) * self._per_label]
        there = piece.shape[1]
        swap_features(piece, k, out=out[:, :there])
        if there < out.shape[1]:
            # Silence: no intensity, and the quietest level that the row knows, normalised or not.
            out[:NUM_LOG_MEL_CHANNELS, there:] = features[:NUM_LOG_MEL_CHANNELS].min()
            out[NUM_LOG_MEL_CHANNELS:, there:] = 0.0

    def _cut_seen(self, entries: NDArray, start: int, k: int, column: str, out: NDArray) -> None:
        if column in OF_WINDOWS:
            out[:] = SEEN[column](entries[start // HOP_LABELS][None], k)[0]
            return
        shown = shown_pictures(start, self._num_pictures, self._rate_hz, len(entries))
        # A slice, wherever it is one, spares a copy.
        whole = shown[-1] - shown[0] == len(shown) - 1
        piece = entries[shown[0] : shown[-1] + 1] if whole else entries[shown]
        out[:] = piece if k == IDENTITY and column not in EMBEDDED else SEEN[column](piece, k)


class Windows:
    """Training batches: some of all windows in a random order, anew each epoch.

    `epoch_windows` limits an epoch to that many windows, drawn anew each epoch. `batch_size` is the global batch: of
    `world_size` workers, each cuts its own equal part of the very same batches, by `rank`. The last windows that fill
    no batch are left out, unless there is no other batch. Everything follows from (seed, epoch).
    """

    def __init__(
        self,
        windows: NDArray[np.int64],
        batch_size: int,
        epoch_windows: int | None,
        swap: bool,
        seed: int,
        rank: int,
        world_size: int,
    ) -> None:
        if batch_size < 1 or batch_size % world_size:
            raise UserError(
                f"batch size {batch_size} cannot be shared by {world_size} workers; choose a multiple of {world_size}"
            )
        if not len(windows):
            raise UserError("no row is long enough for a window, or there are no rows; is the split empty?")
        self._windows = windows
        self._batch_size = batch_size
        self._per_epoch = min(epoch_windows or len(windows), len(windows))
        self._swap = swap
        self._seed = seed
        self._rank = rank
        self._world_size = world_size

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
        rng = np.random.default_rng([self._seed, epoch])
        order = self._order(rng)
        swaps = rng.integers(NUM_SWAPS, size=len(order)) if self._swap else np.full(len(order), IDENTITY)
        for start in range(0, len(order), self._batch_size):
            stop = min(start + self._batch_size, len(order))
            mine = slice(
                start + self._rank * (stop - start) // self._world_size,
                start + (self._rank + 1) * (stop - start) // self._world_size,
            )
            yield self._windows[order[mine]], swaps[mine]

    def _order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """The numbers of the windows of an epoch, `num_windows` of them."""
        raise NotImplementedError


class WindowSampler(Windows):
    """Windows of rows in memory, in one random order over all of them.

    `picture_rate_hz` is the rate of the rows' pictures.
    """

    def __init__(
        self,
        rows: Sequence[PreparedRow],
        batch_size: int,
        window_labels: int = WINDOW_LABELS,
        hop_labels: int = HOP_LABELS,
        epoch_windows: int | None = None,
        swap: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        picture_rate_hz: float = PICTURE_RATE_HZ,
    ) -> None:
        windows = training_windows(map(Extent.of, rows), window_labels, hop_labels)
        super().__init__(windows, batch_size, epoch_windows, swap, seed, rank, world_size)
        self._cutter = Cutter.over(rows, window_labels, picture_rate_hz)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        for windows, swaps in self.parts(epoch):
            yield self.cut(windows, swaps)

    def cut(self, windows: NDArray[np.int64], swaps: NDArray[np.int64] | None = None) -> Batch:
        """A batch of these windows (n, 2), row index and start in label frames, each under its swap, or none."""
        given = np.full(len(windows), IDENTITY) if swaps is None else swaps
        return self._cutter.batch(windows, given, own_labels_only=False)

    def _order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        return rng.permutation(len(self._windows))[: self.num_windows]


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

    Nothing: they follow each other without overlap. Beside each batch, per window: index of the row and start in label
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
