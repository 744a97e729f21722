"""What a fusion is, and the registry of them."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from data.registry.parts import Registry
from trainables.checks import check_heads, later
from trainables.layers.conformer import ConformerConfig
from trainables.parts.audio import AudioEncoder
from trainables.parts.contract import Part
from trainables.parts.visual import VisualEncoder


class FusionModule(nn.Module):
    """The network of a fusion; `width_out` wide at its end."""

    width_out: int

    def forward(self, audio: Tensor | None, visual: Tensor | None) -> Tensor:
        """(B, T, width) each, as far as the model hears and sees -> (B, T, width_out)."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Fusion(Part):
    """How a model joins what it hears and what it sees; register with `@FUSIONS.register`."""

    visual_gate: bool = later(False)
    """Where there is sound too: multiply the visual embedding by a learnt number that starts at zero, so that the model
    first learns to hear, and opens for pictures as far as they help."""
    closed: str | None = later(None)
    """`eyes` or `ears`: that embedding is zero from the first step, and its encoder neither runs nor learns. The rest
    is the same network: a control of what pictures, or sound, are worth to it."""
    needs: ClassVar[tuple[str, ...]]
    """Which embeddings it takes: "audio", "visual", or both. A trial has exactly these encoders."""
    recurrent: ClassVar[bool] = False
    """It goes over time step by step, each alike: an estimate then measures two short lengths instead of all steps."""

    @property
    @abstractmethod
    def depth(self) -> int:
        """Layers between the embeddings and the head, for tables."""

    @abstractmethod
    def build(self, audio_width: int, visual_width: int) -> FusionModule:
        """Its network with random weights, for embeddings so wide; 0 stands for those that it does not take.

        Pure torch: it reads no files, and knows of no device."""

    def check(self, audio: AudioEncoder, visual: VisualEncoder) -> None:
        """Raise UserError where it cannot stand behind these encoders; the message names the field to change."""

    def one_layer(self) -> tuple[Self, int]:
        """A fusion with one of its equal layers, and how many there are, for estimates; (itself, 1): not so built."""
        return self, 1


def joined(*embeddings: Tensor | None) -> Tensor:
    """Those that there are side by side, (B, T, sum of their widths)."""
    there = [embedding for embedding in embeddings if embedding is not None]
    return there[0] if len(there) == 1 else torch.cat(there, dim=-1)


def check_conformer(conformer: ConformerConfig, fusion: Fusion, audio: AudioEncoder, visual: VisualEncoder) -> None:
    """UserError where the heads of a fusion's Conformer do not fit the width of the embeddings side by side."""
    widths = {"audio": audio.width, "visual": visual.width_out(audio.width)}
    width = sum(widths[modality] for modality in fusion.needs)
    check_heads("fusion.conformer", conformer.heads, width, f"audio.{audio.width_field}")


FUSIONS: Registry[type[Fusion]] = Registry(
    "fusion",
    Fusion,
    order=("audio_only", "visual_only", "av_conformer", "cmaf", "cross_attention", "gru", "concat"),
)
