"""What an optimiser is, and the registry of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, Protocol

from torch import nn

from data.registry.parts import Registry
from trainables.parts.contract import Part


class Steps(Protocol):
    """What training asks of an optimiser: `torch.optim.Optimizer`, or several of them as one."""

    @property
    def param_groups(self) -> list[dict[str, Any]]: ...

    def step(self) -> Any: ...

    def zero_grad(self, set_to_none: bool = True) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Optimiser(Part):
    """How a step changes the weights; register with `@OPTIMISERS.register`."""

    lr: float
    """The base rate, which the schedule multiplies before each step."""

    @property
    def rates(self) -> tuple[float, ...]:
        """Base rates of `build`'s groups of weights, `lr` first; the schedule multiplies them all."""
        return (self.lr,)

    @abstractmethod
    def build(self, parameters: Iterable[nn.Parameter]) -> Steps:
        """Torch's own for these weights, or one like it; its state has to be tensors and plain values."""

    def kept(self, weights: int, matrices: int) -> int:
        """Values that it keeps of so many weights, for estimates of memory; two of each where it does not say.

        Args:
            matrices: how many of the weights are in tensors of two dimensions or more.
        """
        return 2 * weights


OPTIMISERS: Registry[type[Optimiser]] = Registry("optimiser", Optimiser, order=("adam", "adamw", "muon"))
