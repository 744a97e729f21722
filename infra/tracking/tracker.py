"""MLflow's view of a sweep: a parent run, one child run per trial, kept in step without anything waiting for it.

A trial's run is a function of the trial's record. Handing over a record replaces what waits of the same trial, and one
background thread writes what the record holds beyond what the run holds: so the queue is as long as there are trials,
whatever the number of reports, and however long the server is away. The records lie on storage and are thus the spool
of all that trials say; facts and files of the sweep itself wait in an `Outbox` on storage. While the server is away
the thread asks again after ever longer pauses, says so once, and nothing else notices. What is still unwritten when
the process ends is written by the next start of the same sweep.

Only one process at a time may track a sweep. Cost: one request a report, fewer where reports come faster than the
server is asked; four for a trial's beginning, two for its end; on resume, one search for each 500 trials and no look
at any metric's history, since the number of reports that a run holds is a metric itself.
"""

from __future__ import annotations

import getpass
import hashlib
import logging
import random
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from mlflow.entities import Metric, Run

from data.errors import UserError
from infra.provenance.checkout import source_diff
from infra.provenance.secrets import Redaction
from infra.record.trials import TrialRecord
from infra.tracking.contents import ENDED_METRIC, KIND_TAG, PROTOCOL_TAG, SEARCH_PROTOCOL, SWEEP_TAG, Progress
from infra.tracking.outbox import Outbox
from infra.tracking.trial_runs import TrialRuns
from infra.tracking.writer import Away, Limits, MlflowWriter, Refused

logger = logging.getLogger(f"seldtune.{__name__}")

SAMPLE_EVERY_S = 10.0
MOST_SAMPLES = 512
"""Waiting samples of the cluster's use; beyond that, every other one goes."""
SWEEP_EVERY_S = 5.0
"""Between writes to the sweep's own run while trials wait to be written."""


@dataclass(frozen=True)
class _Waiting:
    """A trial to be written: its record as it was handed over, and the live one, which is told the run's id."""

    record: TrialRecord
    live: TrialRecord


