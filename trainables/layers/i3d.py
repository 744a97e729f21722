"""I3D: Inception whose convolutions were inflated to three dimensions (Carreira and Zisserman, 2017), RGB stream.

Entries are named as in the public `rgb_imagenet.pt`, the weights trained on ImageNet and Kinetics; its classifier,
`logits`, has no place here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data.errors import UserError

FINAL_POOL = (2, 7, 7)

# Channels of each Inception block: 1 x 1; reduction and 3 x 3; reduction and smaller 3 x 3; after the pooling.
_BLOCKS: dict[str, tuple[int, int, int, int, int, int]] = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
# Kernel and stride of the pooling before a block.
_POOLS = {"Mixed_3b": ((1, 3, 3), (1, 2, 2)), "Mixed_4b": ((3, 3, 3), (2, 2, 2)), "Mixed_5b": ((2, 2, 2), (2, 2, 2))}


class ConvUnit(nn.Module):
    """Convolution with "same" padding, batch norm, ReLU."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.kernel, self.stride = (kernel,) * 3, (stride,) * 3
        self.conv3d = nn.Conv3d(
            channels_in, channels_out, kernel, stride, padding=kernel // 2 if stride == 1 else 0, bias=False
        )
        self.bn = nn.BatchNorm3d(channels_out, eps=1e-3, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride != (1, 1, 1):
            x = _pad_same(x, self.kernel, self.stride)
        return F.relu(self.bn(self.conv3d(x)), inplace=True)


class InceptionBlock(nn.Module):
    """Four branches side by side."""

    def __init__(self, channels_in: int, channels: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        self.b0 = ConvUnit(channels_in, channels[0])
        self.b1a = ConvUnit(channels_in, channels[1])
        self.b1b = ConvUnit(channels[1], channels[2], 3)
        self.b2a = ConvUnit(channels_in, channels[3])
        self.b2b = ConvUnit(channels[3], channels[4], 3)
        self.b3a = nn.MaxPool3d(3, stride=1, padding=1)
        self.b3b = ConvUnit(channels_in, channels[5])

    def forward(self, x: Tensor) -> Tensor:
        branches = (self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x)))
        return torch.cat(branches, dim=1)


class I3dBackbone(nn.Module):
    """Clips to a map before the classifier: (N, 3, T, H, W) in [-1, 1] -> (N, width_out, T / 8 - 1, H / 32 - 6, ...).

    Sizes are rounded up before the last pooling, which takes what there is where the map is smaller than it:
    (N, 3, 30, 224, 224) -> (N, 1024, 3, 1, 1).

    Args:
        width: all channel counts are multiplied by it; 1 is the published network.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()

        def scaled(channels: int) -> int:
            return max(4, round(channels * width))

        self.Conv3d_1a_7x7 = ConvUnit(3, scaled(64), 7, 2)
        self.Conv3d_2b_1x1 = ConvUnit(scaled(64), scaled(64))
        self.Conv3d_2c_3x3 = ConvUnit(scaled(64), scaled(192), 3)
        channels_in = scaled(192)
        for name, published in _BLOCKS.items():
            channels = tuple(scaled(count) for count in published)
            setattr(self, name, InceptionBlock(channels_in, channels))  # type: ignore[arg-type]
            channels_in = channels[0] + channels[2] + channels[4] + channels[5]
        self.width_out = channels_in
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, clips: Tensor) -> Tensor:
        x = self.Conv3d_1a_7x7(clips)
        x = max_pool_same(x, (1, 3, 3), (1, 2, 2))
        x = self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x))
        for name in _BLOCKS:
            if name in _POOLS:
                x = max_pool_same(x, *_POOLS[name])
            x = getattr(self, name)(x)
        kernel = [min(size, there) for size, there in zip(FINAL_POOL, x.shape[2:], strict=True)]
        return F.avg_pool3d(x, kernel, stride=1)


def same_padding(sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int]) -> list[tuple[int, int]]:
    """For each size, zeros before and behind, so that `kernel` fits ceil(size / stride) times; an odd one behind."""
    totals = [
        max((math.ceil(size / step) - 1) * step + length - size, 0)
        for size, length, step in zip(sizes, kernel, stride, strict=True)
    ]
    return [(total // 2, total - total // 2) for total in totals]


def _pad_same(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    pads = same_padding(x.shape[2:], kernel, stride)
    return F.pad(x, [side for pair in reversed(pads) for side in pair])


def max_pool_same(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Maxima of values that are not negative, ceil(size / stride) in each direction."""
    # The published network pads with zeros; they never win over what a ReLU has passed, and neither does what lies
    # outside here. Behind, the last window reaches past the end, which saves a copy.
    before = [first for first, _ in same_padding(x.shape[2:], kernel, stride)]
    return F.max_pool3d(x, kernel, stride, padding=before, ceil_mode=True)


def split_halves(pictures: Tensor) -> Tensor:
    """uint8 panoramas (B, V, H, 2 H, 3) -> clips (2 B, 3, V, H, H) in [-1, 1], left and right half of each in turn."""
    height, width = pictures.shape[2:4]
    if width != 2 * height:
        raise UserError(f"I3D takes panoramas twice as wide as high, got {width} x {height}; change inputs.frame_width")
    halves = torch.stack(pictures.split(height, dim=3), dim=1).flatten(0, 1)
    # A view with the channels moved forward is stored channels-last, in which a CPU is a tenth faster.
    return halves.movedim(-1, 1).float() / 127.5 - 1.0


def i3d_embedding(backbone: I3dBackbone, pictures: Tensor) -> Tensor:
    """uint8 panoramas (B, V, H, 2 H, 3) -> (B, T', 2 * width_out): the left half's vectors beside the right half's.

    Source: "Fusion of audio and visual embeddings for SELD" (ICASSP 2024), section 3.

    Raises:
        UserError: the panoramas are not twice as wide as high.
    """
    clips = split_halves(pictures).to(backbone.Conv3d_1a_7x7.conv3d.weight.dtype)
    return backbone(clips).mean(dim=(3, 4)).unflatten(0, (-1, 2)).permute(0, 3, 1, 2).flatten(2)


def upsample_time(embedding: Tensor, steps: int, mode: str) -> Tensor:
    """(B, T', D) -> (B, steps, D); row t' stands for the middle of its T'-th of the window.

    `linear` interpolates between the middles and is constant outside them, `nearest` repeats.
    """
    if embedding.shape[1] == steps:
        return embedding
    return F.interpolate(embedding.transpose(1, 2), steps, mode=mode).transpose(1, 2)
