"""Muon for matrices and convolutions, AdamW for the rest.

Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024): the momentum of a matrix is made
orthogonal before it is added, so that every direction of it learns alike. A convolution is the matrix from the inputs
of a place to its outputs. A step is scaled to the size of AdamW's (Liu et al., "Muon is scalable for LLM training",
2025, section 2.2), so that both learn at rates of one order.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from trainables.checks import check, check_positive
from trainables.parts.optimisers.contract import OPTIMISERS, Optimiser, Steps


@OPTIMISERS.register
@dataclass(frozen=True, kw_only=True)
class Muon(Optimiser):
    """Muon for every weight with two dimensions or more, AdamW for norms and biases."""

    name: ClassVar[str] = "muon"
    lr: float = 3e-3
    """Of matrices and convolutions."""
    rest_factor: float = 1 / 3
    """Of AdamW's rate to `lr`."""
    momentum: float = 0.95
    weight_decay: float = 0.01
    """Decoupled, of both."""

    def __post_init__(self) -> None:
        check_positive(self, "optimiser", "lr", "rest_factor")
        check(0.0 <= self.momentum < 1.0, "optimiser.momentum", self.momentum, "has to be in [0, 1)")
        check(self.weight_decay >= 0, "optimiser.weight_decay", self.weight_decay, "has to be 0 or more")

    @property
    def rates(self) -> tuple[float, ...]:
        return self.lr, self.lr * self.rest_factor

    def build(self, parameters: Iterable[nn.Parameter]) -> Steps:
        weights = list(parameters)
        # Groups, since torch refuses an empty list of weights, which either may be.
        matrices = [{"params": [weight for weight in weights if weight.ndim >= 2]}]
        rest = [{"params": [weight for weight in weights if weight.ndim < 2]}]
        rate, of_rest = self.rates
        decay = self.weight_decay
        return MuonAndAdamW(
            Matrices(matrices, lr=rate, momentum=self.momentum, weight_decay=decay),
            torch.optim.AdamW(rest, lr=of_rest, weight_decay=decay, fused=True),
        )

    def kept(self, weights: int, matrices: int) -> int:
        return matrices + 2 * (weights - matrices)


class MuonAndAdamW:
    """Two optimisers that step together."""

    def __init__(self, muon: Matrices, adamw: torch.optim.AdamW) -> None:
        self._parts: dict[str, torch.optim.Optimizer] = {"muon": muon, "adamw": adamw}

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for part in self._parts.values() for group in part.param_groups]

    def step(self) -> None:
        for part in self._parts.values():
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self._parts.values():
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, part in self._parts.items():
            part.load_state_dict(state[name])


class Matrices(torch.optim.Optimizer):
    """Muon with Nesterov's momentum, as `torch.optim.Muon(adjust_lr_fn="match_rms_adamw")` defines it.

    Torch's orthogonalises one matrix after another in bfloat16, which processors without a unit for it only imitate: a
    step then costs more than forward and backward together. Here matrices of one shape go together, and on a CPU in
    float32, and convolutions with them.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, momentum: float, weight_decay: float) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            rate, momentum = group["lr"], group["momentum"]
            by_shape: dict[torch.Size, list[tuple[nn.Parameter, Tensor]]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(weight.grad)
                buffer = state["momentum_buffer"].lerp_(weight.grad, 1 - momentum)
                update = weight.grad.lerp(buffer, momentum).flatten(1)
                by_shape[update.shape].append((weight, update))
            for shape, entries in by_shape.items():
                updates = orthogonal(torch.stack([update for _, update in entries]))
                for (weight, _), update in zip(entries, updates, strict=True):
                    weight.mul_(1 - rate * group["weight_decay"])
                    weight.add_(update.view_as(weight), alpha=-rate * 0.2 * math.sqrt(max(shape)))


def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices (n, a, b) with all singular values near 1, by five steps of Newton and Schulz.

    The polynomial is Jordan's, whose slope at zero is so steep that values end between about 0.7 and 1.2.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices if matrices.device.type == "cpu" else matrices.bfloat16()
    x = x.mT if tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    a, b, c = 3.4445, -4.7750, 2.0315
    for _ in range(5):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)
