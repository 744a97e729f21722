"""What an objective is, the registry of them, and what a sweep does with several."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from data.errors import UserError
from data.names import near
from data.registry.parts import OWN, Registry
from infra.record.trials import COMPLETE, TrialRecord
from trainables.config import TrialConfig

SELD = "seld"


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One number of a trial; register with `OBJECTIVES.register(Objective(...))`."""

    name: str
    """What `--against` calls it."""
    summary: str
    of_record: Callable[[TrialRecord], float | None]
    """`None` where the trial does not say."""
    of_config: Callable[[TrialConfig], float] | None = None
    """Where it follows from the config: computed once, when the trial is proposed, and kept in its record."""


OBJECTIVES: Registry[Objective] = Registry("objective", Objective, order=(SELD, "parameters", "latency"))


def check_objectives(names: Sequence[str]) -> None:
    """UserError unless these are objectives, the score the first, each once."""
    for name in names:
        if name not in OBJECTIVES:
            raise UserError(
                f"objective {name!r} is not known{near(name, OBJECTIVES)}; choose of {', '.join(OBJECTIVES)}; {OWN}"
            )
    if not names or names[0] != SELD or len(set(names)) < len(names):
        raise UserError(f"objectives {', '.join(names) or 'none'}: {SELD} has to be the first, and each named once")


def measure(config: TrialConfig, names: Iterable[str]) -> dict[str, float]:
    """Those of the objectives that follow from the config."""
    return {name: of_config(config) for name in names if (of_config := OBJECTIVES[name].of_config) is not None}


def values_of(record: TrialRecord, names: Sequence[str]) -> list[float] | None:
    """A trial's objectives, in order; `None` where one is missing or not a number."""
    values = [OBJECTIVES[name].of_record(record) for name in names]
    finite = [value for value in values if value is not None and math.isfinite(value)]
    return finite if len(finite) == len(values) else None


def pareto_front(records: Iterable[TrialRecord], names: Sequence[str]) -> list[TrialRecord]:
    """The complete trials that no other beats in one objective without losing in another, best score first.

    Cost: the square of the complete trials.
    """
    scored = [(values, r) for r in records if r.state == COMPLETE and (values := values_of(r, names)) is not None]

    def beaten(values: list[float]) -> bool:
        return any(other != values and all(a <= b for a, b in zip(other, values, strict=True)) for other, _ in scored)

    front = [(values, record) for values, record in scored if not beaten(values)]
    return [record for _, record in sorted(front, key=lambda entry: (entry[0], entry[1].number))]
