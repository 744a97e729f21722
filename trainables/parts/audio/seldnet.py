"""SELDnet: convolutions, bidirectional GRUs and self-attention, the audio baseline of DCASE Task 3 in 2023 and 2024.

Adavanne et al. (2018), with the self-attention of Sudarsanam et al. (2021). Entries are named as in the challenge's
checkpoints; their last layers, `fnn_list`, are the head here (`trainables.weights.reference_keys.from_dcase`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.checks import check, check_dropout, check_heads, check_positive
from trainables.inputs.features import NUM_FEATURE_CHANNELS
from trainables.inputs.input_config import InputConfig
from trainables.layers.conformer import SelfAttention
from trainables.parts.audio.contract import AUDIO_ENCODERS, AudioEncoder, check_reductions


@AUDIO_ENCODERS.register
@dataclass(frozen=True, kw_only=True)
class SeldNet(AudioEncoder):
    """Convolutions, bidirectional GRUs and self-attention: the baseline of DCASE Task 3, 2023 and 2024."""

    name: ClassVar[str] = "seldnet"
    width_field: ClassVar[str] = "hidden"
    channels: int = 64
    """Channels of every convolution."""
    time_pools: tuple[int, ...] = (5, 1, 1)
    """Max pooling in time after each convolution; their product has to be the feature frames in a label frame."""
    frequency_pools: tuple[int, ...] = (4, 4, 2)
    gru_layers: int = 2
    """None at all: the convolutions' mean over frequency is the embedding, `channels` wide."""
    hidden: int = 128
    """Width of each direction of the GRUs, of their gated output, and of every embedding after it."""
    attention_layers: int = 2
    heads: int = 8
    dropout: float = 0.05

    def __post_init__(self) -> None:
        check_positive(self, "audio", "channels", "hidden", "heads")
        for name in ("gru_layers", "attention_layers"):
            check(getattr(self, name) >= 0, f"audio.{name}", getattr(self, name), "has to be 0 or more")
        pools = (self.time_pools, self.frequency_pools)
        check(
            len(self.time_pools) == len(self.frequency_pools) > 0 and all(p >= 1 for pool in pools for p in pool),
            "audio.time_pools",
            self.time_pools,
            f"has to hold one positive number for each of audio.frequency_pools = {self.frequency_pools}",
        )
        check_dropout(self.dropout, "audio")

    @property
    def width(self) -> int:
        return self.hidden if self.gru_layers else self.channels

    def check(self, inputs: InputConfig) -> None:
        check_reductions(inputs, "pools", self.time_pools, self.frequency_pools)
        if self.attention_layers:
            check_heads("audio", self.heads, self.width, "audio.hidden")

    def build(self, num_bands: int) -> nn.Module:
        return SeldNetEncoder(self, num_bands)


class ConvBlock(nn.Module):
    """3 x 3 convolution, batch norm, ReLU."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.bn = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class SeldNetEncoder(nn.Module):
    """Features (B, 7, T, M) -> (B, T // product of time pools, width).

    Args:
        num_bands: M; what the frequency pools leave of it is part of the GRU's input.
    """

    def __init__(self, config: SeldNet, num_bands: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        channels = NUM_FEATURE_CHANNELS
        for pool in zip(config.time_pools, config.frequency_pools, strict=True):
            blocks += [ConvBlock(channels, config.channels), nn.MaxPool2d(pool), nn.Dropout2d(config.dropout)]
            channels = config.channels
            num_bands //= pool[1]
        self.conv_block_list = nn.ModuleList(blocks)
        self.gru = None
        if config.gru_layers:
            self.gru = nn.GRU(
                channels * num_bands,
                config.hidden,
                config.gru_layers,
                batch_first=True,
                bidirectional=True,
                dropout=config.dropout if config.gru_layers > 1 else 0.0,
            )
        self.mhsa_block_list = nn.ModuleList(
            SelfAttention(config.width, config.heads, config.dropout) for _ in range(config.attention_layers)
        )
        self.layer_norm_list = nn.ModuleList(nn.LayerNorm(config.width) for _ in range(config.attention_layers))

    def forward(self, features: Tensor) -> Tensor:
        x = features
        if x.device.type == "cpu":
            x = x.contiguous(memory_format=torch.channels_last)
        for block in self.conv_block_list:
            x = block(x)
        if self.gru is None:
            x = x.mean(dim=3).transpose(1, 2)
        else:
            # Channels, then bands, are one vector for each step.
            x = torch.tanh(self.gru(x.transpose(1, 2).flatten(2))[0])
            gate, value = x.chunk(2, dim=-1)
            x = gate * value
        for attention, norm in zip(self.mhsa_block_list, self.layer_norm_list, strict=True):
            x = norm(x + attention(x))
        return x
