"""Adam."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from trainables.checks import check, check_positive
from trainables.parts.optimisers.contract import OPTIMISERS, Optimiser, Steps


@OPTIMISERS.register
@dataclass(frozen=True, kw_only=True)
class Adam(Optimiser):
    """Adam; the paper's optimiser."""

    name: ClassVar[str] = "adam"
    lr: float = 5e-4
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_positive(self, "optimiser", "lr")
        check(self.weight_decay >= 0, "optimiser.weight_decay", self.weight_decay, "has to be 0 or more")

    def build(self, parameters: Iterable[nn.Parameter]) -> Steps:
        return torch.optim.Adam(parameters, lr=self.lr, weight_decay=self.weight_decay, fused=True)
