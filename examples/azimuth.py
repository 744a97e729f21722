"""A part of one's own: a visual encoder whose every pixel knows its azimuth.

    seldtune sweep examples/looks.py --plugin examples/azimuth.py --data s3://seldtune/data/ambiguous --stopper none

Convolutions do not know where they are (Liu et al., "An intriguing failing of convolutional neural networks and the
CoordConv solution", 2018); what becomes of a position is left to the pooling. Here sine and cosine of the azimuth are
two more channels of each picture.
"""

from dataclasses import dataclass
from math import pi
from typing import ClassVar

import torch
from torch import Tensor, nn

from trainables.parts.visual.contract import VISUAL_ENCODERS
from trainables.parts.visual.resnet_conformer import ResNetConformer, ResNetConformerEncoder


@VISUAL_ENCODERS.register
@dataclass(frozen=True, kw_only=True)
class AzimuthResNet(ResNetConformer):
    """The ResNet-Conformer, with the azimuth of each column of pixels beside its colours."""

    name: ClassVar[str] = "azimuth_resnet"

    def build(self, width: int) -> ResNetConformerEncoder:
        return AzimuthResNetEncoder(self, width)


class AzimuthResNetEncoder(ResNetConformerEncoder):
    """Pictures (B, N, H, W, 3) of a whole turn, from +180 degrees on the left to -180 on the right."""

    def __init__(self, config: ResNetConformer, width: int) -> None:
        super().__init__(config, width)
        colours = self.backbone.conv1
        self.backbone.conv1 = nn.Conv2d(5, colours.out_channels, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(self.backbone.conv1.weight, mode="fan_out", nonlinearity="relu")

    def look(self, frames: Tensor) -> Tensor:
        pictures = frames.flatten(0, 1).movedim(-1, 1).to(self.project.weight.dtype)
        colours = (pictures - self.pixel_mean) / self.pixel_std
        width = colours.shape[-1]
        azimuth = pi - 2 * pi * (torch.arange(width, device=colours.device, dtype=colours.dtype) + 0.5) / width
        where = torch.stack((azimuth.sin(), azimuth.cos()))[:, None].expand(len(colours), 2, *colours.shape[2:])
        pooled = self.pool(self.backbone(torch.cat((colours, where), 1)))
        return pooled.flatten(1).unflatten(0, frames.shape[:2])
