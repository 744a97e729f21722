"""The thread that brings MLflow up to date with a sweep, however long the server is away."""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import Any

from mlflow.entities import Metric, Run

from data import patience
from data.errors import UserError
from infra.tracking.pending import Pending
from infra.tracking.trial_runs import TrialRuns
from infra.tracking.writer import Away, Limits, MlflowWriter, Refused

logger = logging.getLogger(f"seldtune.{__name__}")

MOST_SAMPLES = 512
"""Waiting samples of the cluster's use; beyond that, every other one goes."""
SWEEP_EVERY_S = 5.0
"""Between writes to the sweep's own run while trials wait to be written."""


class BackgroundWriter:
    """Takes what is pending, one request after another, until it is told to end. It runs from the start.

    Args:
        parent: the sweep's run.
        runs: of its trials; this thread's alone until it has ended.
    """

    def __init__(self, pending: Pending, writer: MlflowWriter, runs: TrialRuns, parent: Run, limits: Limits) -> None:
        self._pending = pending
        self._writer = writer
        self._runs = runs
        self._parent_id = parent.info.run_id
        self._begun_s = parent.info.start_time / 1000
        self._limits = limits
        self._what = f"writing to MLflow at {writer.uri}"
        self._caught_up = {"reports": 0, "facts and files": 0}
        self._complained: set[int] = set()
        self._sample_at = self._sweep_written_at = 0.0
        self._thread = threading.Thread(target=self._work, name="mlflow-writer", daemon=True)
        self._thread.start()

    def end(self, timeout_s: float) -> bool:
        """Tell it to end, whatever is pending; whether it has."""
        with self._pending.changed:
            self._pending.closing = True
            self._pending.changed.notify_all()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while True:
            with self._pending.changed:
                self._pending.busy = False
                if self._pending.idle:
                    self._say_back()
                self._pending.changed.notify_all()
                while (wait_s := self._wait_s()) is None or wait_s > 0:
                    self._pending.changed.wait(wait_s)
                if self._pending.closing:
                    return
                self._pending.busy = True
                trying = time.monotonic() >= self._pending.retry_at
            self._take_sample()
            if not trying:
                continue
            try:
                self._write_trial()
                self._write_sweep()
                self._write_entry()
                with self._pending.changed:
                    self._pending.pause_s = self._limits.first_retry_s
            except Away as error:
                self._say_away(error)

    def _wait_s(self) -> float | None:
        """Seconds until there is something to do; nothing: until somebody says so."""
        if self._pending.closing:
            return 0.0
        now = time.monotonic()
        moments = [self._pending.retry_at] if self._pending.can_write else []
        if self._pending.sample is not None:
            moments.append(self._sample_at)
        return min(moments) - now if moments else None

    def _say_away(self, error: Away) -> None:
        """Once for each time that the server goes away; then ask again after a longer pause, unlike other sweeps'."""
        absence = patience.missed(self._what)
        if not absence.said:
            absence.said = time.time()
            self._caught_up = dict.fromkeys(self._caught_up, 0)
            logger.warning("%s; training goes on, and what MLflow misses is written when it is back", error)
        with self._pending.changed:
            self._pending.retry_at = time.monotonic() + self._pending.pause_s * random.uniform(0.5, 1.0)
            self._pending.pause_s = min(2 * self._pending.pause_s, self._limits.longest_retry_s)

    def _say_back(self) -> None:
        if absence := patience.back(self._what):
            counts = ", ".join(f"{count} {name}" for name, count in self._caught_up.items())
            logger.info("MLflow is back after %.0f s, and has what it missed: %s", absence.seconds, counts)

    def _take_sample(self) -> None:
        with self._pending.changed:
            sample, now = self._pending.sample, time.monotonic()
            if sample is None or now < self._sample_at:
                return
            self._sample_at = now + self._pending.sample_every_s
            live = self._pending.progress.live()
        try:
            values, at_s = {**sample(), **live}, time.time()
        except Exception as error:  # whatever a sampler does, trials go on being written
            logger.warning("no more samples of the cluster: %s", error)
            with self._pending.changed:
                self._pending.sample = None
            return
        step = int(at_s - self._begun_s)
        with self._pending.changed:
            if len(self._pending.samples) >= MOST_SAMPLES:
                del self._pending.samples[::2]
            self._pending.samples.append([Metric(key, value, int(at_s * 1000), step) for key, value in values.items()])

    def _write_trial(self) -> None:
        """The trial that waits for longest; it waits until it is written, and then behind the others if there is more.

        So does one that could not be written, lest a single one that the server fails over keeps all others waiting.
        """
        with self._pending.changed:
            if not self._pending.waiting:
                return
            number, waiting = next(iter(self._pending.waiting.items()))
        written = True
        try:
            self._caught_up["reports"] += self._runs.write(waiting.record, waiting.live)
            with self._pending.changed:
                self._pending.held.clear()  # some may have waited for this trial's run
        except Away:
            written = False
            raise
        except Exception as error:  # whatever is wrong with one trial, the others go on being written
            if number not in self._complained:
                told = None if isinstance(error, (Refused, UserError)) else error
                logger.error("trial %d cannot be written to MLflow: %s", number, error, exc_info=told)
            self._complained.add(number)
        finally:
            with self._pending.changed:
                latest = self._pending.waiting.pop(number)
                if latest is not waiting or not written:
                    self._pending.waiting[number] = latest

    def _write_sweep(self) -> None:
        """The sweep's progress and samples of the cluster; not after each trial where many wait."""
        now = time.monotonic()
        with self._pending.changed:
            if self._pending.waiting and now < self._sweep_written_at + SWEEP_EVERY_S:
                return
            points, samples = self._pending.points, self._pending.samples
            self._pending.points, self._pending.samples = [], []
        if not points and not samples:
            return
        self._sweep_written_at = now
        try:
            self._writer.log(self._parent_id, [*points, *(metric for sample in samples for metric in sample)])
        except Refused as error:
            logger.error("MLflow refuses the progress of the sweep: %s", error)
        except Away:
            with self._pending.changed:
                self._pending.points, self._pending.samples = (
                    points + self._pending.points,
                    samples + self._pending.samples,
                )
            raise

    def _write_entry(self) -> None:
        """The oldest fact or file whose run is there."""
        number = next((number for number in self._pending.outbox.numbers() if number not in self._pending.held), None)
        if number is None:
            return
        try:
            entry, content = self._pending.outbox.read(number)
            if self._send(entry, content):
                self._pending.outbox.remove(number)
                self._caught_up["facts and files"] += 1
            else:
                with self._pending.changed:
                    self._pending.held.add(number)
        except (UserError, OSError) as error:
            raise Away(f"what waits on the sweep's storage cannot be read: {error}") from error

    def _send(self, entry: dict[str, Any], content: bytes) -> bool:
        """Write an entry of the outbox; False where it is for a trial that has no run yet."""
        try:
            trial = entry.get("trial")
            run_id = self._parent_id if trial is None else self._runs.find_id(trial)
            if run_id is None:
                return False
            if entry["file"]:
                self._writer.log_content(run_id, entry["path"], content)
            else:
                metrics = [Metric(*point) for point in entry["metrics"]]
                self._writer.log(run_id, metrics, entry["params"], entry["tags"])
        except Refused as error:
            logger.error("MLflow refuses %s: %s", entry.get("path", "facts"), error)
        return True
