"""ACCDOA: one track."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from data.classes import NUM_CLASSES
from trainables.checks import check_positive, later
from trainables.parts.outputs.contract import OUTPUTS, Output, mean_over_valid, stretched


@OUTPUTS.register
@dataclass(frozen=True, kw_only=True)
class Accdoa(Output):
    """One vector a class: at most one event of each class at a time (Shimada et al., 2021)."""

    name: ClassVar[str] = "accdoa"
    tracks: ClassVar[int] = 1
    axes: ClassVar[int] = 3
    vertical_weight: float = later(1.0)
    """How much more than the other two axes z counts in the loss: 1 as published."""

    def __post_init__(self) -> None:
        check_positive(self, "output", "vertical_weight")

    def loss(self, output: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
        output, target = stretched(output, target, self.axes, self.vertical_weight)
        return accdoa_loss(output, target, valid)


def accdoa_loss(output: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean squared error of the only track against the first event of each class; arguments of
    `Output.loss`."""
    vectors = output.unflatten(-1, (1, -1, NUM_CLASSES)).float().squeeze(-3)
    activity, rest = target.float()[..., :1, :], target.float()[..., 1 : 1 + vectors.shape[-2], :]
    # A0, B0 and C0: the first event, of however many.
    first = (activity * rest)[:, :, (0, 1, 3)].sum(dim=2)
    return mean_over_valid(F.mse_loss(vectors, first, reduction="none").mean(dim=(2, 3)), valid)
