"""The data of a sweep, decoded once: prepared rows in Ray's object store, owned by the driver, shared by all trials.

Memory: 7 x n_mels x 4 bytes a feature frame, e.g. 0.51 GB an hour at 64 bands and 80 frames a second, and
width x height x 3 bytes a picture where a model of the space looks at pictures. Ray spills to disk what does not fit.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data.errors import UserError
from data.store import Store
from data.stream import materialise, read_split, unpack_rows
from trainables.box_source import box_source
from trainables.config import ObjectBoxes, TrialConfig
from trainables.embedding_source import embedding_stores
from trainables.prepare import PrepareRow

logger = logging.getLogger(__name__)

SPLITS = ("train", "val")
"""What a search may see; the test split is for finalists alone."""


@dataclass(frozen=True, kw_only=True)
class SharedData:
    """Decoded splits, and the statistics that models normalise by."""

    datasets: dict[str, Any]
    """Split -> materialised `ray.data.Dataset` of prepared rows (`data.windows`)."""
    feature_mean: NDArray[np.float32]
    """(7, 1, n_mels)."""
    feature_std: NDArray[np.float32]
    seconds: float
    bytes: int


def preparation(configs: Sequence[TrialConfig], data_sha256: str) -> PrepareRow:
    """What every one of the configs needs of a row of the data with that manifest, once.

    Raises:
        UserError: they differ in `inputs`, or in where their boxes or embeddings come from, or embeddings are not of
            this data or of the network that a config names.
    """
    if len({config.inputs for config in configs}) > 1:
        raise UserError("the configs of a sweep differ in `inputs`; trials of a sweep share their decoded data")
    sources = {box_source(config.visual, config.inputs) for config in configs if isinstance(config.visual, ObjectBoxes)}
    if len(sources) > 1:
        raise UserError("the configs of a sweep take their boxes from different sources; name one for all")
    looks = {column for config in configs for column in config.visual.columns}
    embeddings = embedding_stores((config.visual for config in configs), configs[0].inputs, data_sha256)
    return PrepareRow(configs[0].inputs, looks, next(iter(sources), None), embeddings)


def load_shared(store: Store, prepare: PrepareRow) -> SharedData:
    """Read, verify and decode the splits.

    Raises:
        UserError: a shard is missing or corrupted.
    """
    started = time.monotonic()
    datasets = {split: materialise(read_split(store, split, prepare, prepare.columns)) for split in SPLITS}
    mean, std = feature_statistics(datasets["train"])
    size = sum(int(dataset.size_bytes()) for dataset in datasets.values())
    seconds = time.monotonic() - started
    logger.info("decoded %.0f MB in %.0f s, once for all trials", size / 1e6, seconds)
    return SharedData(datasets=datasets, feature_mean=mean, feature_std=std, seconds=seconds, bytes=size)


def feature_statistics(dataset: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation, (7, 1, n_mels) each, over all rows.

    They are alike for the channels that a swap exchanges, and the intensity keeps its zero, so that normalising and
    swapping commute: log-mel of W by itself, of Y, Z, X together, intensities together about zero.
    """
    moments = dataset.map_batches(_moments, batch_size=None, batch_format="pyarrow").take_all()
    count = sum(m["count"] for m in moments)
    mean = np.sum([m["sum"] for m in moments], axis=0) / count
    square = np.sum([m["square"] for m in moments], axis=0) / count
    mean[1:4] = mean[1:4].mean(axis=0)
    square[1:4] = square[1:4].mean(axis=0)
    mean[4:] = 0.0
    square[4:] = square[4:].mean(axis=0)
    std = np.sqrt(np.maximum(square - mean**2, 1e-8))
    return mean[:, None].astype(np.float32), std[:, None].astype(np.float32)


def _moments(table: pa.Table) -> dict[str, NDArray]:
    """Sums over time of the features and their squares, one entry a row."""
    features = [row["features"].astype(np.float64) for row in unpack_rows(table)]
    return {
        "sum": np.stack([f.sum(axis=1) for f in features]),
        "square": np.stack([np.square(f).sum(axis=1) for f in features]),
        "count": np.array([f.shape[1] for f in features]),
    }
