"""The data of a sweep: decoded once into Ray's object store and shared by all trials, or streamed to each of them.

What is shared is owned by the driver and serves trials that run together and one after another. What to share and what
to stream is `infra.sweep.data_memory`'s decision. What features are normalised by is measured once and kept.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from data import storage
from data.errors import UserError
from data.feeding.stream import materialise, read_split, unpack_rows, user_errors
from data.feeding.streamed_split import StreamedSplit
from data.remembered import ANEW, read_back, remembered_bytes
from data.stores.chunks import Store, open_store
from infra.stack.places import there_are
from infra.sweep.data_memory import DataDivision
from trainables.config import TrialConfig
from trainables.inputs.features import at_level
from trainables.inputs.prepare import PrepareRow
from trainables.networks.embedding_source import embedding_stores

logger = logging.getLogger(f"seldtune.{__name__}")

# Raise it when the same sound would give other features than before.
_FEATURES_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class SharedData:
    """The splits of a sweep, and the statistics that models normalise by."""

    splits: dict[str, Any]
    """Split -> materialised `ray.data.Dataset` of prepared rows (`data.feeding.windows`), or a `StreamedSplit`."""
    feature_mean: NDArray[np.float32]
    """(7, 1, n_mels)."""
    feature_std: NDArray[np.float32]


def find_store(uri: str, root: str) -> Store:
    """The chunk store that a sweep reads.

    Raises:
        UserError: there is none, with those that lie below `<root>/data`; or it cannot be read (`open_store`).
    """
    try:
        return open_store(uri)
    except UserError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        named = ""
        with suppress(UserError):  # what is wrong with the root itself is told elsewhere
            named = f": {there_are(root)}"
        raise UserError(f"{error}, or name another with --data{named}") from error


def preparation(configs: Sequence[TrialConfig], data_sha256: str) -> PrepareRow:
    """What every one of the configs needs of a row of the data with that manifest, once.

    Raises:
        UserError: they differ in `inputs`, or in where their boxes or embeddings come from, or embeddings are not of
            this data or of the network that a config names.
    """
    (classes,) = {config.classes for config in configs}
    if len({config.inputs for config in configs}) > 1:
        raise UserError("the configs of a sweep differ in `inputs`; trials of a sweep share their decoded data")
    sources = {source for config in configs if (source := config.visual.box_source(config.inputs)) is not None}
    if len(sources) > 1:
        raise UserError("the configs of a sweep take their boxes from different sources; name one for all")
    looks = {column for config in configs for column in config.columns}
    embeddings = embedding_stores((config.visual for config in configs), configs[0].inputs, data_sha256)
    return PrepareRow(configs[0].inputs, looks, next(iter(sources), None), embeddings, len(classes))


def load_shared(
    store: Store, prepare: PrepareRow, data: DataDivision, root: str, trials: int = 1, workers: int = 1, cpus: int = 1
) -> SharedData:
    """Read, verify and decode what is shared, and say how the rest is streamed.

    Args:
        root: below which the statistics of features are kept.
        trials: that run at a time, each of so many workers; each may use so many CPUs beside its own to decode.

    Raises:
        UserError: a shard is missing or corrupted, or there is too little memory to stream.
    """
    started = time.monotonic()
    splits = {split: load_split(store, split, prepare, data, trials, workers, cpus) for split in data.sizes}
    if data.shared:
        size = sum(int(splits[split].size_bytes()) for split in data.shared)
        seconds = time.monotonic() - started
        logger.info("%s decoded once for all trials: %.0f MB in %.0f s", " and ".join(data.shared), size / 1e6, seconds)
    heard = splits["train"] if "train" in data.shared else read_split(store, "train", prepare.looking_at(()))
    mean, std = feature_statistics(heard, _statistics_uri(root, store, prepare), prepare.inputs.level)
    return SharedData(splits=splits, feature_mean=mean, feature_std=std)


def load_split(
    store: Store, split: str, prepare: PrepareRow, data: DataDivision, trials: int = 1, workers: int = 1, cpus: int = 1
) -> Any:
    """One split: decoded and owned by this process, or a `StreamedSplit`; arguments as for `load_shared`."""
    if split in data.shared:
        return materialise(read_split(store, split, prepare))
    return StreamedSplit(
        store=store,
        split=split,
        prepare=prepare,
        memory_bytes=data.stream_bytes(trials),
        cpus=max(1, cpus),
        workers=workers,
    )


def feature_statistics(
    dataset: Any, uri: str, level: str = "absolute"
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation, (7, 1, n_mels) each, over all rows; measured once, then read back from `uri`.

    They are alike for the channels that a swap exchanges, and the intensity keeps its zero, so that normalising and
    swapping commute: log-mel of W by itself, of Y, Z, X together, intensities together about zero.

    Args:
        level: of the log-mel channels, as models hear them (`InputConfig.level`).
    """
    content = remembered_bytes(uri, lambda: _statistics(dataset, level))
    with read_back(uri, ANEW):
        kept = np.load(io.BytesIO(content))
        return kept["mean"], kept["std"]


