"""Rows that a tiny model learns something from in a few steps, and the configs that go with them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from data.labels import Events, adpit_target
from trainables.config import (
    AdamW,
    AugmentConfig,
    CnnConformer,
    ConformerConfig,
    Cosine,
    InputConfig,
    TrainingConfig,
    TrialConfig,
)

INPUTS = InputConfig(n_fft=1024, hop=600, n_mels=16, frame_width=32, frame_height=16, frame_rate_hz=2.0)
CONFORMER = ConformerConfig(layers=1, heads=2, feed_forward=16, kernel=3)
CONFIG = TrialConfig(
    inputs=INPUTS,
    audio=CnnConformer(channels=(8, 16), time_strides=(2, 2), frequency_strides=(4, 2), conformer=CONFORMER),
    schedule=Cosine(),
    optimiser=AdamW(lr=3e-3),
    augment=AugmentConfig(channel_swaps=True, time_mask_frames=8, mel_mask_bands=2),
    training=TrainingConfig(epochs=4, batch_size=8, epoch_windows=32, seed=3),
)


def make_rows(split: str, count: int, seed: int) -> list[dict[str, Any]]:
    """Rows whose sound says where one source is, loudly: a band for each class, intensity for the direction."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        frames = np.arange(100)
        class_index, azimuth = rng.integers(4, size=10).repeat(10), rng.uniform(-180, 180, 10).repeat(10)
        events = Events.build(frames, class_index, np.zeros(100), azimuth, np.zeros(100))
        features = rng.normal(0, 0.1, (7, 100, INPUTS.n_mels)).astype(np.float32)
        band = class_index * 4
        for t in range(100):
            features[:4, t, band[t] : band[t] + 4] += 2.0
            features[4, t, band[t] : band[t] + 4] = math.sin(math.radians(azimuth[t]))
            features[6, t, band[t] : band[t] + 4] = math.cos(math.radians(azimuth[t]))
        rows.append(
            {
                "recording": f"{split}{i}",
                "room": split,
                "start_frame": 0,
                "num_frames": 100,
                "features": features.repeat(INPUTS.features_per_label, axis=1),
                "target": adpit_target(events, 100),
                "events": np.stack([c.astype(np.float64) for c in events.columns()], axis=1),
                "frames": rng.integers(0, 255, (20, 16, 32, 3), dtype=np.uint8),
                "has_video": True,
            }
        )
    return rows
