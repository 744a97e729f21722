"""Residual blocks, then a Conformer: the audio encoder of "Fusion of audio and visual embeddings for SELD"."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.checks import check, check_heads
from trainables.inputs.features import NUM_FEATURE_CHANNELS
from trainables.inputs.input_config import InputConfig
from trainables.layers.conformer import NO_LAYERS, Conformer, ConformerConfig
from trainables.parts.audio.contract import AUDIO_ENCODERS, AudioEncoder, check_reductions
from trainables.weights.fitting import WeightsSlot
from trainables.weights.kinds import KINDS, WeightsKind
from trainables.weights.reference_keys import from_reference

KINDS.register(
    WeightsKind(
        name="av_seld_audio",
        title="the pre-trained audio encoder of AV-SELD",
        marks=("conv_block1.conv1.weight", "conformer.conformer_layers.0.ffn1.sequential.1.weight"),
        rename=from_reference,
        field="audio.weights",
        network=lambda state: CnnConformerEncoder(CnnConformer()),
    )
)


@AUDIO_ENCODERS.register
@dataclass(frozen=True, kw_only=True)
class CnnConformer(AudioEncoder):
    """Four residual blocks, mean over frequency, a Conformer (the paper's audio encoder)."""

    name: ClassVar[str] = "cnn_conformer"
    width_field: ClassVar[str] = "channels"
    channels: tuple[int, ...] = (64, 128, 256, 512)
    """Channels of each block; the last is the width of every embedding after it."""
    time_strides: tuple[int, ...] = (2, 2, 2, 2)
    """Pooling in time of each block; their product has to be the feature frames in a label frame."""
    frequency_strides: tuple[int, ...] = (2, 2, 2, 2)
    conformer: ConformerConfig = field(default_factory=ConformerConfig)
    weights: str | None = None
    """URI of pre-trained weights (`seldtune weights import`), or nothing: random ones."""

    def __post_init__(self) -> None:
        for name in ("time_strides", "frequency_strides"):
            strides = getattr(self, name)
            check(
                len(strides) == len(self.channels) and all(s >= 1 for s in strides),
                f"audio.{name}",
                strides,
                f"has to hold one positive number for each of the {len(self.channels)} entries of audio.channels",
            )
        check(
            len(self.channels) > 0 and all(c > 0 for c in self.channels),
            "audio.channels",
            self.channels,
            "has to hold positive numbers",
        )

    @property
    def width(self) -> int:
        return self.channels[-1]

    def check(self, inputs: InputConfig) -> None:
        check_reductions(inputs, "strides", self.time_strides, self.frequency_strides)
        check_heads("audio.conformer", self.conformer.heads, self.width, "audio.channels")

    def bare(self) -> tuple[Self, ConformerConfig]:
        return replace(self, conformer=NO_LAYERS, weights=None), self.conformer

    def slots(self) -> tuple[WeightsSlot, ...]:
        return (WeightsSlot(field="audio.weights", uri=self.weights, kinds=("av_seld_audio",), place="audio"),)

    def build(self, num_bands: int) -> nn.Module:
        return CnnConformerEncoder(self)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions and average pooling, beside a strided 1 x 1 convolution; no ReLU after the sum.

    (B, C, T, M) -> (B, C', T // stride, M // stride) with strides in time and frequency.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: tuple[int, int]) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.shortcut = nn.Conv2d(channels_in, channels_out, 1, bias=False)
        self.bn_shortcut = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        # The stride is taken before the 1 x 1 convolution: the same numbers, and oneDNN's gradient of a strided one
        # writes out of bounds where fewer than 8 channels are stored channels-last (torch 2.14, one thread).
        # Where the stride does not divide the bands, pooling leaves the last ones out; so does this.
        time, bands = (size // step * step for size, step in zip(x.shape[2:], self.stride, strict=True))
        shortcut = self.bn_shortcut(self.shortcut(x[:, :, : time : self.stride[0], : bands : self.stride[1]]))
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.avg_pool2d(x, self.stride) + shortcut


class CnnConformerEncoder(nn.Module):
    """Residual blocks, mean over frequency, Conformer over time (the paper's audio encoder, section 3).

    Features (B, 7, T, M) -> (B, T // product of time strides, last of `channels`).
    """

    def __init__(self, config: CnnConformer) -> None:
        super().__init__()
        widths = (NUM_FEATURE_CHANNELS, *config.channels)
        strides = zip(config.time_strides, config.frequency_strides, strict=True)
        self.blocks = nn.ModuleList(ResidualBlock(widths[i], widths[i + 1], stride) for i, stride in enumerate(strides))
        self.conformer = Conformer(widths[-1], config.conformer)

    def forward(self, features: Tensor) -> Tensor:
        x = features
        if x.device.type == "cpu":
            # The narrow convolutions of small models are up to 1.4 times faster in this layout.
            x = x.contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            x = block(x)
        return self.conformer(x.mean(dim=3).transpose(1, 2))
