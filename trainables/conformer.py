"""Conformer: feed-forward, self-attention, convolution, feed-forward (Gulati et al., 2020).

Parameter names are those of `torchaudio.models.Conformer`, and so are the outputs in evaluation mode; attention is
fused and the layout stays (B, T, D) throughout.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.config import ConformerConfig


class SelfAttention(nn.Module):
    """Multi-head attention with fused softmax; parameter names of `torch.nn.MultiheadAttention`.

    `forward(query)` attends to itself, `forward(query, context)` to the context; (B, T, D) -> (B, T, D).
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, query: Tensor, context: Tensor | None = None) -> Tensor:
        width = query.shape[-1]
        if context is None:
            q, k, v = F.linear(query, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        else:
            q = F.linear(query, self.in_proj_weight[:width], self.in_proj_bias[:width])
            k, v = F.linear(context, self.in_proj_weight[width:], self.in_proj_bias[width:]).chunk(2, dim=-1)
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (q, k, v))
        attended = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        return self.out_proj(attended.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Norm, linear, SiLU, linear, each followed by dropout; (B, T, D) -> (B, T, D)."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.sequential = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, hidden),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, width),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.sequential(x)


class Convolution(nn.Module):
    """Norm, pointwise and gate, depthwise over time, batch norm, SiLU, pointwise; (B, T, D) -> (B, T, D)."""

    def __init__(self, width: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(width)
        self.sequential = nn.Sequential(
            nn.Conv1d(width, 2 * width, 1),
            nn.GLU(dim=1),
            nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width),
            nn.BatchNorm1d(width),
            nn.SiLU(),
            nn.Conv1d(width, width, 1),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.sequential(self.layer_norm(x).transpose(1, 2)).transpose(1, 2)


class ConformerLayer(nn.Module):
    """One Conformer block; (B, T, D) -> (B, T, D)."""

    def __init__(self, width: int, config: ConformerConfig) -> None:
        super().__init__()
        self.ffn1 = FeedForward(width, config.feed_forward, config.dropout)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.self_attn = SelfAttention(width, config.heads, config.dropout)
        self.self_attn_dropout = nn.Dropout(config.dropout)
        self.conv_module = Convolution(width, config.kernel, config.dropout)
        self.ffn2 = FeedForward(width, config.feed_forward, config.dropout)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + 0.5 * self.ffn1(x)
        x = x + self.self_attn_dropout(self.self_attn(self.self_attn_layer_norm(x)))
        x = x + self.conv_module(x)
        x = x + 0.5 * self.ffn2(x)
        return self.final_layer_norm(x)


class Conformer(nn.Module):
    """A stack of Conformer blocks; (B, T, width) -> (B, T, width). Every frame is valid: windows have one length."""

    def __init__(self, width: int, config: ConformerConfig) -> None:
        super().__init__()
        self.conformer_layers = nn.ModuleList(ConformerLayer(width, config) for _ in range(config.layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.conformer_layers:
            x = layer(x)
        return x
