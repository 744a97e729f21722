"""AdamW."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from trainables.parts.optimisers.adam import Adam
from trainables.parts.optimisers.contract import OPTIMISERS, Steps


@OPTIMISERS.register
@dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    """Adam with decoupled weight decay."""

    name: ClassVar[str] = "adamw"
    weight_decay: float = 0.01

    def build(self, parameters: Iterable[nn.Parameter]) -> Steps:
        return torch.optim.AdamW(parameters, lr=self.lr, weight_decay=self.weight_decay, fused=True)
