"""Each modality attends to the other, layer by layer; with self-attention beside it, the same is CMAF."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.checks import check, check_dropout, check_heads, check_positive
from trainables.layers.conformer import SelfAttention
from trainables.parts.audio import AudioEncoder
from trainables.parts.fusions.contract import FUSIONS, Fusion, FusionModule, joined
from trainables.parts.visual import VisualEncoder


@FUSIONS.register
@dataclass(frozen=True, kw_only=True)
class CrossAttention(Fusion):
    """Layers in which each modality attends to the other, without self-attention."""

    name: ClassVar[str] = "cross_attention"
    needs: ClassVar[tuple[str, ...]] = ("audio", "visual")
    attends_to_itself: ClassVar[bool] = False
    layers: int = 4
    heads: int = 8
    feed_forward: int = 2048
    dropout: float = 0.1
    sequential: bool = False
    """As in the authors' release: the visual branch of a layer attends to the audio branch's fresh output. The paper
    describes, and the default does, both branches at once."""
    positional_encoding: bool = False
    """Add sinusoids to both inputs of every layer, as the authors' release does."""

    def __post_init__(self) -> None:
        check_positive(self, "fusion", "layers", "heads", "feed_forward")
        check_dropout(self.dropout, "fusion")

    @property
    def depth(self) -> int:
        return self.layers

    def check(self, audio: AudioEncoder, visual: VisualEncoder) -> None:
        visual_width = visual.width_out(audio.width)
        check(
            visual_width == audio.width,
            "fusion.name",
            self.name,
            f"attends between embeddings of one width, but visual.name = {visual.name!r} gives {visual_width} beside "
            f"the audio's {audio.width}; choose one visual encoder, or a fusion that joins them (av_conformer, gru, "
            "concat)",
        )
        check_heads("fusion", self.heads, audio.width, f"audio.{audio.width_field}")

    def one_layer(self) -> tuple[Self, int]:
        return replace(self, layers=1), self.layers

    def build(self, audio_width: int, visual_width: int) -> FusionModule:
        return CrossModalFusion(self, audio_width, visual_width)


class CrossModalLayer(nn.Module):
    """Attention to the other modality, and with CMAF to itself beside it, added to the input; then a feed-forward."""

    def __init__(self, config: CrossAttention, width: int) -> None:
        super().__init__()
        self.positional_encoding = config.positional_encoding
        self.dropout = nn.Dropout(config.dropout)
        self.self_attention = SelfAttention(width, config.heads, config.dropout) if config.attends_to_itself else None
        self.cross_attention = SelfAttention(width, config.heads, config.dropout)
        self.linear1 = nn.Linear(width, config.feed_forward)
        self.linear2 = nn.Linear(config.feed_forward, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        if self.positional_encoding:
            encoding = sinusoids(x.shape[1], x.shape[2], x.device)
            x, other = self.dropout(x + encoding), self.dropout(other + encoding)
        attended = self.cross_attention(x, other)
        if self.self_attention is not None:
            attended = self.self_attention(x) + attended
        x = self.norm1(x + attended)
        return self.norm2(x + self.dropout(self.linear2(self.dropout(F.relu(self.linear1(x))))))


class CrossModalFusion(FusionModule):
    """Layers for each modality that read the other, joined at the end: cross-attention alone, or CMAF."""

    def __init__(self, config: CrossAttention, audio_width: int, visual_width: int) -> None:
        super().__init__()
        self.width_out = audio_width + visual_width
        self.sequential = config.sequential
        self.audio_layers = nn.ModuleList(CrossModalLayer(config, audio_width) for _ in range(config.layers))
        self.visual_layers = nn.ModuleList(CrossModalLayer(config, visual_width) for _ in range(config.layers))

    def forward(self, audio: Tensor | None, visual: Tensor | None) -> Tensor:
        assert audio is not None
        assert visual is not None
        for audio_layer, visual_layer in zip(self.audio_layers, self.visual_layers, strict=True):
            heard = audio_layer(audio, visual)
            visual = visual_layer(visual, heard if self.sequential else audio)
            audio = heard
        return joined(audio, visual)


def sinusoids(steps: int, width: int, device: torch.device) -> Tensor:
    """Sine on even, cosine on odd channels, (steps, width) (Vaswani et al., 2017, section 3.5)."""
    position = torch.arange(steps, device=device).unsqueeze(1)
    rate = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10_000.0) / width))
    angle = position * rate
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)[:, :width]
