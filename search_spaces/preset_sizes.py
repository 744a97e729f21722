"""The sizes that published systems come in: the paper's, and one for a laptop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainables.config import (
    ConformerConfig,
    InputConfig,
    TrainingConfig,
)


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large a preset's networks are, and how long it trains."""

    inputs: InputConfig
    channels: tuple[int, ...]
    time_strides: tuple[int, ...]
    frequency_strides: tuple[int, ...]
    layers: int
    heads: int
    kernel: int
    feed_forward: int
    resnet: dict[str, Any]
    i3d_width: float
    gru_hidden: int
    lr: float
    training: TrainingConfig
    constant_epochs: int
    crnn_time_pools: tuple[int, ...]
    baseline_inputs: InputConfig
    baseline: dict[str, Any]
    baseline_training: TrainingConfig

    @property
    def width(self) -> int:
        return self.channels[-1]

    def conformer(self, feed_forward: int | None = None) -> ConformerConfig:
        return ConformerConfig(
            layers=self.layers,
            heads=self.heads,
            kernel=self.kernel,
            feed_forward=feed_forward or self.feed_forward,
        )


PAPER = Size(
    inputs=InputConfig(),
    channels=(64, 128, 256, 512),
    time_strides=(2, 2, 2, 2),
    frequency_strides=(2, 2, 2, 2),
    layers=4,
    heads=8,
    kernel=51,
    feed_forward=1024,
    resnet={},
    i3d_width=1.0,
    gru_hidden=256,
    lr=5e-4,
    training=TrainingConfig(epochs=50, batch_size=32),
    constant_epochs=30,
    crnn_time_pools=(4, 2, 2),
    baseline_inputs=InputConfig(n_fft=1024, hop=480, n_mels=64, window_s=5.0, train_hop_s=5.0),
    baseline={},
    baseline_training=TrainingConfig(epochs=100, batch_size=128),
)


SMALL = Size(
    inputs=InputConfig(n_fft=1024, hop=600, n_mels=32, frame_width=96, frame_height=48, frame_rate_hz=2.0),
    channels=(16, 32, 64),
    time_strides=(4, 1, 1),
    frequency_strides=(2, 2, 2),
    layers=1,
    heads=4,
    kernel=7,
    feed_forward=128,
    resnet={"block": "basic", "depths": (1, 1, 1, 1), "width": 8},
    i3d_width=0.125,
    gru_hidden=64,
    lr=1e-3,
    training=TrainingConfig(epochs=10, batch_size=16, epoch_windows=1024),
    constant_epochs=8,
    crnn_time_pools=(4, 1, 1),
    baseline_inputs=InputConfig(
        n_fft=1024,
        hop=480,
        n_mels=32,
        window_s=5.0,
        train_hop_s=0.5,
        frame_width=96,
        frame_height=48,
        frame_rate_hz=2.0,
    ),
    baseline={"channels": 32, "hidden": 64, "frequency_pools": (4, 2, 2)},
    baseline_training=TrainingConfig(epochs=10, batch_size=16, epoch_windows=1024),
)


SIZES = {"paper": PAPER, "small": SMALL}
