"""What the driver of a long sweep pays for a trial, and whether it pays more for the last hundred than for the first.

    seldtune up && python -m infra.bench.search.many_trials

A thousand trials of 30 reports on 64 slots go through the driver's own parts: `StudySearcher`, `GracefulStopping` with
ASHA, `Recorder`, `SweepStore` on the stack's storage and `SweepTracker` on its MLflow server. Trials are simulated, in
time that costs nothing; decisions are kept in this process instead of in an actor; everything else is real. Each trial
is better than all before it, so that ASHA judges every report and stops nobody: the heaviest sweep of that size.

MLflow is written by a thread that lags behind. At the end of each hundred its backlog is counted and waited for, so
that every hundred pays for its own.
"""

from __future__ import annotations

import logging
import math
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import mlflow
import optuna
import psutil
import ray
import requests
import torch

from infra.bench.measure import finish, parser, stamp
from infra.bench.search.simulated_tune import LocalBoard, Report, simulate
from infra.bench.search.trial_overhead import scores
from infra.record.budget import Budget, Ledger
from infra.record.folder import SweepStore
from infra.record.retries import Retries
from infra.record.trials import TrialRecord
from infra.search.proposals import SearchSettings
from infra.search.scheduler import GracefulStopping
from infra.search.searcher import StudySearcher
from infra.search.stoppers import StopperSettings, make_stopper
from infra.stack.settings import load_settings
from infra.sweep.recorder import Recorder
from infra.tracking.tracker import SweepTracker
from search_spaces.quickstart import QUICKSTART
from trainables.training.reports import OBJECTIVE
from trainables.training.resources import TrialResources

BLOCK = 100
"""Trials that are measured together."""


class Meter:
    """CPU seconds of the driver's thread by part, and the requests that this process has sent."""

    def __init__(self) -> None:
        self.cpu_s: dict[str, float] = {}
        self.requests = 0
        self._driver = threading.current_thread()
        self._inside = 0.0

    def watch(self, part: str, owner: Any, method: str) -> None:
        """From now on count what the calls of an object's method cost, less what other watched ones in it do."""
        call: Callable[..., Any] = getattr(owner, method)
        self.cpu_s.setdefault(part, 0.0)

        def timed(*arguments: Any, **named: Any) -> Any:
            before, self._inside = self._inside, 0.0
            started = time.thread_time()
            try:
                return call(*arguments, **named)
            finally:
                took = time.thread_time() - started
                self.cpu_s[part] += took - self._inside
                self._inside = before + took

        setattr(owner, method, timed)

    def watch_requests(self, uri: str) -> None:
        """From now on count the HTTP requests to this server."""
        send = requests.adapters.HTTPAdapter.send

        def counted(adapter: Any, request: Any, *arguments: Any, **named: Any) -> Any:
            self.requests += request.url.startswith(uri)
            return send(adapter, request, *arguments, **named)

        requests.adapters.HTTPAdapter.send = counted  # type: ignore[assignment, method-assign]

    def read(self) -> dict[str, float]:
        """Everything counted so far, in one flat dictionary of growing numbers."""
        return {
            **{f"cpu_s/{part}": seconds for part, seconds in self.cpu_s.items()},
            "cpu_s": time.process_time(),
            "cpu_s/driver": time.thread_time(),
            "requests": float(self.requests),
            "wall_s": time.perf_counter(),
        }


def ever_better(record: TrialRecord, epoch: int) -> tuple[Report, float]:
    """Reports of trials of which each is better than all before it; and epochs that take a second."""
    return {**scores(epoch), OBJECTIVE: 1 / (2 + record.number + epoch / 1000)}, 1.0


class NoTracker:
    """In place of `SweepTracker`, where the driver is measured alone."""

    backlog = 0

    def update(self, *records: TrialRecord) -> None:
        pass

    def flush(self, timeout_s: float = 0.0) -> bool:
        return True

    def close(self, status: str) -> None:
        pass


class WatchedTracker(SweepTracker):
    """With the number of trials that wait to be written."""

    @property
    def backlog(self) -> int:
        return len(self._pending.waiting)


