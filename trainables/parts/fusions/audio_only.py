"""No fusion: sound alone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from trainables.layers.conformer import NO_LAYERS, ConformerConfig
from trainables.parts.audio import AudioEncoder
from trainables.parts.fusions.av_conformer import ConformerFusion
from trainables.parts.fusions.contract import FUSIONS, Fusion, FusionModule, check_conformer
from trainables.parts.visual import VisualEncoder


@FUSIONS.register
@dataclass(frozen=True, kw_only=True)
class AudioOnly(Fusion):
    """No fusion: a second Conformer on the audio embedding, so that depths match the audio-visual models."""

    name: ClassVar[str] = "audio_only"
    needs: ClassVar[tuple[str, ...]] = ("audio",)
    conformer: ConformerConfig = field(default_factory=ConformerConfig)

    @property
    def depth(self) -> int:
        return self.conformer.layers

    def check(self, audio: AudioEncoder, visual: VisualEncoder) -> None:
        check_conformer(self.conformer, self, audio, visual)

    def bare(self) -> tuple[Self, ConformerConfig]:
        return replace(self, conformer=NO_LAYERS), self.conformer

    def build(self, audio_width: int, visual_width: int) -> FusionModule:
        return ConformerFusion(audio_width, self.conformer)
