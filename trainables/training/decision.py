"""What a trial is told after a report.

Imports next to nothing, since the process that passes decisions on (`infra.search.board`) has to import this.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class TakeOver:
    """Go on from the state of another trial, which has the same model and is trained better."""

    donor: int
    """Number of that trial."""
    donor_epoch: int
    """Which of its checkpoints."""
    changes: dict[str, dict[str, Any]]
    """Whole parts of the config (`optimiser`, `schedule`), nested, that the trial goes on with in place of its own."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Go on, stop here, or go on from elsewhere."""

    go_on: bool = True
    take_over: TakeOver | None = None
    why: str = field(default="", compare=False)
    """Of a stop, for people."""
    chance: float | None = field(default=None, compare=False)
    """Of a stop: that the trial would have become the best, where the rule reckons with it."""


GO_ON, STOP = Decision(), Decision(go_on=False)