def measure(
    root: str, tracking_uri: str | None, trials: int, reports: int, slots: int, block: int = BLOCK
) -> list[dict[str, float]]:
    """Run the sweep; for each block of ended trials what it took in all, its backlog and the memory after it.

    Args:
        tracking_uri: nothing: without MLflow.
    """
    name = f"many-{uuid.uuid4().hex[:8]}"
    records: list[TrialRecord] = []
    meter = Meter()
    tracker: Any = NoTracker()
    if tracking_uri:
        meter.watch_requests(tracking_uri)
        tracker = WatchedTracker(tracking_uri, "bench", name, {})
    store = SweepStore(root, name)
    searcher = StudySearcher(
        SearchSettings(space=QUICKSTART, trials=trials, fixed={"training.epochs": reports}),
        store,
        records,
        is_over=lambda: False,
    )
    board = LocalBoard()
    settings = StopperSettings(max_epochs=reports, grace_epochs=QUICKSTART.grace_epochs, reduction=QUICKSTART.reduction)
    stopping = GracefulStopping(make_stopper("asha", settings), board, lambda: False, searcher.record_of)  # type: ignore[arg-type]
    ledger = Ledger(Budget(trials=trials, wall_s=math.inf), records, 0.0)
    recorder = Recorder(store, searcher, stopping, tracker, ledger, Retries(), TrialResources())
    for part, owner, method in (
        ("search", searcher, "suggest"),
        ("search", searcher, "tell"),
        ("stopping", stopping, "on_trial_result"),
        ("record", store, "write"),
        ("tracker", tracker, "update"),
    ):
        meter.watch(part, owner, method)

    blocks: list[dict[str, float]] = []
    before, ended = meter.read(), 0
    for _, record in simulate(searcher, stopping, board, recorder, slots, ever_better):
        ended += record.ended
        if record.ended and ended % block == 0:
            backlog = tracker.backlog
            waited = time.perf_counter()
            assert tracker.flush(timeout_s=600.0)
            now = meter.read()
            blocks.append(
                {key: value - before[key] for key, value in now.items()}
                | {
                    "backlog": float(backlog),
                    "backlog_s": time.perf_counter() - waited,
                    "rss_mb": psutil.Process().memory_info().rss / 1e6,
                }
            )
            said = blocks[-1]
            print(
                f"{ended:>5} trials: {1000 * said['cpu_s'] / block:>6.0f} ms of CPU a trial ("
                + ", ".join(f"{p} {1000 * said[f'cpu_s/{p}'] / block:.0f}" for p in ("driver", *meter.cpu_s))
                + f"), {said['requests'] / block:.1f} requests a trial, {said['requests'] / said['wall_s']:.0f} a "
                f"second, backlog {backlog} = {said['backlog_s']:.1f} s, {said['rss_mb']:.0f} MB",
                flush=True,
            )
            before = meter.read()
    tracker.close("FINISHED")
    assert [len(record.reports) for record in records] == [reports] * trials
    return blocks


def compared(blocks: Sequence[dict[str, float]], block: int) -> dict[str, Any]:
    """The first block, the last one, and how many times the first the last is; per trial where that makes sense."""
    whole = ("rss_mb", "backlog", "backlog_s")
    first, last = ({k: v if k in whole else v / block for k, v in b.items()} for b in (blocks[0], blocks[-1]))
    return {"first": first, "last": last, "ratio": {k: last[k] / first[k] for k in first if first[k]}}


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, repeats=1)
    options.add_argument("--trials", type=int, default=1000, help="(default %(default)s)")
    options.add_argument("--reports", type=int, default=30, help="of each trial (default %(default)s)")
    options.add_argument("--slots", type=int, default=64, help="trials at a time (default %(default)s)")
    options.add_argument("--alone", action="store_true", help="without MLflow, and with records in a local folder")
    chosen = options.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    logging.getLogger("seldtune.infra").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        root, tracking_uri = folder, None
        if not chosen.alone:
            settings = load_settings(["s3", "mlflow"])
            settings.export()
            root, tracking_uri = f"{settings.root}/bench", settings.mlflow_tracking_uri
        blocks = measure(root, tracking_uri, chosen.trials, chosen.reports, chosen.slots)
    outcome = {
        "benchmark": "many_trials_alone" if chosen.alone else "many_trials",
        "unit": "trial",
        "parameters": {
            "trials": chosen.trials,
            "reports": chosen.reports,
            "slots": chosen.slots,
        },
        **compared(blocks, BLOCK),
        "requests_per_report": sum(b["requests"] for b in blocks) / (chosen.trials * chosen.reports),
        **stamp(),
        "ray": ray.__version__,
        "optuna": optuna.__version__,
        "mlflow": mlflow.__version__,
    }
    grew = ", ".join(f"{key} {ratio:.2f} x" for key, ratio in outcome["ratio"].items())
    print(f"the last {BLOCK} trials against the first: {grew}")
    finish(outcome, chosen.save)


if __name__ == "__main__":
    main()
