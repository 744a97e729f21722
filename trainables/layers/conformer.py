"""Conformer: feed-forward, self-attention, convolution, feed-forward (Gulati et al., 2020).

Parameter names are those of `torchaudio.models.Conformer`, and so are the outputs in evaluation mode; attention is
fused, and the layout stays (B, T, D) but for the convolution over time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.checks import check, check_dropout, check_positive

MAX_RELATIVE_LABELS = 64
"""Label frames from which on a relative position makes no difference any more."""


@dataclass(frozen=True, kw_only=True)
class ConformerConfig:
    """A stack of Conformer layers (Gulati et al., 2020)."""

    layers: int = 4
    """None at all leaves its input as it is."""
    heads: int = 8
    feed_forward: int = 1024
    """Hidden width of the two feed-forward modules."""
    kernel: int = 51
    """Length of the depthwise convolution in label frames."""
    dropout: float = 0.1
    relative_position: bool = False
    """Add a learned bias for each head and distance in time to the attention."""

    def __post_init__(self) -> None:
        check(self.layers >= 0, "conformer.layers", self.layers, "has to be 0 or more")
        check_positive(self, "conformer", "heads", "feed_forward")
        check(self.kernel > 0 and self.kernel % 2 == 1, "conformer.kernel", self.kernel, "has to be odd")
        check_dropout(self.dropout, "conformer")


NO_LAYERS = ConformerConfig(layers=0)


class Dropout(nn.Dropout):
    """Dropout whose masks cost a CPU a third: 16 random bits for each element, four elements from one random number.

    The share that is dropped is `p` to the nearest 1 / 65,536.
    """

    def forward(self, x: Tensor) -> Tensor:
        # A compiled model draws its masks inside its own kernels.
        elsewhere = x.device.type != "cpu" or torch.compiler.is_compiling()
        if elsewhere or not self.training or not 0.0 < self.p < 1.0:
            return super().forward(x)
        dropped = min(round(self.p * 2**16), 2**16 - 1)
        bits = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), 2**63 - 1)
        kept = bits.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - 2**15
        return x * kept.to(x.dtype).mul_(2**16 / (2**16 - dropped))


class SelfAttention(nn.Module):
    """Multi-head attention with fused softmax; parameter names of `torch.nn.MultiheadAttention`.

    `forward(query)` attends to itself, `forward(query, context)` to the context; (B, T, D) -> (B, T, D).

    Args:
        relative_position: add a learned bias for each head and distance in labels to the attention logits (Raffel et
            al., "Exploring the limits of transfer learning", 2020, section 2.1; clipped as in Shaw et al., 2018). It
            starts at zero, where attention is what it is without; there is no such parameter when off.
    """

    def __init__(self, width: int, heads: int, dropout: float, relative_position: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)
        self.relative_bias = (
            nn.Parameter(torch.zeros(heads, 2 * MAX_RELATIVE_LABELS + 1)) if relative_position else None
        )

    def forward(self, query: Tensor, context: Tensor | None = None) -> Tensor:
        width = query.shape[-1]
        if context is None:
            q, k, v = F.linear(query, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        else:
            q = F.linear(query, self.in_proj_weight[:width], self.in_proj_bias[:width])
            k, v = F.linear(context, self.in_proj_weight[width:], self.in_proj_bias[width:]).chunk(2, dim=-1)
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (q, k, v))
        bias = None if self.relative_bias is None else self._bias(self.relative_bias, q, k)
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
        return self.out_proj(attended.transpose(1, 2).flatten(2))

    @staticmethod
    def _bias(table: Tensor, query: Tensor, key: Tensor) -> Tensor:
        """Table (heads, distances); queries, keys (B, heads, T, D) -> what is added to the logits (1, heads, T, T)."""
        from_label, to_label = (torch.arange(x.shape[-2], device=table.device) for x in (query, key))
        distance = (to_label - from_label[:, None]).clamp(-MAX_RELATIVE_LABELS, MAX_RELATIVE_LABELS)
        return table[:, distance + MAX_RELATIVE_LABELS].unsqueeze(0).to(query.dtype)


class FeedForward(nn.Module):
    """Norm, linear, SiLU, linear, each followed by dropout; (B, T, D) -> (B, T, D)."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.sequential = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, hidden),
            nn.SiLU(),
            Dropout(dropout),
            nn.Linear(hidden, width),
            Dropout(dropout),
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
            Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        pointwise_in, _, depthwise, norm, activation, pointwise_out, dropout = self.sequential
        x = F.glu(_pointwise(pointwise_in, self.layer_norm(x)), dim=-1)
        x = activation(norm(depthwise(x.transpose(1, 2)))).transpose(1, 2)
        return dropout(_pointwise(pointwise_out, x))


def _pointwise(convolution: nn.Module, x: Tensor) -> Tensor:
    """A convolution of length one on (B, T, D), as the matrix product that it is: no copy into (B, D, T)."""
    assert isinstance(convolution, nn.Conv1d)
    return F.linear(x, convolution.weight.squeeze(-1), convolution.bias)


class ConformerLayer(nn.Module):
    """One Conformer block; (B, T, D) -> (B, T, D)."""

    def __init__(self, width: int, config: ConformerConfig) -> None:
        super().__init__()
        self.ffn1 = FeedForward(width, config.feed_forward, config.dropout)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.self_attn = SelfAttention(width, config.heads, config.dropout, config.relative_position)
        self.self_attn_dropout = Dropout(config.dropout)
        self.conv_module = Convolution(width, config.kernel, config.dropout)
        self.ffn2 = FeedForward(width, config.feed_forward, config.dropout)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.add(x, self.ffn1(x), alpha=0.5)
        x = x + self.self_attn_dropout(self.self_attn(self.self_attn_layer_norm(x)))
        x = x + self.conv_module(x)
        x = torch.add(x, self.ffn2(x), alpha=0.5)
        return self.final_layer_norm(x)


class Conformer(nn.Module):
    """A stack of Conformer blocks; (B, T, width) -> (B, T, width). All steps are valid: windows have one length."""

    def __init__(self, width: int, config: ConformerConfig) -> None:
        super().__init__()
        self.conformer_layers = nn.ModuleList(ConformerLayer(width, config) for _ in range(config.layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.conformer_layers:
            x = layer(x)
        return x
