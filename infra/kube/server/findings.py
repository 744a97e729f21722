"""What is found when a cluster is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from infra.kube.server.api import Answer

State = Literal["ok", "wrong", "unseen"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        state: fits, is missing or unfit, or could not be seen.
        what: was looked at.
        got: what is there.
        fix: what to do, where it is not well.
    """

    state: State
    what: str
    got: str
    fix: str = ""

    def __str__(self) -> str:
        got = self.got if len(self.got) <= 300 else f"{self.got[:300]}..."
        return f"{self.state:<7}{self.what}: {got}" + (f"; {self.fix}" if self.fix else "")


def seen(answer: Answer, what: str, right: str, fix: str) -> Finding:
    """Whether one object is there; what could not be asked is not taken for missing."""
    if answer.ok:
        return Finding("ok", what, "is there")
    if answer.lacks_object:
        return Finding("wrong", what, "is not there", fix)
    return unseen(answer, what, right)


def unseen(answer: Answer, what: str, right: str) -> Finding:
    """That an answer tells nothing, and why."""
    if answer.code == 403:
        return Finding("unseen", what, f"you may not {right}", f"ask somebody who may {right}")
    return Finding("unseen", what, answer.message, "try again")
