"""From the fused sequence to the output format."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from trainables.checks import check, check_positive
from trainables.parts.outputs import Output


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """Two fully connected layers to the output format."""

    hidden: int = 128
    activation: str = "relu"
    """Between the two layers: `relu`, or `none` as in the authors' release."""

    def __post_init__(self) -> None:
        check_positive(self, "head", "hidden")
        check(self.activation in ("relu", "none"), "head.activation", self.activation, "choose relu or none")


class Head(nn.Module):
    """Two linear layers: (B, T, D) -> (B, T, output width), vectors in (-1, 1)."""

    def __init__(self, width: int, config: HeadConfig, form: Output, num_classes: int) -> None:
        super().__init__()
        self.form = form
        self.activation = F.relu if config.activation == "relu" else nn.Identity()
        self.hidden = nn.Linear(width, config.hidden)
        self.out = nn.Linear(config.hidden, form.width(num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.form.activate(self.out(self.activation(self.hidden(x))))
