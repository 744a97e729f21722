"""Cutting windows out of prepared rows (`data.feeding.contract`) into batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from data.feeding.contract import EMBEDDED, OF_WINDOWS, SEEN, Batch, PreparedRow, SeenColumn
from data.swaps import IDENTITY, swap_features, swap_target
from data.timing import HOP_LABELS, LABEL_RATE_HZ, PICTURE_RATE_HZ

NUM_LOG_MEL_CHANNELS = 4


def shown_pictures(start: int, count: int, rate_hz: float, total: int) -> NDArray[np.int64]:
    """Which of a row's `total` pictures a window of `count` shows that starts at a label frame.

    The one nearest in time to its start, and those that follow it; past the end the last one stays.
    """
    first = int(start * rate_hz / LABEL_RATE_HZ + 0.5)
    return np.minimum(np.arange(first, first + count), total - 1)


def reaches_middle(pictures: int, rate_hz: float, start: int, stop: int) -> bool:
    """Whether so many pictures from a row's start on reach the middle of the label frames from `start` to `stop`."""
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
        self._seen: dict[SeenColumn, tuple[tuple[int, ...], np.dtype]] = {}
        for column in (column for column in SEEN if column in like):
            entries = () if column in OF_WINDOWS else (self._num_pictures,)
            shape = like[column].shape[2 if column in EMBEDDED else 1 :]
            self._seen[column] = ((*entries, *shape), like[column].dtype)

    @classmethod
    def over(cls, rows: Sequence[PreparedRow], window_labels: int, picture_rate_hz: float = PICTURE_RATE_HZ) -> Cutter:
        """A cutter of rows in memory, which leaves out what none of them has anything of."""
        seen: dict[str, object] = {c: row[c] for c in SEEN for row in rows if c in row and len(row[c])}
        heard = {name: value for name, value in rows[0].items() if name not in SEEN}
        return cls(rows, cast(PreparedRow, heard | seen), window_labels, picture_rate_hz)

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

    def _cut_seen(self, entries: NDArray, start: int, k: int, column: SeenColumn, out: NDArray) -> None:
        if column in OF_WINDOWS:
            out[:] = SEEN[column](entries[start // HOP_LABELS][None], k)[0]
            return
        shown = shown_pictures(start, self._num_pictures, self._rate_hz, len(entries))
        # A slice, wherever it is one, spares a copy.
        whole = shown[-1] - shown[0] == len(shown) - 1
        piece = entries[shown[0] : shown[-1] + 1] if whole else entries[shown]
        out[:] = piece if k == IDENTITY and column not in EMBEDDED else SEEN[column](piece, k)
