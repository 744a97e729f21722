"""A drill: something broken in the middle of a sweep, mended again, and what came of it."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from infra.drills.place import Place
from infra.drills.relay import Watch
from infra.drills.sweep import Account, DrillSweep, settle, since

Breaking = Callable[[Place, DrillSweep], AbstractContextManager[None]]
"""Breaks something as it is entered, and mends it as it is left."""


@dataclass(frozen=True, kw_only=True)
class Drill(ABC):
    """One way to break a sweep."""

    name: str
    breaks: str
    """In words."""
    seconds: float = 0.0
    """That it lasts, if not said otherwise."""
    says: str = ""
    """What the sweep has to say about it, as a regular expression."""
    tries_again: bool = False
    """Whether trials may have to."""

    def on(self, place: Place, seconds: float | None = None, name: str | None = None) -> Account:
        """Run it on a place that others may have been run on; the sweep has a name of its own.

        Raises:
            RuntimeError: the sweep never came to where it is to be broken.
        """
        lasts = self.seconds if seconds is None else seconds
        return self._break(place, DrillSweep(place, name or f"{self.name}-{int(time.time())}"), lasts)

    @abstractmethod
    def _break(self, place: Place, sweep: DrillSweep, seconds: float) -> Account: ...

    def passed(self, account: Account) -> bool:
        """Whether it came to what it may come to."""
        lost = account.trials_failed + account.finished_lost + account.counted_twice + account.missing
        again = 0 if self.tries_again else account.tried_again
        return account.exit_code == 0 and not lost + again and re.search(self.says, account.message) is not None


@dataclass(frozen=True, kw_only=True)
class Fault(Drill):
    """Something is broken once the sweep has made its first reports, and mended after a while."""

    by: Breaking
    of_mlflow: bool = False
    """Whether it is MLflow that has to go on, not the trials."""

    def _break(self, place: Place, sweep: DrillSweep, seconds: float) -> Account:
        sweep.start()
        before = sweep.wait_until(lambda records: sum(len(record.reports) for record in records) >= 2)
        said = len(sweep.said)
        with self.by(place, sweep):
            time.sleep(seconds)
        mended_at = time.time()
        code = sweep.wait()
        message = next((text for text in sweep.said[said:] if self.says and re.search(self.says, text)), "")
        account = settle(self.name, seconds, sweep, before, mended_at, code, message)
        if self.of_mlflow:
            account = replace(account, resumed_after_s=since(mended_at, place.mlflow.written))
        return account


@dataclass(frozen=True, kw_only=True)
class KilledAt(Drill):
    """The driver is killed at a step of a sweep's life, and its command given again."""

    path: str
    """Below the sweep's folder of what is written at the step, as a regular expression."""
    nth: int = 1
    before: bool = False
    """Whether the store has not had it yet."""

    def _break(self, place: Place, sweep: DrillSweep, seconds: float) -> Account:
        path = re.compile(rf"/seldtune/sweeps/{sweep.name}{self.path}(\?.*)?")
        dead = threading.Event()

        def kill() -> None:
            assert sweep.process is not None
            os.kill(sweep.process.pid, signal.SIGKILL)
            dead.set()

        def fits(method: str, asked: str) -> bool:
            return method == "PUT" and path.fullmatch(asked) is not None

        place.s3.watch(Watch(fits=fits, call=kill, nth=self.nth, before=self.before))
        sweep.start()
        sweep.wait()
        if not dead.is_set():
            raise RuntimeError(f"{sweep.name} never came to its step:\n{sweep.log.read_text()[-3000:]}")
        before, at = sweep.records(), time.time()
        sweep.start()
        return settle(self.name, seconds, sweep, before, at, sweep.wait())