class SweepTracker:
    """Keeps MLflow in step with one sweep; as a context manager it is closed whatever happens within.

    Args:
        tags: of the parent and of every trial's run; `protocol` is that of a search unless they say otherwise.
        outbox: folder, local or S3, where facts and files of the sweep wait; nothing: a temporary one, which ends with
            this process.

    Raises:
        Away: the server does not answer now, at the start; later nothing of it is raised.
    """

    def __init__(
        self,
        tracking_uri: str,
        experiment: str,
        sweep: str,
        tags: dict[str, str],
        *,
        outbox: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._limits = limits or Limits()
        self._writer = MlflowWriter(tracking_uri, self._limits, Redaction())
        self._sweep = sweep
        self._tags = {
            PROTOCOL_TAG: SEARCH_PROTOCOL,
            "mlflow.user": getpass.getuser(),
            "mlflow.source.name": "seldtune sweep",
            **tags,
            SWEEP_TAG: sweep,
        }
        self.status = "FINISHED"
        """What the parent run ends with when nothing fails."""
        self._experiment_id = self._writer.find_experiment(experiment)
        self.parent = self._find_or_create_parent()
        self._scratch = None if outbox else tempfile.TemporaryDirectory(prefix="seldtune-outbox-")
        self._runs = TrialRuns(self._writer, self._experiment_id, self.parent_id, sweep, self._tags)
        self._outbox = Outbox(outbox or self._scratch.name)  # type: ignore[union-attr]

        self._changed = threading.Condition()
        """Guards all that follows, but for what the thread alone uses."""
        self._waiting: dict[int, _Waiting] = {}
        self._progress = Progress(int(self.parent.data.metrics.get(ENDED_METRIC, 0)))
        self._points: list[Metric] = []
        self._samples: list[list[Metric]] = []
        self._sample: Callable[[], dict[str, float]] | None = None
        self._sample_every_s = SAMPLE_EVERY_S
        self._busy = False
        self._closing = False
        self._retry_at = 0.0
        self._held: set[int] = set()
        """Entries of the outbox for trials that no record has told of yet."""

        self._pause_s = self._limits.first_retry_s
        self._away_since: float | None = None
        self._caught_up = {"reports": 0, "facts and files": 0}
        self._complained: set[int] = set()
        self._sample_at = self._sweep_written_at = 0.0
        self._thread = threading.Thread(target=self._work, name="mlflow-writer", daemon=True)
        self._thread.start()
        self._log_source()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """`close`: with FAILED after an exception, and KILLED after one that is no error, like Ctrl-C."""
        failed = self.status if kind is None else "FAILED"
        self.close(failed if kind is None or issubclass(kind, Exception) else "KILLED")

    # --- for the driver; none of it waits for the server, but `flush` and `close` -------------------------------------

    @property
    def parent_id(self) -> str:
        return self.parent.info.run_id

    @property
    def url(self) -> str:
        """The parent run's page."""
        return f"{self._writer.uri}/#/experiments/{self._experiment_id}/runs/{self.parent_id}"

    def run_id(self, number: int) -> str:
        """The child run of a trial that has been written.

        Raises:
            LookupError: it has not been yet; `flush` first.
        """
        run_id = self._runs.known_id(number)
        if run_id is None:
            raise LookupError(f"MLflow has no run of trial {number} yet")
        return run_id

    def update(self, *records: TrialRecord) -> None:
        """Bring trials' runs up to date with their records as they are now; returns at once.

        A sweep that goes on hands over all its records in one call, so that they are counted in the order in which
        the trials ended. A record is told the id of its run once there is one.
        """
        with self._changed:
            for record in records:
                self._waiting[record.number] = _Waiting(replace(record, reports=list(record.reports)), record)
            self._points += self._progress.add(records)
            self._held.clear()
            self._changed.notify_all()

    def log_sweep(self, params: dict[str, Any], metrics: dict[str, float], tags: dict[str, str]) -> None:
        """Facts of the whole sweep, for the parent run; metrics at the number of ended trials as their step."""
        with self._changed:
            step = self._progress.ended
        points = self._points_of(metrics, step)
        self._put({"params": {key: str(value) for key, value in params.items()}, "metrics": points, "tags": tags})

    def log_trial(self, number: int, metrics: dict[str, float], tags: dict[str, str]) -> None:
        """Facts of a trial that are in no report of it, for its run; metrics at step 0. They wait until it has one."""
        self._put({"trial": number, "params": {}, "metrics": self._points_of(metrics, step=0), "tags": tags})

    def log_file(self, path: Path, folder: str = "", number: int | None = None) -> None:
        """Attach a file to the parent run, or to a trial's. Its content is taken now."""
        self._put({"path": f"{folder}/{path.name}" if folder else path.name, "trial": number}, path.read_bytes())

    def log_text(self, name: str, text: str) -> None:
        """Attach a text file to the parent run."""
        self._put({"path": name, "trial": None}, text.encode())

    def watch(self, sample: Callable[[], dict[str, float]], every_s: float = SAMPLE_EVERY_S) -> None:
        """From now on, put on the parent run what `sample` finds (its names begin with `system/`), with the seconds
        since the sweep began as the step. It is called in the background."""
        with self._changed:
            self._sample, self._sample_every_s = sample, every_s
            self._changed.notify_all()

    @property
    def pending(self) -> int:
        """Trials, facts and files that MLflow has not taken yet."""
        with self._changed:
            return len(self._waiting) + len(self._outbox)

    def unwritten(self) -> str:
        """What MLflow has not taken yet, in words; empty where it has taken all."""
        with self._changed:
            trials, entries = len(self._waiting), len(self._outbox)
            rest = self._busy or self._points or self._samples
        counts = [f"{count} {name}" for count, name in ((trials, "trials"), (entries, "facts and files")) if count]
        return " and ".join(counts) or ("the progress of the sweep" if rest else "")

    def flush(self, timeout_s: float = 60.0) -> bool:
        """Wait until everything handed over is written; False when the server did not take it in time."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            self._retry_at, self._pause_s = 0.0, self._limits.first_retry_s
            self._changed.notify_all()
            return self._changed.wait_for(self._is_idle, max(0.0, deadline - time.monotonic()))

    def require_written(self, timeout_s: float = 60.0) -> None:
        """`flush`, or raise Away with what to do."""
        if not self.flush(timeout_s):
            raise Away(
                f"MLflow at {self._writer.uri} did not take {self.unwritten()}. Nothing is lost: the sweep's own "
                "record is whole; when MLflow answers again, the same command completes it there"
            )

    def close(self, status: str, timeout_s: float = 60.0) -> bool:
        """Write what is left, end the parent run with `status`, and any child still open with KILLED; whether it could.

        Where it could not, that is said, and the same sweep command does it later.
        """
        written = self.flush(timeout_s)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout=5)
        try:
            if not written or self._thread.is_alive():
                raise Away(f"MLflow at {self._writer.uri} did not take {self.unwritten() or 'everything'}")
            self._runs.close()
            self._writer.end_run(self.parent_id, status)
        except (Away, Refused) as error:
            logger.warning("%s; nothing is lost, the same sweep command completes its record there", error)
            return False
        return True

    def _points_of(self, metrics: dict[str, float], step: int) -> list[list[Any]]:
        """As an entry of the outbox has them; at the time of the last report, so that the same again is the same."""
        with self._changed:
            at_s = self._progress.last_report_s or time.time()
        return [[key, float(value), int(at_s * 1000), step] for key, value in metrics.items()]

    def _put(self, entry: dict[str, Any], content: bytes | None = None) -> None:
        self._outbox.put(entry, content)
        with self._changed:
            self._changed.notify_all()

    def _log_source(self) -> None:
        """What the checkout differs by from its commit, under a name that says which version of it this is."""
        diff = source_diff() if self._tags.get("git.changed") == "True" else ""
        if diff:
            digest = hashlib.sha256(diff.encode()).hexdigest()[:8]
            self.log_text(f"source-{self._tags['git.commit'][:8]}-{digest}.diff", diff)

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _is_idle(self) -> bool:
        return not (self._busy or self._waiting or self._points or self._samples or len(self._outbox))

    def _work(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                if self._is_idle():
                    self._say_back()
                self._changed.notify_all()
                while (wait_s := self._wait_s()) is None or wait_s > 0:
                    self._changed.wait(wait_s)
                if self._closing:
                    return
                self._busy = True
                trying = time.monotonic() >= self._retry_at
            self._take_sample()
            if not trying:
                continue
            try:
                self._write_trial()
                self._write_sweep()
                self._write_entry()
                self._pause_s = self._limits.first_retry_s
            except Away as error:
                self._say_away(error)

    def _wait_s(self) -> float | None:
        """Seconds until there is something to do; nothing: until somebody says so."""
        if self._closing:
            return 0.0
        now = time.monotonic()
        work = self._waiting or self._points or self._samples or len(self._outbox) > len(self._held)
        moments = [self._retry_at] if work else []
        if self._sample is not None:
            moments.append(self._sample_at)
        return min(moments) - now if moments else None

    def _say_away(self, error: Away) -> None:
        """Once for each time that the server goes away; then ask again after a longer pause, unlike other sweeps'."""
        if self._away_since is None:
            self._away_since = time.monotonic()
            self._caught_up = dict.fromkeys(self._caught_up, 0)
            logger.warning("%s; training goes on, and what MLflow misses is written when it is back", error)
        with self._changed:
            self._retry_at = time.monotonic() + self._pause_s * random.uniform(0.5, 1.0)
        self._pause_s = min(2 * self._pause_s, self._limits.longest_retry_s)

    def _say_back(self) -> None:
        if self._away_since is not None:
            seconds = time.monotonic() - self._away_since
            counts = ", ".join(f"{count} {name}" for name, count in self._caught_up.items())
            logger.info("MLflow is back after %.0f s, and has what it missed: %s", seconds, counts)
            self._away_since = None

    def _take_sample(self) -> None:
        with self._changed:
            sample, now = self._sample, time.monotonic()
            if sample is None or now < self._sample_at:
                return
            self._sample_at = now + self._sample_every_s
            live = self._progress.live()
        try:
            values, at_s = {**sample(), **live}, time.time()
        except Exception as error:  # whatever a sampler does, trials go on being written
            logger.warning("no more samples of the cluster: %s", error)
            with self._changed:
                self._sample = None
            return
        step = int(at_s - self.parent.info.start_time / 1000)
        with self._changed:
            if len(self._samples) >= MOST_SAMPLES:
                del self._samples[::2]
            self._samples.append([Metric(key, value, int(at_s * 1000), step) for key, value in values.items()])

    def _write_trial(self) -> None:
        """The trial that waits for longest; it waits until it is written, and then behind the others if there is more.

        So does one that could not be written, lest a single one that the server fails over keeps all others waiting.
        """
        with self._changed:
            if not self._waiting:
                return
            number, waiting = next(iter(self._waiting.items()))
        written = True
        try:
            self._caught_up["reports"] += self._runs.write(waiting.record, waiting.live)
        except Away:
            written = False
            raise
        except Exception as error:  # whatever is wrong with one trial, the others go on being written
            if number not in self._complained:
                told = None if isinstance(error, (Refused, UserError)) else error
                logger.error("trial %d cannot be written to MLflow: %s", number, error, exc_info=told)
            self._complained.add(number)
        finally:
            with self._changed:
                latest = self._waiting.pop(number)
                if latest is not waiting or not written:
                    self._waiting[number] = latest

    def _write_sweep(self) -> None:
        """The sweep's progress and samples of the cluster; not after each trial where many wait."""
        now = time.monotonic()
        with self._changed:
            if self._waiting and now < self._sweep_written_at + SWEEP_EVERY_S:
                return
            points, samples = self._points, self._samples
            self._points, self._samples = [], []
        if not points and not samples:
            return
        self._sweep_written_at = now
        try:
            self._writer.log(self.parent_id, [*points, *(metric for sample in samples for metric in sample)])
        except Refused as error:
            logger.error("MLflow refuses the progress of the sweep: %s", error)
        except Away:
            with self._changed:
                self._points, self._samples = points + self._points, samples + self._samples
            raise

    def _write_entry(self) -> None:
        """The oldest fact or file whose run is there."""
        number = next((number for number in self._outbox.numbers() if number not in self._held), None)
        if number is None:
            return
        try:
            entry, content = self._outbox.read(number)
            if self._send(entry, content):
                self._outbox.remove(number)
                self._caught_up["facts and files"] += 1
            else:
                with self._changed:
                    self._held.add(number)
        except (UserError, OSError) as error:
            raise Away(f"the sweep's storage does not answer: {error}") from error

    def _send(self, entry: dict[str, Any], content: bytes) -> bool:
        """Write an entry of the outbox; False where it is for a trial that has no run yet."""
        try:
            trial = entry.get("trial")
            run_id = self.parent_id if trial is None else self._runs.find_id(trial)
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

    def _find_or_create_parent(self) -> Run:
        query = f"tags.`{SWEEP_TAG}` = '{self._sweep}' and tags.`{KIND_TAG}` = 'sweep'"
        found = next(self._writer.runs(self._experiment_id, query), None)
        tags = {**self._tags, KIND_TAG: "sweep"}
        if found is None:
            return self._writer.create_run(self._experiment_id, self._sweep, tags)
        if found.info.status != "RUNNING":
            self._writer.reopen_run(found.info.run_id)
        self._writer.log(found.info.run_id, tags=tags)
        return found
