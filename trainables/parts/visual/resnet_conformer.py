"""A ResNet on each picture, then a Conformer over time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from trainables.checks import check, check_heads, check_positive
from trainables.inputs.input_config import InputConfig
from trainables.layers.conformer import NO_LAYERS, Conformer, ConformerConfig
from trainables.layers.resnet import ResNetBackbone
from trainables.parts.audio import AudioEncoder
from trainables.parts.visual.backbone import Backbone
from trainables.parts.visual.contract import VISUAL_ENCODERS
from trainables.parts.visual.modules import BackboneModule, resample_time
from trainables.weights.kinds import KINDS, WeightsKind, without

# Of ImageNet, for pixels in [0, 1]: what torchvision's weights were trained with.
_PIXEL_MEAN = (0.485, 0.456, 0.406)
_PIXEL_STD = (0.229, 0.224, 0.225)


@VISUAL_ENCODERS.register
@dataclass(frozen=True, kw_only=True)
class ResNetConformer(Backbone):
    """A ResNet on each picture, pooled into columns of the panorama, projected, then a Conformer over time."""

    name: ClassVar[str] = "resnet_conformer"
    reads: ClassVar[str] = "frames"
    embedded_as: ClassVar[str] = "resnet_embeddings"
    structure: ClassVar[tuple[str, ...]] = ("block", "depths", "width", "pool_columns")
    weights_kind: ClassVar[str] = "resnet"
    block: str = "bottleneck"
    """`bottleneck` (ResNet50 and larger) or `basic` (ResNet18, ResNet34)."""
    depths: tuple[int, ...] = (3, 4, 6, 3)
    """Residual blocks of each stage; (3, 4, 6, 3) bottlenecks are ResNet50."""
    width: int = 64
    """Channels of the first stage; each later one doubles them."""
    pool_columns: int = 2
    """Columns of the panorama that keep a vector of their own (the paper's two 7 x 7 poolings)."""
    weights: str | None = None
    """URI of a torchvision state dict (`.pth` or `.safetensors`), or nothing: random weights, said loudly."""
    frozen: bool = False
    """Keep the ResNet as loaded, in evaluation mode, and train only what follows it."""
    embeddings: str | None = None
    """URI of what the frozen ResNet makes of the data (`seldtune data embed`), read in place of pictures, or nothing:
    each trial runs it on each picture of each epoch."""
    conformer: ConformerConfig = field(default_factory=ConformerConfig)

    def __post_init__(self) -> None:
        check(self.block in ("basic", "bottleneck"), "visual.block", self.block, "choose basic or bottleneck")
        check(
            len(self.depths) == 4 and all(d > 0 for d in self.depths),
            "visual.depths",
            self.depths,
            "has to hold four positive numbers",
        )
        # oneDNN's gradient of a strided 1 x 1 convolution over fewer channels writes out of bounds (torch 2.14).
        check(self.width >= 8, "visual.width", self.width, "has to be 8 or more")
        check_positive(self, "visual", "pool_columns")
        self.check_frozen()

    def check(self, inputs: InputConfig, audio: AudioEncoder, path: str = "visual") -> None:
        check_heads(f"{path}.conformer", self.conformer.heads, audio.width, f"audio.{audio.width_field}")

    def bare(self) -> tuple[Self, ConformerConfig]:
        return replace(self, conformer=NO_LAYERS), self.conformer

    def build(self, width: int) -> BackboneModule:
        return ResNetConformerEncoder(self, width)


class ResNetConformerEncoder(BackboneModule):
    """A ResNet on each picture, pooled into columns of the panorama, projected, a Conformer over time (section 3)."""

    backbone: ResNetBackbone
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, config: ResNetConformer, width: int) -> None:
        super().__init__(ResNetBackbone(config.block, config.depths, config.width), config.frozen)
        self.pool = nn.AdaptiveAvgPool2d((1, config.pool_columns))
        self.project = nn.Linear(self.backbone.width_out * config.pool_columns, width)
        self.conformer = Conformer(width, config.conformer)
        self.register_buffer("pixel_mean", 255.0 * torch.tensor(_PIXEL_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", 255.0 * torch.tensor(_PIXEL_STD).view(3, 1, 1), persistent=False)

    def look(self, frames: Tensor) -> Tensor:
        # A view with the channels moved forward is stored channels-last, in which a CPU convolves 1.7 times faster.
        pictures = frames.flatten(0, 1).movedim(-1, 1).to(self.project.weight.dtype)
        pooled = self.pool(self.backbone((pictures - self.pixel_mean) / self.pixel_std))
        # The columns of each channel lie side by side.
        return pooled.flatten(1).unflatten(0, frames.shape[:2])

    def encode(self, embedding: Tensor, steps: int) -> Tensor:
        return self.conformer(resample_time(self.project(embedding), steps))


# Blocks of each stage: ResNet18 and 34; 50, 101 and 152.
_RESNETS = {"basic": ((2, 2, 2, 2), (3, 4, 6, 3)), "bottleneck": ((3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3))}


def _resnet(state: Mapping[str, Tensor]) -> ResNetBackbone:
    """The smallest published one that has all the blocks."""
    blocks = {tuple(map(int, key[len("layer") :].split(".")[:2])) for key in state if key.startswith("layer")}
    kind = "bottleneck" if "layer1.0.conv3.weight" in state else "basic"
    for depths in _RESNETS[kind]:
        if all(stage <= len(depths) and block < depths[stage - 1] for stage, block in blocks):
            break
    return ResNetBackbone(kind, depths, 64)


KINDS.register(
    WeightsKind(
        name="resnet",
        title="a torchvision ResNet (ImageNet)",
        marks=("conv1.weight", "layer1.0.conv1.weight"),
        rename=without("fc."),
        field="visual.weights",
        network=_resnet,
    )
)
