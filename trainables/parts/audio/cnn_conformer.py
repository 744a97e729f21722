"""From features to one audio embedding for each label frame. `AUDIO_MODULES` maps config names to modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.config import CnnConformer, NoAudio, SeldNet, TrialConfig
from trainables.inputs.features import NUM_FEATURE_CHANNELS
from trainables.layers.conformer import Conformer
from trainables.parts.audio.seldnet import SeldNetEncoder


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


AUDIO_MODULES: dict[str, Callable[[Any, int], nn.Module] | None] = {
    CnnConformer.name: lambda config, num_bands: CnnConformerEncoder(config),
    SeldNet.name: SeldNetEncoder,
    NoAudio.name: None,
}


def build_audio_encoder(config: TrialConfig) -> nn.Module | None:
    """The audio encoder that `config.audio` names; nothing for `none`."""
    module = AUDIO_MODULES[config.audio.name]
    return None if module is None else module(config.audio, config.inputs.n_mels)