def _statistics(dataset: Any, level: str) -> bytes:
    """`mean` and `std` as numpy keeps arrays."""
    with user_errors():
        measured = dataset.map_batches(
            _moments_of, batch_size=None, batch_format="pyarrow", fn_kwargs={"level": level}
        ).take_all()
    mean, std = statistics_of(measured)
    sink = io.BytesIO()
    np.savez(sink, mean=mean, std=std)
    return sink.getvalue()


def statistics_of(moments: Sequence[Mapping[str, Any]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What `feature_statistics` returns, from the `moments` of all rows."""
    count = sum(m["count"] for m in moments)
    mean = np.sum([m["sum"] for m in moments], axis=0) / count
    square = np.sum([m["square"] for m in moments], axis=0) / count
    mean[1:4] = mean[1:4].mean(axis=0)
    square[1:4] = square[1:4].mean(axis=0)
    mean[4:] = 0.0
    square[4:] = square[4:].mean(axis=0)
    std = np.sqrt(np.maximum(square - mean**2, 1e-8))
    return mean[:, None].astype(np.float32), std[:, None].astype(np.float32)


def _statistics_uri(root: str, store: Store, prepare: PrepareRow) -> str:
    """A name for what the statistics follow from: the data and what features are made of."""
    inputs = prepare.inputs
    made_of = [_FEATURES_VERSION, store.manifest.sha256, inputs.n_fft, inputs.hop, inputs.n_mels]
    if inputs.level != "absolute":
        made_of.append(inputs.level)
    return storage.join(root, "statistics", f"{hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]}.npz")


def moments(features: NDArray, level: str) -> dict[str, Any]:
    """Sums over time of a row's features (7, T, n_mels) and their squares. What is relative to windows in a model is
    relative to rows here."""
    heard = at_level(torch.from_numpy(features.astype(np.float64)), level).numpy()
    return {"sum": heard.sum(axis=1), "square": np.square(heard).sum(axis=1), "count": heard.shape[1]}


def _moments_of(table: pa.Table, level: str) -> dict[str, NDArray]:
    rows = [moments(row["features"], level) for row in unpack_rows(table)]
    return {name: np.array([row[name] for row in rows]) for name in ("sum", "square", "count")}


def without_pictures(configs: Sequence[TrialConfig], store: Store) -> str:
    """What is to be said where models look at pictures that the training recordings do not have; empty elsewhere."""
    seeing = [config for config in configs if config.sees]
    split = store.manifest.splits["train"]
    missing = split.clips_without_video
    if not seeing or 2 * missing < split.clips:
        return ""
    some = "none" if missing == split.clips else f"{split.clips - missing}"
    return (
        f"{some} of {split.clips} training recordings has video, and {len(seeing)} of {len(configs)} configs look at "
        "pictures: they see black, and cannot be better for it"
    )
