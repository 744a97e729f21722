"""Late fusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from trainables.parts.fusions.contract import FUSIONS, Fusion, FusionModule, joined


@FUSIONS.register
@dataclass(frozen=True, kw_only=True)
class Concatenation(Fusion):
    """Audio and visual embeddings side by side, straight into the head (late fusion)."""

    name: ClassVar[str] = "concat"
    needs: ClassVar[tuple[str, ...]] = ("audio", "visual")

    @property
    def depth(self) -> int:
        return 0

    def build(self, audio_width: int, visual_width: int) -> FusionModule:
        return ConcatenationFusion(audio_width + visual_width)


class ConcatenationFusion(FusionModule):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.width_out = width

    def forward(self, audio: Tensor | None, visual: Tensor | None) -> Tensor:
        return joined(audio, visual)
