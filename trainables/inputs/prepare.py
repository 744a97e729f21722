"""From a row as it is stored to a row as windows are cut from it: decoded, with features, targets and pictures.

The contract of the result is `data.feeding.windows`'. Runs once a row and sweep, on whatever process reads the row.
"""

from __future__ import annotations

import io
import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray

from data.classes import STARSS23
from data.feeding.contract import OF_WINDOWS, PreparedRow
from data.files.boxes import BOX_FIELDS, MAX_BOXES
from data.labels import NUM_DUMMY_TRACKS, NUM_TARGET_AXES, adpit_target
from data.swaps import NUM_SWAPS
from data.timing import HOP_LABELS, LABEL_RATE_HZ
from trainables.inputs.box_source import BoxSource
from trainables.inputs.features import NUM_FEATURE_CHANNELS, FeatureExtractor
from trainables.inputs.input_config import RATE_HZ, InputConfig

if TYPE_CHECKING:
    from data.stores.embeddings import EmbeddingStore
    from data.stores.rows import RawRow

_INT16_SCALE = 1.0 / 32768.0


class PrepareRow:
    """Raw store row (`data.stores.rows`) -> prepared row. Picklable; the same row gives the same result everywhere.

    Args:
        looks: what models will look at, by the columns' names; the other columns are left out and cost nothing.
        boxes: where the boxes come from, where `looks` holds them.
        embeddings: for each column of embeddings that `looks` holds, where they are.
        num_classes: of the rows.
    """

    def __init__(
        self,
        inputs: InputConfig,
        looks: Collection[str] = (),
        boxes: BoxSource | None = None,
        embeddings: Mapping[str, EmbeddingStore] | None = None,
        num_classes: int = len(STARSS23),
    ) -> None:
        self._inputs = inputs
        self._looks = frozenset(looks)
        self._boxes = boxes
        self._embeddings = dict(embeddings or {})
        self._num_classes = num_classes
        assert ("boxes" in self._looks) == (boxes is not None), "boxes are wanted, so they need a source"
        self._extract = FeatureExtractor(inputs.n_fft, inputs.hop, inputs.n_mels, RATE_HZ)

    @property
    def inputs(self) -> InputConfig:
        return self._inputs

    @property
    def columns(self) -> list[str] | None:
        """Columns of the raw row that are needed; nothing: all. Pictures are most of a store."""
        from data.stores.rows import HEARD

        return None if self._needs_pictures() else HEARD

    def looking_at(self, columns: Collection[str]) -> PrepareRow:
        """The same for a model that looks at these columns, which must be among those looked at."""
        assert self._looks.issuperset(columns), f"{columns} are not all among {sorted(self._looks)}"
        embeddings = {column: store for column, store in self._embeddings.items() if column in columns}
        boxes = self._boxes if "boxes" in columns else None
        return PrepareRow(self._inputs, columns, boxes, embeddings, self._num_classes)

    def bytes_per_label(self, has_video: bool) -> float:
        """Bytes of a prepared row for each label frame in it, without its events, which are few."""
        inputs = self._inputs
        numbers = NUM_FEATURE_CHANNELS * inputs.features_per_label * inputs.n_mels
        numbers += NUM_DUMMY_TRACKS * NUM_TARGET_AXES * self._num_classes
        images = inputs.frame_rate_hz / LABEL_RATE_HZ
        boxes = images * MAX_BOXES * BOX_FIELDS if "boxes" in self._looks else 0.0
        seen = images * inputs.frame_width * inputs.frame_height * 3 if "frames" in self._looks else 0.0
        for column, store in self._embeddings.items():
            entries = 1 / HOP_LABELS if column in OF_WINDOWS else images
            seen += entries * NUM_SWAPS * math.prod(store.manifest.shape) * np.dtype(np.float16).itemsize
        return np.dtype(np.float32).itemsize * (numbers + boxes) + has_video * seen

    def __call__(self, row: RawRow) -> PreparedRow:
        """Decode and extract. What does not fill a label frame at the end is dropped."""
        from data.stores.rows import decode_flac, row_events  # which need libraries of the store

        labels = row["num_samples"] * LABEL_RATE_HZ // RATE_HZ
        audio = torch.from_numpy(decode_flac(row["audio"])).float().mul_(_INT16_SCALE)
        features = self._extract(audio)[:, : labels * self._inputs.features_per_label]
        events = row_events(row)
        prepared: PreparedRow = {
            "recording": row["recording"],
            "room": row["room"],
            "start_frame": row["start_frame"],
            "num_frames": row["num_frames"],
            "features": features.contiguous().numpy(),
            "target": adpit_target(events, labels, self._num_classes),
            "events": np.stack([column.astype(np.float64) for column in events.columns()], axis=1),
            "has_video": bool(row["has_video"]),
        }
        pictures = pictures_of(row, self._inputs) if self._needs_pictures() else None
        if "frames" in self._looks:
            assert pictures is not None
            prepared["frames"] = pictures
        if self._boxes is not None:
            count = _count_pictures(labels, self._inputs.frame_rate_hz)
            prepared["boxes"] = self._boxes(row["recording"], row["start_frame"], count, pictures)
        for column, store in self._embeddings.items():
            vectors = store.read(row["recording"], row["start_frame"], prepared["has_video"])
            cast(dict[str, NDArray], prepared)[column] = vectors
        return prepared

    def _needs_pictures(self) -> bool:
        return "frames" in self._looks or (self._boxes is not None and self._boxes.reads_pictures)


