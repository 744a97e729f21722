"""The embeddings that a model has side by side, then a Conformer: of both modalities here, of one in its children."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from torch import Tensor

from trainables.layers.conformer import NO_LAYERS, Conformer, ConformerConfig
from trainables.parts.audio import AudioEncoder
from trainables.parts.fusions.contract import FUSIONS, Fusion, FusionModule, check_conformer, joined
from trainables.parts.visual import VisualEncoder


@FUSIONS.register
@dataclass(frozen=True, kw_only=True)
class AvConformer(Fusion):
    """Audio and visual embeddings side by side, then a Conformer."""

    name: ClassVar[str] = "av_conformer"
    needs: ClassVar[tuple[str, ...]] = ("audio", "visual")
    conformer: ConformerConfig = field(default_factory=ConformerConfig)

    @property
    def depth(self) -> int:
        return self.conformer.layers

    def check(self, audio: AudioEncoder, visual: VisualEncoder) -> None:
        check_conformer(self.conformer, self, audio, visual)

    def bare(self) -> tuple[Self, ConformerConfig]:
        return replace(self, conformer=NO_LAYERS), self.conformer

    def build(self, audio_width: int, visual_width: int) -> FusionModule:
        return ConformerFusion(audio_width + visual_width, self.conformer)


class ConformerFusion(FusionModule):
    """A Conformer over time on the embeddings that there are, side by side."""

    def __init__(self, width: int, conformer: ConformerConfig) -> None:
        super().__init__()
        self.width_out = width
        self.conformer = Conformer(width, conformer)

    def forward(self, audio: Tensor | None, visual: Tensor | None) -> Tensor:
        return self.conformer(joined(audio, visual))
