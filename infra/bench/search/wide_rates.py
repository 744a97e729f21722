"""The space whose learning curves are recorded: `quickstart`'s, for someone who does not know the rate yet.

The space itself offers only rates that had proven good, so that nearly all of its trials end alike and a search would
be judged by its luck.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from search_spaces.quickstart import QUICKSTART, suggest
from search_spaces.space import SearchSpace, Trial, source_identity
from trainables.config import TrialConfig

LOWEST, HIGHEST = 3e-4, 3e-2


class _WithAnyRate:
    """A trial that draws its rate from another range than it is asked for."""

    def __init__(self, trial: Trial, lowest: float, highest: float) -> None:
        self._trial, self._lowest, self._highest = trial, lowest, highest

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._trial.suggest_categorical(name, choices)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        return self._trial.suggest_int(name, low, high, step=step, log=log)

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        if name == "lr":
            low, high = self._lowest, self._highest
        return self._trial.suggest_float(name, low, high, step=step, log=log)


def with_rates(lowest: float, highest: float) -> SearchSpace:
    """`quickstart` with this range of rates."""

    def suggest_with_rates(trial: Trial) -> TrialConfig:
        return suggest(_WithAnyRate(trial, lowest, highest))

    return replace(QUICKSTART, name="curves", suggest=suggest_with_rates, identity=source_identity(__file__))
