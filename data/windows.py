"""Windows of 3 s cut from prepared rows, and the batches that training and evaluation consume.

Prepared row (a dict): `recording` str, `room` str, `start_frame` int and `num_frames` int in label frames,
`features` float32 (7, T*F, M) with F feature frames per label frame, `target` float32 (T, 6, 5, 13),
`events` float64 (n, 6), the columns of `data.labels.Events` from the row's start on, `has_video` bool, and what a model
may look at, as far as it is wanted: `frames` uint8 (V, H, W, 3) and `boxes` float32 (V, 6, 5) (`data.boxes`), whose
entry j shows the row's time j / rate (V = 0 where the recording has no video), or what frozen networks have made of the
frames under each of the eight channel swaps (`data.embeddings`): `resnet_embeddings` float16 (V, 8, D) and
`i3d_embeddings` float16 (W, 8, T', D), whose entry i is of the whole window that starts at label frame
`HOP_FRAMES` * i. The row owns its first `num_frames` label frames; the T - num_frames after them are its tail, there so
that windows that start in the row can be cut whole.

Batch (a dict): `features` float32 (B, 7, S*F, M), `target` float32 (B, S, 6, 5, 13), `valid` bool (B, S), false
where a window reaches past the end, `has_video` bool (B,), and, where rows hold them, `frames` uint8
(B, Vs, H, W, 3), `boxes` float32 (B, Vs, 6, 5), `resnet_embeddings` float16 (B, Vs, D) and `i3d_embeddings`
float16 (B, T', D). S is the window's length in label frames.

Pure numpy: whoever streams the rows, and whatever trains on them, needs nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.boxes import swap_boxes
from data.errors import UserError
from data.labels import LABEL_RATE_HZ
from data.swaps import IDENTITY, NUM_SWAPS, swap_features, swap_frames, swap_target

WINDOW_FRAMES = 30
HOP_FRAMES = 5
NUM_LOG_MEL_CHANNELS = 4

# A row owns at most a minute, and carries what a window of 3 s that starts at its last hop still needs.
ROW_FRAMES = 600
TAIL_FRAMES = WINDOW_FRAMES - HOP_FRAMES

PreparedRow = dict[str, Any]
Batch = dict[str, NDArray]


def _embedded(embeddings: NDArray, k: int) -> NDArray:
    return embeddings[:, k]


# The columns that show what is to be seen, and how each turns with a channel swap.
SEEN: dict[str, Callable[[NDArray, int], NDArray]] = {
    "frames": swap_frames,
    "boxes": swap_boxes,
    "resnet_embeddings": _embedded,
    "i3d_embeddings": _embedded,
}
# Those with one entry for each window that may start in the row.
OF_WINDOWS = {"i3d_embeddings"}


def as_looked_at(rows: Iterable[PreparedRow], columns: Collection[str]) -> list[PreparedRow]:
    """The rows without what a model that looks at these columns does not see: it need not be cut."""
    unseen = SEEN.keys() - set(columns)
    return [{name: value for name, value in row.items() if name not in unseen} for row in rows]


def video_rate_hz(rows: Sequence[PreparedRow]) -> float:
    """Pictures (or boxes) per second, read off the row with most of them, to a tenth; 0 without any."""

    def seen(row: PreparedRow) -> int:
        return max((len(row[column]) for column in SEEN.keys() - OF_WINDOWS if column in row), default=0)

    longest = max(rows, key=seen)
    return round(seen(longest) / len(longest["target"]) * LABEL_RATE_HZ, 1)


def shown_frames(start: int, count: int, rate_hz: float, total: int) -> NDArray[np.int64]:
    """Which of a row's `total` frames a window of `count` shows that starts at a label frame.

    The one nearest in time to its start, and those that follow it; past the end the last one stays.
    """
    first = int(start * rate_hz / LABEL_RATE_HZ + 0.5)
    return np.minimum(np.arange(first, first + count), total - 1)


def stretches(total_frames: int) -> Iterator[tuple[int, int, int]]:
    """How a recording of so many label frames is cut into rows: (start, end of the own frames, end of the tail)."""
    for start in range(0, total_frames, ROW_FRAMES):
        own_stop = min(start + ROW_FRAMES, total_frames)
        yield start, own_stop, min(own_stop + TAIL_FRAMES, total_frames)


class _Cutter:
    """Copies windows of rows into batches, padded where a row ends before its window does."""

    def __init__(self, rows: Sequence[PreparedRow], window_frames: int, frame_rate_hz: float | None = None) -> None:
        self._rows = rows
        self._window_frames = window_frames
        first = rows[0]
        self._per_label = first["features"].shape[1] // len(first["target"])
        self._rate_hz = video_rate_hz(rows) if frame_rate_hz is None else frame_rate_hz
        self._num_frames = round(window_frames * self._rate_hz / LABEL_RATE_HZ)
        self._seen = {
            column: swap(next(row[column][:1] for row in rows if len(row.get(column, ()))), IDENTITY)
            for column, swap in SEEN.items()
            if any(len(row.get(column, ())) for row in rows)
        }

    def batch(self, windows: NDArray[np.int64], swaps: NDArray[np.int64], own_frames_only: bool) -> Batch:
        """Cut `windows` (n, 2), row index and start in label frames, each under its swap."""
        count, size = len(windows), self._window_frames
        first = self._rows[0]
        channels, _, bands = first["features"].shape
        batch: Batch = {
            "features": np.empty((count, channels, size * self._per_label, bands), dtype=np.float32),
            "target": np.zeros((count, size, *first["target"].shape[1:]), dtype=np.float32),
            "valid": np.zeros((count, size), dtype=bool),
            "has_video": np.zeros(count, dtype=bool),
        }
        for column, like in self._seen.items():
            entries = () if column in OF_WINDOWS else (self._num_frames,)
            batch[column] = np.zeros((count, *entries, *like.shape[1:]), dtype=like.dtype)
        for i, ((index, start), k) in enumerate(zip(windows.tolist(), swaps.tolist(), strict=True)):
            row = self._rows[index]
            self._cut_features(row["features"], start, k, batch["features"][i])
            target = row["target"][start : start + size]
            batch["target"][i, : len(target)] = target if k == IDENTITY else swap_target(target, k)
            valid = row["num_frames"] - start if own_frames_only else len(target)
            batch["valid"][i, :valid] = True
            batch["has_video"][i] = row["has_video"]
            for column in self._seen:
                if column in OF_WINDOWS:
                    self._take_window(row[column], start, k, SEEN[column], batch[column][i])
                else:
                    self._cut_seen(row[column], start, k, SEEN[column], batch[column][i])
        return batch

    def _cut_features(self, features: NDArray, start: int, k: int, out: NDArray) -> None:
        piece = features[:, start * self._per_label : (start + self._window_frames) * self._per_label]
        there = piece.shape[1]
        swap_features(piece, k, out=out[:, :there])
        if there < out.shape[1]:
            # Silence: no intensity, and the quietest level that the row knows, normalised or not.
            out[:NUM_LOG_MEL_CHANNELS, there:] = features[:NUM_LOG_MEL_CHANNELS].min()
            out[NUM_LOG_MEL_CHANNELS:, there:] = 0.0

    def _cut_seen(
        self, frames: NDArray, start: int, k: int, swap: Callable[[NDArray, int], NDArray], out: NDArray
    ) -> None:
        if not len(frames):
            return
        shown = shown_frames(start, self._num_frames, self._rate_hz, len(frames))
        # A slice, wherever it is one, spares a copy.
        whole = shown[-1] - shown[0] == len(shown) - 1
        piece = frames[shown[0] : shown[-1] + 1] if whole else frames[shown]
        out[:] = swap(piece, k)

    def _take_window(
        self, windows: NDArray, start: int, k: int, swap: Callable[[NDArray, int], NDArray], out: NDArray
    ) -> None:
        if len(windows):
            assert start % HOP_FRAMES == 0, f"no embedding of a window that starts at label frame {start}"
            out[:] = swap(windows[start // HOP_FRAMES][None], k)[0]


class WindowSampler:
    """Training batches: every window that fits, in one random order over all rows, anew each epoch.

    `epoch_windows` limits an epoch to that many windows, drawn anew each epoch. `batch_size` is the global batch: of
    `world_size` workers, each cuts its own equal part of the very same batches, by `rank`. The last windows that fill
    no batch are left out, unless there is no other batch. `frame_rate_hz` is the rate of the rows' pictures, worked
    out from the rows where it is not given. Everything follows from (seed, epoch).
    """

    def __init__(
        self,
        rows: Sequence[PreparedRow],
        batch_size: int,
        window_frames: int = WINDOW_FRAMES,
        hop_frames: int = HOP_FRAMES,
        epoch_windows: int | None = None,
        swap: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        frame_rate_hz: float | None = None,
    ) -> None:
        if not rows:
            raise UserError("there are no rows to cut windows from; is the split empty?")
        if batch_size < 1 or batch_size % world_size:
            raise UserError(
                f"batch size {batch_size} cannot be shared by {world_size} workers; choose a multiple of {world_size}"
            )
        self._cutter = _Cutter(rows, window_frames, frame_rate_hz)
        self._windows = training_windows(rows, window_frames, hop_frames)
        if not len(self._windows):
            raise UserError(f"no row is long enough for a window of {window_frames} label frames")
        self._batch_size = batch_size
        self._per_epoch = min(epoch_windows or len(self._windows), len(self._windows))
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
        rng = np.random.default_rng([self._seed, epoch])
        order = rng.permutation(len(self._windows))[: self.num_windows]
        swaps = rng.integers(NUM_SWAPS, size=len(order)) if self._swap else np.full(len(order), IDENTITY)
        for start in range(0, len(order), self._batch_size):
            stop = min(start + self._batch_size, len(order))
            mine = slice(
                start + self._rank * (stop - start) // self._world_size,
                start + (self._rank + 1) * (stop - start) // self._world_size,
            )
            yield self._cutter.batch(self._windows[order[mine]], swaps[mine], own_frames_only=False)


def training_windows(rows: Sequence[PreparedRow], window_frames: int, hop_frames: int) -> NDArray[np.int64]:
    """All training windows as (n, 2): row index and start in label frames.

    Starts are multiples of the hop among a row's own frames, with the whole window inside the row and its tail. A
    recording shorter than a window gives one, padded; a short last row of a longer one gives none, because the tail
    of the row before has covered it.
    """
    windows: list[tuple[int, int]] = []
    for index, row in enumerate(rows):
        total = len(row["target"])
        last = min(row["num_frames"] - 1, total - window_frames)
        if total < window_frames and row["start_frame"] == 0 and total > 0:
            windows.append((index, 0))
        windows.extend((index, start) for start in range(0, last + 1, hop_frames))
    return np.array(windows, dtype=np.int64).reshape(-1, 2)


def evaluation_windows(
    rows: Sequence[PreparedRow],
    batch_size: int,
    window_frames: int = WINDOW_FRAMES,
    hop_frames: int | None = None,
    swap: int = IDENTITY,
    frame_rate_hz: float | None = None,
) -> Iterator[tuple[Batch, list[tuple[int, int]]]]:
    """Batches of windows over every row's own frames, all under one channel swap, `hop_frames` apart.

    Nothing: they follow each other without overlap. Beside each batch, per window: index of the row and start in label
    frames of the row. `valid` is false past the row's own frames; without overlap, each label frame of the split is
    valid exactly once.
    """
    if not rows:
        return
    cutter = _Cutter(rows, window_frames, frame_rate_hz)
    windows = np.array(
        [
            (i, start)
            for i, row in enumerate(rows)
            for start in range(0, row["num_frames"], hop_frames or window_frames)
        ],
        dtype=np.int64,
    ).reshape(-1, 2)
    for begin in range(0, len(windows), batch_size):
        chosen = windows[begin : begin + batch_size]
        places = [(i, start) for i, start in chosen.tolist()]
        yield cutter.batch(chosen, np.full(len(chosen), swap), own_frames_only=True), places
