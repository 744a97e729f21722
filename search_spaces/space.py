"""What a search space is: a define-by-run function, and the budget it is meant for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from data.errors import UserError
from data.fields import check_plain
from data.names import check_name
from data.registry.user_code import code_identity

if TYPE_CHECKING:  # torch comes with it, and the names of spaces need none
    from trainables.config import TrialConfig

PRESET, SEED = "preset", "seed"
"""Parameters of spaces whose points are presets."""


GROUPINGS = ("fusion", "visual", "audio", "schedule", "depth")
"""What trials can be told apart by; where nothing is said, the first in which they differ. Depth is the fusion's."""


def check_grouping(by: str) -> None:
    """UserError unless trials can be told apart by that."""
    if by not in GROUPINGS:
        raise UserError(f"--by {by!r} is not known; choose one of {', '.join(GROUPINGS)}")


class Trial(Protocol):
    """The part of `optuna.Trial` that spaces use."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int: ...


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """A named space with the budget, stopping rule and resources that suit its models.

    Raises:
        UserError: a name that is none, or numbers with which no sweep can run.
    """

    name: str
    summary: str
    suggest: Callable[[Trial], TrialConfig]
    first: tuple[dict[str, Any], ...] = ()
    """Points tried before the sampler decides; what a point leaves out is sampled."""
    only_first: bool = False
    """Those points are all there is: nothing is sampled after them."""
    sets_seed: bool = False
    """`training.seed` is the space's own, not the sweep's."""
    trials: int
    budget_s: float
    grace_epochs: int
    """Epochs before ASHA may stop a trial."""
    reduction: int
    """ASHA keeps one in this many at each rung, two or more."""
    cpus_per_worker: int = 1
    gpus_per_worker: float = 0.0
    identity: str = ""
    """Hash of what decides its points: a sweep goes on only with the very space that it was begun with."""
    decides: Mapping[str, Any] = field(default_factory=dict)
    """What the hash is of, by name, where it is known as values and not as code: what differs can be said then."""

    def __post_init__(self) -> None:
        check_plain(self, trials=1, grace_epochs=1, reduction=2, cpus_per_worker=1, gpus_per_worker=0)
        check_name(self.name, "name =")
        if self.budget_s <= 0:
            raise UserError(f"budget_s = {self.budget_s!r}: has to be more than 0")


def source_identity(path: str | Path) -> str:
    """Hash of a Python file's code; comments and layout do not count, nor do files that it imports.

    Raises:
        SyntaxError: it is no Python.
    """
    return code_identity(Path(path).read_text(encoding="utf-8"))
