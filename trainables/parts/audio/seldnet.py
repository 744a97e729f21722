"""SELDnet: convolutions, bidirectional GRUs and self-attention, the audio baseline of DCASE Task 3 in 2023 and 2024.

Adavanne et al. (2018), with the self-attention of Sudarsanam et al. (2021). Entries are named as in the challenge's
checkpoints; their last layers, `fnn_list`, are the head here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.config import SeldNet
from trainables.inputs.features import NUM_FEATURE_CHANNELS
from trainables.layers.conformer import SelfAttention

Value = TypeVar("Value")


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


_HEAD = {"fnn_list.0.": "head.hidden.", "fnn_list.1.": "head.out."}


def from_dcase(state: Mapping[str, Value]) -> dict[str, Value]:
    """Rename the state dict of a published baseline (53 entries) to that of `SeldModel`."""
    renamed = {}
    for key, value in state.items():
        prefix = next((prefix for prefix in _HEAD if key.startswith(prefix)), "")
        renamed[_HEAD.get(prefix, "audio.") + key.removeprefix(prefix)] = value
    return renamed
