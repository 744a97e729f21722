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
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from mlflow.entities import Run

from data.errors import WaitedInVain
from data.patience import limit_s
from infra.provenance.checkout import source_diff
from infra.provenance.secrets import Redaction
from infra.record.trials import TrialRecord
from infra.tracking.background import BackgroundWriter
from infra.tracking.contents import ENDED_METRIC, KIND_TAG, PROTOCOL_TAG, SEARCH_PROTOCOL, SWEEP_TAG
from infra.tracking.outbox import Outbox
from infra.tracking.pending import SAMPLE_EVERY_S, Pending, Waiting
from infra.tracking.trial_runs import TrialRuns
from infra.tracking.writer import Away, Limits, MlflowWriter, Refused

logger = logging.getLogger(f"seldtune.{__name__}")

FLUSH_S, GIVEN_UP_FLUSH_S = 60.0, 2.0


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
        self._pending = Pending(
            Outbox(outbox or self._scratch.name),  # type: ignore[union-attr]
            int(self.parent.data.metrics.get(ENDED_METRIC, 0)),
            self._limits.first_retry_s,
        )
        self._background = BackgroundWriter(self._pending, self._writer, self._runs, self.parent, self._limits)
        self._log_source()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """`close`: with FAILED after an exception, and KILLED after one that is no error, like Ctrl-C."""
        failed = self.status if kind is None else "FAILED"
        # What was waited for in vain is not waited for once more.
        timeout_s = GIVEN_UP_FLUSH_S if kind is not None and issubclass(kind, WaitedInVain) else FLUSH_S
        self.close(failed if kind is None or issubclass(kind, Exception) else "KILLED", timeout_s)

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
        with self._pending.changed:
            for record in records:
                self._pending.waiting[record.number] = Waiting(replace(record, reports=list(record.reports)), record)
            self._pending.points += self._pending.progress.add(records)
            self._pending.changed.notify_all()

    def log_sweep(self, params: dict[str, Any], metrics: dict[str, float], tags: dict[str, str]) -> None:
        """Facts of the whole sweep, for the parent run; metrics at the number of ended trials as their step."""
        with self._pending.changed:
            step = self._pending.progress.ended
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
        with self._pending.changed:
            self._pending.sample, self._pending.sample_every_s = sample, every_s
            self._pending.changed.notify_all()

    @property
    def pending(self) -> int:
        """Trials, facts and files that MLflow has not taken yet."""
        with self._pending.changed:
            return sum(self._pending.counts.values())

    def unwritten(self) -> str:
        """What MLflow has not taken yet, in words; empty where it has taken all."""
        with self._pending.changed:
            counts, idle = self._pending.counts, self._pending.idle
        words = " and ".join(f"{count} {name}" for name, count in counts.items() if count)
        return words or ("" if idle else "the progress of the sweep")

    def flush(self, timeout_s: float = FLUSH_S) -> bool:
        """Wait until everything handed over is written; False when the server did not take it in time."""
        deadline = time.monotonic() + timeout_s
        with self._pending.changed:
            self._pending.retry_at, self._pending.pause_s = 0.0, self._limits.first_retry_s
            self._pending.changed.notify_all()
            return self._pending.changed.wait_for(lambda: self._pending.idle, max(0.0, deadline - time.monotonic()))

    def require_written(self) -> None:
        """`flush`, for as long as services are waited for, or raise WaitedInVain with what to do."""
        if not self.flush(FLUSH_S if (patience_s := limit_s()) is None else patience_s):
            raise WaitedInVain(
                f"MLflow at {self._writer.uri} did not take {self.unwritten()}. Nothing is lost: the sweep's own "
                "record is whole; when MLflow answers again, the same command completes it there"
            )

    def close(self, status: str, timeout_s: float = FLUSH_S) -> bool:
        """Write what is left, end the parent run with `status`, and any child still open with KILLED; whether it could.

        Where it could not, that is said, and the same sweep command does it later.
        """
        written = self.flush(timeout_s)
        ended = self._background.end(timeout_s=5)
        try:
            if not (written and ended):
                raise Away(f"MLflow at {self._writer.uri} did not take {self.unwritten() or 'everything'}")
            self._runs.close()
            self._writer.end_run(self.parent_id, status)
        except (Away, Refused) as error:
            logger.warning("%s; nothing is lost, the same sweep command completes its record there", error)
            return False
        return True

    def _points_of(self, metrics: dict[str, float], step: int) -> list[list[Any]]:
        """As an entry of the outbox has them; at the time of the last report, so that the same again is the same."""
        with self._pending.changed:
            at_s = self._pending.progress.last_report_s or time.time()
        return [[key, float(value), int(at_s * 1000), step] for key, value in metrics.items()]

    def _put(self, entry: dict[str, Any], content: bytes | None = None) -> None:
        self._pending.outbox.put(entry, content)
        with self._pending.changed:
            self._pending.changed.notify_all()

    def _log_source(self) -> None:
        """What the checkout differs by from its commit, under a name that says which version of it this is."""
        diff = source_diff() if self._tags.get("git.changed") == "True" else ""
        if diff:
            digest = hashlib.sha256(diff.encode()).hexdigest()[:8]
            self.log_text(f"source-{self._tags['git.commit'][:8]}-{digest}.diff", diff)

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
