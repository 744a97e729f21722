"""How often a trial is tried again after it failed, by the kind of the failure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from data.errors import UserError
from infra.record.trials import FAILURES, NODE_LOST, TrialRecord

LOSSES = 20
"""A lost node or worker is not the trial's fault, so it may happen to it often."""


@dataclass(frozen=True, kw_only=True)
class Retries:
    """Limits for one trial, over all starts of its sweep."""

    together: int = 1
    """For all kinds that have no limit of their own."""
    of_kind: Mapping[str, int] = field(default_factory=lambda: {NODE_LOST: LOSSES})

    def allow(self, record: TrialRecord) -> bool:
        """Whether the trial, whose last attempt failed, is to be tried again."""
        outcomes = [attempt.outcome for attempt in record.attempts]
        last = outcomes[-1]
        if last is not None and last in self.of_kind:
            return outcomes.count(last) <= self.of_kind[last]
        return sum(outcome in FAILURES and outcome not in self.of_kind for outcome in outcomes) <= self.together


def parse_retries(text: str) -> Retries:
    """`2`, or limits of kinds: `2,diverged=0,out-of-memory=1,node-lost=50`.

    Raises:
        UserError: another form, an unknown kind, or a negative number.
    """
    together, of_kind = Retries().together, dict(Retries().of_kind)
    for part in text.split(","):
        name, equals, number = part.rpartition("=")
        kind = name.strip().replace("-", " ")
        if not number.strip().isdecimal() or (equals and kind not in FAILURES):
            kinds = ", ".join(kind.replace(" ", "-") for kind in FAILURES)
            raise UserError(f"--retries {part!r}: write a number, or <kind>=<number> with a kind of {kinds}")
        if equals:
            of_kind[kind] = int(number)
        else:
            together = int(number)
    return Retries(together=together, of_kind=of_kind)
