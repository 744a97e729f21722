"""Waiting for a service that is away, in place of failing: one policy for all that a running sweep asks of others.

A process is patient from where it says so on (`patient`): a sweep once everything that can be refused was refused, and
then its trials and tasks. Everything else, and a command that has only begun, is told at once. What waits keeps all
that it has, asks again after ever longer pauses of at most `LONGEST_PAUSE_S`, and goes on seconds after the service is
back. How long it waits at most is the operator's to say, by the environment: SELDTUNE_PATIENCE=15m.

However many wait, a service that comes back is asked by each of them once in `LONGEST_PAUSE_S` at most.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from data.durations import parse_duration_s
from data.errors import Unavailable, UserError, WaitedInVain

logger = logging.getLogger(f"seldtune.{__name__}")

P = ParamSpec("P")
T = TypeVar("T")

VARIABLE = "SELDTUNE_PATIENCE"
USUAL_LIMIT = "15m"
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 4.0
SAY_AGAIN_S = 60.0

_limit_s: float | None = None
"""How long this process waits; None: not at all."""
_here = threading.local()
"""Of a thread: whether it is in a hurry."""


@dataclass
class Absence:
    """Of something that cannot be done; in seconds since 1970."""

    since: float
    said: float = 0.0

    @property
    def seconds(self) -> float:
        return time.time() - self.since


_away: dict[str, Absence] = {}
_changing = threading.Lock()


def operators_limit_s() -> float:
    """Seconds that the operator lets a sweep wait for a service, 0 for not at all. UserError for another form."""
    text = os.environ.get(VARIABLE) or USUAL_LIMIT
    try:
        return 0.0 if text in ("0", "0s") else parse_duration_s(text)
    except UserError as error:
        raise UserError(f"{VARIABLE}: {error}; 0 waits for nothing") from error


def limit_s() -> float | None:
    """How patient this process is, for what it has others do; None: not at all."""
    return _limit_s


@contextmanager
def patient(limit_s: float | None) -> Iterator[None]:
    """A block in which all threads of this process wait for a service that is away, for so long."""
    global _limit_s
    before, _limit_s = _limit_s, limit_s
    try:
        yield
    finally:
        _limit_s = before


def handed_on(call: Callable[P, T]) -> Callable[P, T]:
    """The same call as patient as this process is now, wherever it is made."""
    patience_s = _limit_s

    def patiently(*args: P.args, **kwargs: P.kwargs) -> T:
        with patient(patience_s):
            return call(*args, **kwargs)

    return patiently


@contextmanager
def in_a_hurry() -> Iterator[None]:
    """A block that does not wait, whatever the process does; for this thread alone."""
    before = getattr(_here, "hurry", False)
    _here.hurry = True
    try:
        yield
    finally:
        _here.hurry = before


def away() -> dict[str, float]:
    """What this process could not do when it last tried, in words -> since when, in seconds since 1970."""
    with _changing:
        return {what: absence.since for what, absence in _away.items()}


def missed(what: str) -> Absence:
    """Note that something cannot be done now; for how long already."""
    with _changing:
        return _away.setdefault(what, Absence(time.time()))


def back(what: str) -> Absence | None:
    """Note that it can be done; how long it could not, if that was noted."""
    with _changing:
        return _away.pop(what, None)


def insist(what: str, attempt: Callable[[], T]) -> T:
    """What `attempt` gives, made again while it raises `Unavailable` and the process is patient.

    It may be made more than once, also where the service had done as asked and only its answer was lost.

    Args:
        what: is asked of whom, in words: "writing to http://...".

    Raises:
        Unavailable: it cannot be done now, and the process or this thread is not patient.
        WaitedInVain: it could not be done for the whole time.
    """
    begun, pause_s = time.monotonic(), FIRST_PAUSE_S
    while True:
        try:
            given = attempt()
        except WaitedInVain:
            raise
        except Unavailable as error:
            limit_s = _limit_s
            if limit_s is None:
                raise
            _say(missed(what), what, error, limit_s)
            if getattr(_here, "hurry", False):
                raise
            left_s = begun + limit_s - time.monotonic()
            if left_s <= 0:
                raise WaitedInVain(
                    f"{error}; waited {in_words(limit_s)} ({VARIABLE}) for it. Nothing is lost: when that is mended, "
                    "the same command goes on"
                ) from error
        else:
            if what in _away and (absence := back(what)):
                logger.info("%s is possible again, after %s", what, in_words(absence.seconds))
            return given
        time.sleep(min(pause_s * random.uniform(0.5, 1.0), left_s))
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def _say(absence: Absence, what: str, error: Unavailable, limit_s: float) -> None:
    """Tell of an absence, once in a while."""
    now = time.time()
    with _changing:
        first, again = not absence.said, now - absence.said >= SAY_AGAIN_S
        if again:
            absence.said = now
    if first:
        logger.warning("%s; trials wait, up to %s", error, in_words(limit_s))
    elif again:
        logger.warning("%s has not been possible for %s; trials wait", what, in_words(absence.seconds))


def in_words(seconds: float) -> str:
    """40 s, 15 min."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