def pictures_of(row: RawRow, inputs: InputConfig) -> NDArray[np.uint8]:
    """The pictures of a stored row as a model sees them, uint8 (V, H, W, 3), entry j that of time j / frame_rate_hz."""
    width, height = inputs.frame_width, inputs.frame_height
    places, contents = distinct_pictures(row, inputs)
    pictures = np.empty((len(places), height, width, 3), dtype=np.uint8)
    for index, content in enumerate(contents):
        pictures[places == index] = decode_picture(content, width, height)
    return pictures


def distinct_pictures(row: RawRow, inputs: InputConfig) -> tuple[NDArray[np.int64], list[bytes]]:
    """For each picture that a model sees, (V,), the stored one nearest in time to it, and those pictures' JPEG bytes.

    Pictures repeat where nothing moves: the same bytes are named once.
    """
    stored = row["frames"]
    if not (row["has_video"] and len(stored)):
        return np.zeros(0, dtype=np.int64), []
    labels = row["num_samples"] * LABEL_RATE_HZ // RATE_HZ
    count = _count_pictures(labels, inputs.frame_rate_hz)
    stored_each = row["frame_rate_hz"] / inputs.frame_rate_hz
    # The video may end before the sound does.
    count = min(count, math.ceil(len(stored) / stored_each - 1e-6))
    nearest = np.floor(np.arange(count) * stored_each + 0.5).astype(np.int64)
    seen: dict[bytes, int] = {}
    places = [seen.setdefault(stored[i], len(seen)) for i in np.minimum(nearest, len(stored) - 1).tolist()]
    return np.array(places, dtype=np.int64), list(seen)


def _count_pictures(labels: int, rate_hz: float) -> int:
    """Pictures in so many label frames."""
    return math.ceil(labels * rate_hz / LABEL_RATE_HZ - 1e-6)


def decode_picture(content: bytes, width: int, height: int) -> NDArray[np.uint8]:
    """JPEG -> uint8 (height, width, 3), scaled where its size differs."""
    from PIL import Image

    picture: Image.Image = Image.open(io.BytesIO(content))
    # Lets the decoder drop detail by powers of two that scaling would average away anyway.
    picture.draft("RGB", (width, height))
    picture = picture.convert("RGB")
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture)
