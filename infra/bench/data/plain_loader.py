"""The peer of the feeding benchmark: a torch DataLoader over the windows of a chunk store, as one would write it.

A map-style data set: each window is read from its parquet row group, whose footers are cached, of its sound the samples
that it needs are decoded, of its pictures those that it shows; features, targets and channel swaps are made for each
window by the same functions as ours. Nothing is shared between windows that overlap.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import soundfile
import torch
from torch.utils.data import DataLoader, Dataset

from data import storage
from data.feeding.cutter import Extent
from data.feeding.windows import training_windows
from data.labels import Events, adpit_target
from data.stores.chunks import Store, read_index, read_shard
from data.stores.rows import HEARD, row_events
from data.swaps import IDENTITY, NUM_SWAPS, swap_features, swap_pictures, swap_target
from data.timing import RATE_HZ, SAMPLES_PER_LABEL
from trainables.config import InputConfig
from trainables.inputs.features import FeatureExtractor
from trainables.inputs.prepare import decode_picture

# Sound before and after the window that its first and last feature frames look at, in whole feature frames.
_CONTEXT_FEATURE_FRAMES = 2


class WindowDataset(Dataset):
    """Windows of a split of a local store, in the order of `training_windows`, each a dictionary of tensors."""

    def __init__(self, store: Store, split: str, inputs: InputConfig, with_pictures: bool, swap: bool) -> None:
        shards = store.split(split).shards
        index = read_index(store, split).to_pylist()
        self._paths = [storage.join(store.root, shard.path) for shard in shards]
        self._places = [(row["shard"], row["row"]) for row in index]
        self._has_video = [bool(row["has_video"]) for row in index]
        extents = [Extent(row["start_frame"], row["num_frames"], row["num_labels"]) for row in index]
        self.windows = training_windows(extents, inputs.window_labels, inputs.train_hop_labels)
        columns = [name for name in HEARD if name != "audio"]
        self._events = [row_events(row) for shard in shards for row in read_shard(store, shard, columns)]
        self._inputs = inputs
        self._columns = ["audio", "frames"] if with_pictures else ["audio"]
        self._swap = swap
        self._extract = FeatureExtractor(inputs.n_fft, inputs.hop, inputs.n_mels, RATE_HZ)
        self._files: dict[int, pq.ParquetFile] = {}

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        row, start = self.windows[number].tolist()
        shard, group = self._places[row]
        if shard not in self._files:
            self._files[shard] = pq.ParquetFile(self._paths[shard], memory_map=True)
        table = self._files[shard].read_row_group(group, columns=self._columns, use_threads=False)
        k = int(torch.randint(NUM_SWAPS, ())) if self._swap else IDENTITY
        size = self._inputs.window_labels
        features = self._features(table.column("audio")[0].as_buffer(), start)
        events: Events = self._events[row].between(start, start + size)
        window = {
            "features": torch.from_numpy(swap_features(features, k)),
            "target": torch.from_numpy(swap_target(adpit_target(events, size), k)),
            "valid": torch.ones(size, dtype=torch.bool),
            "has_video": torch.tensor(self._has_video[row]),
        }
        if "frames" in self._columns:
            window["frames"] = torch.from_numpy(
                swap_pictures(self._pictures(table.column("frames")[0].values, start), k)
            )
        return window

    def _features(self, flac: Any, start: int) -> np.ndarray:
        """(7, feature frames, n_mels) of the window's samples, with what the first and last reach beyond it."""
        inputs = self._inputs
        before = min(_CONTEXT_FEATURE_FRAMES, start * inputs.features_per_label)
        first = start * SAMPLES_PER_LABEL - before * inputs.hop
        feature_frames = inputs.window_labels * inputs.features_per_label
        with soundfile.SoundFile(io.BytesIO(flac)) as file:
            file.seek(first)
            audio = file.read(
                (before + feature_frames + _CONTEXT_FEATURE_FRAMES) * inputs.hop, dtype="float32", always_2d=True
            )
        features = self._extract(torch.from_numpy(np.ascontiguousarray(audio.T)))
        return features[:, before : before + feature_frames].numpy()

    def _pictures(self, stored: Any, start: int) -> np.ndarray:
        width, height = self._inputs.frame_width, self._inputs.frame_height
        pictures = stored.slice(start, self._inputs.window_pictures).to_pylist()
        return np.stack([decode_picture(picture, width, height) for picture in pictures])


class PlainLoader:
    """Epochs of shuffled batches by worker processes that stay alive from one to the next.

    Args:
        windows: that an epoch takes, drawn anew; nothing: all.
    """

    def __init__(self, dataset: WindowDataset, batch_size: int, workers: int, windows: int | None = None) -> None:
        sampler = torch.utils.data.RandomSampler(dataset, num_samples=windows) if windows else None
        self.num_windows = (windows or len(dataset)) // batch_size * batch_size
        self._loader = DataLoader(
            dataset,
            batch_size=batch_size,
            shuffle=sampler is None,
            sampler=sampler,
            num_workers=workers,
            drop_last=True,
            persistent_workers=workers > 0,
            # A forked one would share this process's connections to Ray: what it frees there ends Ray's node, and that
            # this process, without a word.
            multiprocessing_context="spawn" if workers else None,
        )

    def epoch(self) -> Iterator[dict[str, torch.Tensor]]:
        return iter(self._loader)
