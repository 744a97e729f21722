"""What a stopper is, and the registry of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Protocol

from data.errors import UserError
from data.registry.parts import OWN, Registry
from data.registry.user_code import place_of
from infra.record.trials import TrialRecord
from infra.search.stoppers.simulated import simulated_epochs
from trainables.training.decision import Decision


@dataclass(frozen=True, kw_only=True)
class StopperSettings:
    """What rules are made from."""

    max_epochs: int
    """Epochs of the longest trial."""
    grace_epochs: int
    """No trial is stopped before; population-based training decides every so many."""
    reduction: int = 3
    """Successive halving keeps one in this many at each rung."""
    seed: int = 0


class Judging(Protocol):
    """Whoever says what becomes of trials."""

    @property
    def name(self) -> str: ...

    @property
    def keep_every(self) -> int: ...

    def judge(self, record: TrialRecord, report: Mapping[str, float]) -> Decision: ...


class Stopper(ABC):
    """A rule, and all it remembers; register with `@STOPPERS.register`.

    A new one remembers nothing.
    """

    name: ClassVar[str]
    """What `--stopper` calls it."""
    keep_every: int = 0
    """Checkpoints of every so many epochs have to stay for other trials; 0: none."""
    holds_against_others: ClassVar[bool] = False
    """Whether it judges a trial by the others: then it is asked for each variant too (`infra.search.fairness`)."""

    looks_at_loss: ClassVar[bool] = False
    """Of one that holds trials against others: whether it goes by the loss itself where nothing is found yet."""

    def __init__(self, settings: StopperSettings) -> None:
        self.settings = settings

    @abstractmethod
    def judge(self, record: TrialRecord, report: Mapping[str, float]) -> Decision:
        """What becomes of a trial after a report. Of the record only what never changes may be used."""

    def expected_epochs(self, trials: int, concurrency: int) -> float:
        """Epochs of the mean trial in a sweep of so many, with so many at a time, under this rule from the start.

        What the rule remembers does not matter. Whoever stops nothing says the epochs of the longest trial; others need
        not say anything: then the rule is asked about trials that are made up.
        """
        return simulated_epochs(
            lambda: partial(decision_of, type(self)(self.settings)), self.settings.max_epochs, trials, concurrency
        )


def decision_of(stopper: Judging, record: TrialRecord, report: Mapping[str, float]) -> Decision:
    """What the rule's `judge` says.

    Raises:
        UserError: it says what is no decision.
    """
    decision = stopper.judge(record, report)
    if not isinstance(decision, Decision):
        raise UserError(
            f"stopper {stopper.name!r}: judge of {place_of(stopper)} gives {decision!r}, and GO_ON, STOP or another "
            "Decision of trainables.training.decision is expected"
        )
    return decision


STOPPERS: Registry[type[Stopper]] = Registry(
    "stopper", Stopper, order=("asha", "hyperband", "median", "forecast", "pbt", "none")
)


def unknown_stopper(name: str) -> str | None:
    """What is wrong with a name that no rule has; `None` where one has it."""
    return None if name in STOPPERS else f"{name!r} is not known; choose one of {', '.join(STOPPERS)}; {OWN}"


def check_stopper(name: str) -> None:
    """UserError unless there is a rule of that name."""
    if reason := unknown_stopper(name):
        raise UserError(f"stopper {reason}")


def make_stopper(name: str, settings: StopperSettings) -> Stopper:
    """A rule that remembers nothing yet.

    Raises:
        UserError: there is no rule of that name.
    """
    check_stopper(name)
    return STOPPERS[name](settings)
