"""What an optimiser is, and the registry of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable

import torch
from torch import nn

from data.registry.parts import Registry
from trainables.parts.contract import Part


class Optimiser(Part):
    """How a step changes the weights; register with `@OPTIMISERS.register`."""

    lr: float
    """The base rate, which the schedule multiplies before each step."""

    @abstractmethod
    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Torch's own for these weights, or one like it; its state has to be tensors and plain values."""


OPTIMISERS: Registry[type[Optimiser]] = Registry("optimiser", Optimiser, order=("adam", "adamw"))
