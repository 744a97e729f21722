"""Embeddings side by side, then bidirectional GRU layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from trainables.checks import check_dropout, check_positive
from trainables.parts.fusions.contract import FUSIONS, Fusion, FusionModule, joined


@FUSIONS.register
@dataclass(frozen=True, kw_only=True)
class Gru(Fusion):
    """Audio and visual embeddings side by side, then bidirectional GRU layers."""

    name: ClassVar[str] = "gru"
    needs: ClassVar[tuple[str, ...]] = ("audio", "visual")
    recurrent: ClassVar[bool] = True
    layers: int = 2
    hidden: int = 256
    """Width of each direction."""
    dropout: float = 0.1

    def __post_init__(self) -> None:
        check_positive(self, "fusion", "layers", "hidden")
        check_dropout(self.dropout, "fusion")

    @property
    def depth(self) -> int:
        return self.layers

    def build(self, audio_width: int, visual_width: int) -> FusionModule:
        return GruFusion(self, audio_width + visual_width)


class GruFusion(FusionModule):
    def __init__(self, config: Gru, width: int) -> None:
        super().__init__()
        self.width_out = 2 * config.hidden
        self.gru = nn.GRU(
            width,
            config.hidden,
            config.layers,
            batch_first=True,
            bidirectional=True,
            dropout=config.dropout if config.layers > 1 else 0.0,
        )

    def forward(self, audio: Tensor | None, visual: Tensor | None) -> Tensor:
        return self.gru(joined(audio, visual))[0]
