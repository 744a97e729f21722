"""ACCDOA: one track."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from trainables.parts.outputs.contract import OUTPUTS, VectorOutput


@OUTPUTS.register
@dataclass(frozen=True, kw_only=True)
class Accdoa(VectorOutput):
    """One vector a class: at most one event of each class at a time (Shimada et al., 2021)."""

    name: ClassVar[str] = "accdoa"
    tracks: ClassVar[int] = 1
    axes: ClassVar[int] = 3

    def errors(self, tracks: Tensor, target: Tensor) -> Tensor:
        """Of the only track against the first event of each class, however many there are."""
        activity, rest = target[..., :1, :], target[..., 1 : 1 + self.axes, :]
        # A0, B0 and C0: the first event.
        first = (activity * rest)[:, :, (0, 1, 3)].sum(dim=2)
        return F.mse_loss(tracks.squeeze(2), first, reduction="none").mean(dim=2)
