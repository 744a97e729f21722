"""The ResNet and I3D side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from trainables.checks import check
from trainables.parts.visual.contract import VISUAL_ENCODERS, VisualEncoder
from trainables.parts.visual.i3d import I3d, I3dEncoder
from trainables.parts.visual.modules import Seen, VisualModule
from trainables.parts.visual.resnet_conformer import ResNetConformer, ResNetConformerEncoder


@VISUAL_ENCODERS.register
@dataclass(frozen=True, kw_only=True)
class ResNetAndI3d(VisualEncoder):
    """Both visual encoders side by side: an embedding twice as wide."""

    name: ClassVar[str] = "both"
    reads: ClassVar[str] = "frames"
    resnet: ResNetConformer = field(default_factory=ResNetConformer)
    i3d: I3d = field(default_factory=I3d)

    def __post_init__(self) -> None:
        check(
            (self.resnet.embeddings is None) == (self.i3d.embeddings is None),
            "visual.i3d.embeddings" if self.i3d.embeddings is None else "visual.resnet.embeddings",
            None,
            "both encoders see embeddings or neither does; name it too, or leave the other's out",
        )

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.resnet.columns + self.i3d.columns))

    def width_out(self, width: int) -> int:
        return 2 * width

    def members(self, path: str = "visual") -> Mapping[str, VisualEncoder]:
        return {f"{path}.resnet": self.resnet, f"{path}.i3d": self.i3d}

    def build(self, width: int) -> VisualModule:
        return ResNetAndI3dEncoder(self, width)


class ResNetAndI3dEncoder(VisualModule):
    """Both, side by side: (B, T, 2 * width)."""

    def __init__(self, config: ResNetAndI3d, width: int) -> None:
        super().__init__()
        self.resnet = ResNetConformerEncoder(config.resnet, width)
        self.i3d = I3dEncoder(config.i3d, width)

    def embed(self, seen: Seen) -> tuple[Tensor, Tensor]:
        resnet, i3d = seen if isinstance(seen, tuple) else (seen, seen)
        return self.resnet.embed(resnet), self.i3d.embed(i3d)

    def encode(self, embedding: tuple[Tensor, Tensor], steps: int) -> Tensor:
        return torch.cat((self.resnet.encode(embedding[0], steps), self.i3d.encode(embedding[1], steps)), dim=-1)
