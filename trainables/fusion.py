"""Audio and visual embeddings (B, T, width) to one sequence (B, T, width_out). `FUSION_MODULES` maps config names."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.config import AudioOnly, AvConformer, Cmaf, Gru, TrialConfig
from trainables.conformer import Conformer, SelfAttention


class FusionModule(nn.Module):
    """What every fusion is: built from its config and the embeddings' width, `width_out` wide at the end."""

    width_out: int

    def forward(self, audio: Tensor, visual: Tensor | None) -> Tensor:
        """(B, T, width) each, the visual one only where the model has a visual encoder -> (B, T, width_out)."""
        raise NotImplementedError


class AudioOnlyFusion(FusionModule):
    """A second Conformer on the audio embedding; `visual` is ignored."""

    def __init__(self, config: AudioOnly, width: int) -> None:
        super().__init__()
        self.width_out = width
        self.conformer = Conformer(width, config.conformer)

    def forward(self, audio: Tensor, visual: Tensor | None) -> Tensor:
        return self.conformer(audio)


class AvConformerFusion(FusionModule):
    """Both embeddings side by side, a Conformer over time."""

    def __init__(self, config: AvConformer, width: int) -> None:
        super().__init__()
        self.width_out = 2 * width
        self.conformer = Conformer(self.width_out, config.conformer)

    def forward(self, audio: Tensor, visual: Tensor | None) -> Tensor:
        assert visual is not None
        return self.conformer(torch.cat((audio, visual), dim=-1))


class GruFusion(FusionModule):
    """Both embeddings side by side, bidirectional GRU layers."""

    def __init__(self, config: Gru, width: int) -> None:
        super().__init__()
        self.width_out = 2 * config.hidden
        dropout = config.dropout if config.layers > 1 else 0.0
        self.gru = nn.GRU(
            2 * width, config.hidden, config.layers, batch_first=True, bidirectional=True, dropout=dropout
        )

    def forward(self, audio: Tensor, visual: Tensor | None) -> Tensor:
        assert visual is not None
        return self.gru(torch.cat((audio, visual), dim=-1))[0]


class CmafLayer(nn.Module):
    """Self-attention and attention to the other modality, both added to the input, then a feed-forward."""

    def __init__(self, config: Cmaf, width: int) -> None:
        super().__init__()
        self.positional_encoding = config.positional_encoding
        self.dropout = nn.Dropout(config.dropout)
        self.self_attention = SelfAttention(width, config.heads, config.dropout)
        self.cross_attention = SelfAttention(width, config.heads, config.dropout)
        self.linear1 = nn.Linear(width, config.feed_forward)
        self.linear2 = nn.Linear(config.feed_forward, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        if self.positional_encoding:
            encoding = sinusoids(x.shape[1], x.shape[2], x.device)
            x, other = self.dropout(x + encoding), self.dropout(other + encoding)
        x = self.norm1(x + self.self_attention(x) + self.cross_attention(x, other))
        return self.norm2(x + self.dropout(self.linear2(self.dropout(F.relu(self.linear1(x))))))


class CmafFusion(FusionModule):
    """Cross-modal attentive fusion: layers for each modality that read the other, joined at the end."""

    def __init__(self, config: Cmaf, width: int) -> None:
        super().__init__()
        self.width_out = 2 * width
        self.sequential = config.sequential
        self.audio_layers = nn.ModuleList(CmafLayer(config, width) for _ in range(config.layers))
        self.visual_layers = nn.ModuleList(CmafLayer(config, width) for _ in range(config.layers))

    def forward(self, audio: Tensor, visual: Tensor | None) -> Tensor:
        assert visual is not None
        for audio_layer, visual_layer in zip(self.audio_layers, self.visual_layers, strict=True):
            heard = audio_layer(audio, visual)
            visual = visual_layer(visual, heard if self.sequential else audio)
            audio = heard
        return torch.cat((audio, visual), dim=-1)


def sinusoids(steps: int, width: int, device: torch.device) -> Tensor:
    """Sine on even, cosine on odd channels, (steps, width) (Vaswani et al., 2017, section 3.5)."""
    position = torch.arange(steps, device=device).unsqueeze(1)
    rate = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10_000.0) / width))
    angle = position * rate
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)[:, :width]


FUSION_MODULES: dict[str, Callable[[Any, int], FusionModule]] = {
    AudioOnly.name: AudioOnlyFusion,
    AvConformer.name: AvConformerFusion,
    Cmaf.name: CmafFusion,
    Gru.name: GruFusion,
}


def build_fusion(config: TrialConfig) -> FusionModule:
    """The fusion that `config.fusion` names."""
    return FUSION_MODULES[config.fusion.name](config.fusion, config.width)
