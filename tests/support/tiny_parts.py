"""Models of every registered encoder and fusion, small enough for a test, and batches for them."""

from __future__ import annotations

import numpy as np
import torch

from trainables.config import TrialConfig
from trainables.config.tree import from_dict

CONFORMER = {"layers": 1, "heads": 2, "feed_forward": 16, "kernel": 7, "dropout": 0.0}
INPUTS = {"hop": 300, "n_mels": 16, "frame_width": 64, "frame_height": 32}
# Sizes that make each entry small; entries without any are built with their defaults.
TINY = {
    "cnn_conformer": {
        "channels": [4, 8, 8],
        "time_strides": [2, 2, 2],
        "frequency_strides": [4, 2, 1],
        "conformer": CONFORMER,
    },
    "seldnet": {
        "channels": 8,
        "time_pools": [4, 2],
        "frequency_pools": [4, 2],
        "hidden": 8,
        "heads": 2,
        "dropout": 0.0,
    },
    "resnet_conformer": {"block": "basic", "depths": [1, 1, 1, 1], "width": 8, "conformer": CONFORMER},
    "i3d": {"width": 0.125},
    "both": {
        "resnet": {"block": "basic", "depths": [1, 1, 1, 1], "width": 8, "conformer": CONFORMER},
        "i3d": {"width": 0.125},
    },
    "visual_only": {"conformer": CONFORMER},
    "cross_attention": {"layers": 2, "heads": 2, "feed_forward": 16, "dropout": 0.0},
    "audio_only": {"conformer": CONFORMER},
    "av_conformer": {"conformer": CONFORMER},
    "cmaf": {"layers": 2, "heads": 2, "feed_forward": 16, "dropout": 0.0},
    "gru": {"layers": 2, "hidden": 6, "dropout": 0.0},
}


def tiny_config(audio: str, visual: str, fusion: str) -> TrialConfig:
    parts = {"audio": audio, "visual": visual, "fusion": fusion}
    tree = {part: {"name": name, **TINY.get(name, {})} for part, name in parts.items()}
    if audio == "none":
        tree["audio"]["width"] = 8
    return from_dict({"inputs": INPUTS, "head": {"hidden": 12}, **tree})


def tiny_batch(
    windows: int = 2, pictures: int = 10, reads: str | None = "frames"
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Features, and what a model that reads frames, boxes or nothing is shown."""
    rng = np.random.default_rng(windows)
    features = torch.from_numpy(rng.standard_normal((windows, 7, 240, 16)).astype(np.float32))
    if reads is None:
        return features, None
    if reads == "frames":
        return features, torch.from_numpy(rng.integers(0, 256, (windows, pictures, 32, 64, 3), dtype=np.uint8))
    corner, size = rng.uniform(0, 0.7, (windows, pictures, 6, 2)), rng.uniform(0.05, 0.3, (windows, pictures, 6, 2))
    score = np.ones((windows, pictures, 6, 1))
    return features, torch.from_numpy(np.concatenate((corner, corner + size, score), axis=-1).astype(np.float32))
