"""Audio and visual embeddings (B, T, width) to one sequence (B, T, width_out). `FUSION_MODULES` maps config names."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.config import (
    AudioOnly,
    AvConformer,
    Cmaf,
    Concatenation,
    CrossAttention,
    Gru,
    TrialConfig,
    VisualOnly,
)
from trainables.layers.conformer import Conformer, SelfAttention


class FusionModule(nn.Module):
    """What every fusion is: built from its config and the two embeddings' widths, `width_out` wide at the end."""

    width_out: int

    def forward(self, audio: Tensor | None, visual: Tensor | None) -> Tensor:
        """(B, T, width) each, as far as the model hears and sees -> (B, T, width_out)."""
        raise NotImplementedError


class ConformerFusion(FusionModule):
    """A Conformer over time on the embeddings that there are, side by side."""

    def __init__(self, config: AudioOnly | VisualOnly | AvConformer, audio_width: int, visual_width: int) -> None:
        super().__init__()
        widths = {"audio": audio_width, "visual": visual_width}
        self.width_out = sum(widths[modality] for modality in config.needs)
        self.conformer = Conformer(self.width_out, config.conformer)

    def forward(self, audio: Tensor | None, visual: Tensor | None) -> Tensor:
        return self.conformer(_joined(audio, visual))


class GruFusion(FusionModule):
    """Both embeddings side by side, bidirectional GRU layers."""

    def __init__(self, config: Gru, audio_width: int, visual_width: int) -> None:
        super().__init__()
        self.width_out = 2 * config.hidden
        dropout = config.dropout if config.layers > 1 else 0.0
        self.gru = nn.GRU(
            audio_width + visual_width,
            config.hidden,
            config.layers,
            batch_first=True,
            bidirectional=True,
            dropout=dropout,
        )

    def forward(self, audio: Tensor | None, visual: Tensor | None) -> Tensor:
        return self.gru(_joined(audio, visual))[0]


class ConcatenationFusion(FusionModule):
    """Both embeddings side by side, nothing after."""

    def __init__(self, config: Concatenation, audio_width: int, visual_width: int) -> None:
        super().__init__()
        self.width_out = audio_width + visual_width

    def forward(self, audio: Tensor | None, visual: Tensor | None) -> Tensor:
        return _joined(audio, visual)


class CrossModalLayer(nn.Module):
    """Attention to the other modality, and with CMAF to itself beside it, added to the input; then a feed-forward."""

    def __init__(self, config: CrossAttention, width: int) -> None:
        super().__init__()
        self.positional_encoding = config.positional_encoding
        self.dropout = nn.Dropout(config.dropout)
        self.self_attention = SelfAttention(width, config.heads, config.dropout) if isinstance(config, Cmaf) else None
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
        return _joined(audio, visual)


def _joined(*embeddings: Tensor | None) -> Tensor:
    there = [embedding for embedding in embeddings if embedding is not None]
    return there[0] if len(there) == 1 else torch.cat(there, dim=-1)


def sinusoids(steps: int, width: int, device: torch.device) -> Tensor:
    """Sine on even, cosine on odd channels, (steps, width) (Vaswani et al., 2017, section 3.5)."""
    position = torch.arange(steps, device=device).unsqueeze(1)
    rate = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10_000.0) / width))
    angle = position * rate
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)[:, :width]


FUSION_MODULES: dict[str, Callable[[Any, int, int], FusionModule]] = {
    AudioOnly.name: ConformerFusion,
    VisualOnly.name: ConformerFusion,
    AvConformer.name: ConformerFusion,
    Cmaf.name: CrossModalFusion,
    CrossAttention.name: CrossModalFusion,
    Gru.name: GruFusion,
    Concatenation.name: ConcatenationFusion,
}


def build_fusion(config: TrialConfig) -> FusionModule:
    """The fusion that `config.fusion` names."""
    return FUSION_MODULES[config.fusion.name](config.fusion, config.width, config.visual_width)
