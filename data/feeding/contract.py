"""The contract between those who prepare rows, cut windows and train: prepared rows and batches.

Keys are the columns' names of stores and signatures, which keep the field's word (`start_frame`, `num_frames`,
`frames`). Letters of shapes: T label frames of the row and its tail, F feature frames per label frame, M mel bands, V
pictures, W windows that may start in the row, B windows of a batch, S label frames of a window. Pure numpy: whoever
streams the rows, and whatever trains on them, needs nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Final, Literal, NotRequired, TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from data.files.boxes import swap_boxes
from data.swaps import swap_pictures

SeenColumn = Literal["frames", "boxes", "resnet_embeddings", "i3d_embeddings"]
"""A column that shows what is to be seen."""


class RowLabels(TypedDict):
    """What is known of a row without its sound and pictures."""

    recording: str
    start_frame: int
    """Label frame of the recording at which the row begins."""
    num_frames: int
    """Label frames that the row owns; its tail comes after them, so that windows that start in it can be cut whole."""
    events: NDArray[np.float64]
    """(n, 6), the columns of `data.labels.Events` from the row's start on, tail included."""


class PreparedRow(RowLabels):
    """A row with features and target, and what a model may look at, as far as it is wanted.

    Entry j of pictures and boxes shows the row's time j / rate, as far as the video goes (V = 0 where it does not reach
    the row). Embeddings are what frozen networks have made of the pictures under each of the eight channel swaps
    (`data.stores.embeddings`); entry i of a window's is of the one that starts at label frame `HOP_LABELS` * i, as long
    as the video reaches its middle.
    """

    room: str
    features: NDArray[np.float32]
    """(7, T * F, M)."""
    target: NDArray[np.float32]
    """(T, 6, 5, C) for C classes, see `data.labels.adpit_target`."""
    has_video: bool
    frames: NotRequired[NDArray[np.uint8]]
    """Pictures (V, H, W, 3)."""
    boxes: NotRequired[NDArray[np.float32]]
    """(V, 6, 5), see `data.files.boxes`."""
    resnet_embeddings: NotRequired[NDArray[np.float16]]
    """(V, 8, D)."""
    i3d_embeddings: NotRequired[NDArray[np.float16]]
    """(W, 8, T', D)."""


class Batch(TypedDict):
    """Windows cut from rows. What is to be seen is there where rows hold it, and zero where `has_video` is false."""

    features: NDArray[np.float32]
    """(B, 7, S * F, M)."""
    target: NDArray[np.float32]
    """(B, S, 6, 5, C)."""
    valid: NDArray[np.bool_]
    """(B, S), false where a window reaches past the end."""
    has_video: NDArray[np.bool_]
    """(B,), true where the video reaches the middle of what there is of the window. Past its end the last one stays."""
    frames: NotRequired[NDArray[np.uint8]]
    """Pictures (B, V, H, W, 3)."""
    boxes: NotRequired[NDArray[np.float32]]
    """(B, V, 6, 5)."""
    resnet_embeddings: NotRequired[NDArray[np.float16]]
    """(B, V, D)."""
    i3d_embeddings: NotRequired[NDArray[np.float16]]
    """(B, T', D)."""


def _embedded(embeddings: NDArray, k: int) -> NDArray:
    return embeddings[:, k]


SEEN: Final[dict[SeenColumn, Callable[[NDArray, int], NDArray]]] = {
    "frames": swap_pictures,
    "boxes": swap_boxes,
    "resnet_embeddings": _embedded,
    "i3d_embeddings": _embedded,
}
"""The columns that show what is to be seen, and how each turns with a channel swap."""
EMBEDDED: Final = {"resnet_embeddings", "i3d_embeddings"}
"""Those that the row holds under every swap, of which a window takes one."""
OF_WINDOWS: Final = {"i3d_embeddings"}
"""Those with one entry for each window that may start in the row."""


def as_looked_at(rows: Iterable[PreparedRow], columns: Collection[str]) -> list[PreparedRow]:
    """The rows without what a model that looks at these columns does not see: it need not be cut."""
    unseen = SEEN.keys() - set(columns)
    kept = ({name: value for name, value in row.items() if name not in unseen} for row in rows)
    return [cast(PreparedRow, row) for row in kept]


def arrays_of(batch: Batch) -> dict[str, NDArray]:
    """The arrays of a batch by name, for whoever treats all alike."""
    return cast(dict[str, NDArray], batch)


def labels_of(row: RowLabels) -> RowLabels:
    """A row without all that takes memory."""
    return {
        "recording": row["recording"],
        "start_frame": row["start_frame"],
        "num_frames": row["num_frames"],
        "events": row["events"],
    }
