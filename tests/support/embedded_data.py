"""Stores of noisy pictures, their embeddings, and trials that read either."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.feeding.contract import as_looked_at
from data.labels import Events
from data.scenes.video import encode_jpeg
from data.stores.chunks import (
    Store,
    read_shard,
)
from data.stores.rows import cut_rows
from infra.datasets.embed import EmbedRequest, embed_data
from infra.datasets.embedder import Embedder, Job, PartRecord, RowTask
from infra.sweep.data import preparation
from support.stores import publish
from trainables.config import TrialConfig
from trainables.config.tree import from_dict, override
from trainables.networks.model import SeldModel
from trainables.networks.pretrained import load_pretrained

CONFORMER = {"layers": 1, "heads": 2, "feed_forward": 16, "kernel": 3, "dropout": 0.0}
INPUTS = {"n_fft": 1024, "hop": 600, "n_mels": 16, "frame_width": 64, "frame_height": 32, "frame_rate_hz": 2.0}
SEEN = {f"inputs.{name}": INPUTS[name] for name in ("frame_width", "frame_height", "frame_rate_hz")}
RESNET: dict[str, Any] = {"block": "basic", "depths": [1, 1, 1, 1], "width": 8}
NETWORKS: dict[str, dict[str, Any]] = {"resnet50": RESNET, "i3d": {"width": 0.05}}
NAMES = {"resnet50": "resnet_conformer", "i3d": "i3d"}
COLUMNS = {"resnet50": "resnet_embeddings", "i3d": "i3d_embeddings"}


# Half a place of float16, and what another order of adding does to float32.
CLOSE = {"rtol": 2**-10, "atol": 1e-5}


def make_store(root: Path, clips: dict[str, Sequence[tuple[str, float, float]]], still: bool = False) -> Store:
    """Split -> recordings: name, seconds of sound, seconds of video (noisy pictures, or one that stands still)."""
    contents = {}
    for number, (split, recordings) in enumerate(clips.items()):
        rows = []
        for name, sound_s, video_s in recordings:
            rng = np.random.default_rng([number, len(rows)])
            audio = (rng.standard_normal((4, int(sound_s * 24_000))) * 1000).astype(np.int16)
            frame = np.arange(int(sound_s * 10))
            events = Events.build(frame, frame // 7 % 3, frame * 0, frame % 360 - 180.0, frame % 90, frame + 100.0)
            count = int(video_s * 10)
            moving = rng.integers(0, 256, (1 if still else count, 4, 8, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
            pictures = [encode_jpeg(picture) for picture in moving] * (count if still else 1)
            rows += cut_rows(name, f"room-{split}", audio, events, pictures)
        contents[split] = [rows]
    return publish(root, contents, {"still": still})


def local(job: Job, tasks: Sequence[RowTask]) -> Iterator[tuple[str, PartRecord]]:
    return map(Embedder(job).embed_row, tasks)


def no_gpu() -> bool:
    return False


def request(store: Store, encoder: str = "resnet50", **changes: Any) -> EmbedRequest:
    fixed = SEEN | {f"visual.{name}": value for name, value in NETWORKS[encoder].items()}
    given = {"random_weights": 3} if "weights" not in changes else {}
    return EmbedRequest(data=store.root, encoder=encoder, **{"fixed": fixed, **given, **changes})


def embed(store: Store, encoder: str = "resnet50", **changes: Any) -> dict[str, Any]:
    return embed_data(request(store, encoder, **changes), local, no_gpu)


def trial(made: dict[str, dict[str, Any]], visual: str, embedded: bool, **changes: Any) -> TrialConfig:
    """A trial with that visual encoder, which reads pictures or embeddings."""

    def network(encoder: str) -> dict[str, Any]:
        own = {"weights": made[encoder]["weights"], "frozen": True, **NETWORKS[encoder]}
        own |= {"embeddings": made[encoder]["uri"]} if embedded else {}
        return own | ({"conformer": CONFORMER} if encoder == "resnet50" else {})

    if visual == "both":
        seeing = {"name": "both", "resnet": network("resnet50"), "i3d": network("i3d")}
    else:
        seeing = {"name": NAMES[visual], **network(visual)}
    audio = {
        "name": "cnn_conformer",
        "channels": [8, 16],
        "time_strides": [2, 2],
        "frequency_strides": [4, 2],
        "conformer": CONFORMER,
    }
    tree = {
        "inputs": INPUTS,
        "audio": audio,
        "visual": seeing,
        "fusion": {"name": "gru", "dropout": 0.0},
        # A kink at zero would turn a difference in the last place into a gradient that is there or not.
        "head": {"activation": "none"},
        "augment": {"channel_swaps": True},
        "training": {"epochs": 1, "batch_size": 8, "epoch_windows": 16, "seed": 3},
    }
    return override(from_dict(tree), changes)


def prepared(store: Store, config: TrialConfig, split: str = "train") -> list[dict[str, Any]]:
    prepare = preparation([config], store.manifest.sha256)
    (shard,) = store.split(split).shards
    rows = read_shard(store, shard, prepare.columns)
    return as_looked_at(map(prepare, rows), config.visual.columns)


def pretrained(config: TrialConfig) -> SeldModel:
    torch.manual_seed(1)
    model = SeldModel(config)
    load_pretrained(model, config)
    return model


def tensors(batch: dict[str, Any]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in batch.items()}
