"""What a search space is: a define-by-run function, and the budget it is meant for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from trainables.config import TrialConfig


class Trial(Protocol):
    """The part of `optuna.Trial` that spaces use."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...

    def suggest_int(self, name: str, low: int, high: int) -> int: ...


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """A named space with the budget, stopping rule and resources that suit its models."""

    name: str
    summary: str
    suggest: Callable[[Trial], TrialConfig]
    first: tuple[dict[str, Any], ...] = ()
    """Points tried before the sampler decides; what a point leaves out is sampled."""
    trials: int
    budget_s: float
    grace_epochs: int
    """Epochs before ASHA may stop a trial."""
    reduction: int
    """ASHA keeps one in this many at each rung."""
    cpus_per_worker: int = 1
    gpus_per_worker: float = 0.0
