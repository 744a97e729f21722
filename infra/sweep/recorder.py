"""Tune's callback that writes down what happens: to the sweep's record first, then to the study and to MLflow."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, NoReturn

from ray import tune

from data.errors import Unavailable, WaitedInVain
from data.patience import in_a_hurry
from infra.record.budget import Ledger
from infra.record.failures import error_of, kind_of, waited_in_vain
from infra.record.folder import SweepStore
from infra.record.retries import Retries
from infra.record.trials import COMPLETE, ENDED, FAILED, INTERRUPTED, PRUNED, TrialRecord
from infra.search.driver_only import DriverOnly
from infra.search.scheduler import GracefulStopping
from infra.search.searcher import StudySearcher
from infra.tracking.tracker import SweepTracker
from trainables.config.tree import from_dict
from trainables.scores.flat import AXIS_ERRORS
from trainables.training.reports import OBJECTIVE, report_of
from trainables.training.resources import TrialResources

logger = logging.getLogger(f"seldtune.{__name__}")

REASON_CHARS = 300


class Recorder(DriverOnly, tune.Callback):
    """One line, one small write and one message to the tracker for each report; failed trials are tried again."""

    def __init__(
        self,
        store: SweepStore,
        searcher: StudySearcher,
        stopping: GracefulStopping,
        tracker: SweepTracker,
        ledger: Ledger,
        retries: Retries,
        resources: TrialResources,
    ) -> None:
        self._store = store
        self._searcher = searcher
        self._stopping = stopping
        self._tracker = tracker
        self._ledger = ledger
        self._retries = retries
        self._cpus = float(resources.workers * resources.cpus_per_worker)
        self._gpus = float(resources.workers * resources.gpus_per_worker)

        self.gave_up: WaitedInVain | None = None
        """Why the sweep has to end: it or a trial waited in vain."""

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        record = self._searcher.record_of(trial.trial_id)
        self._ledger.begin(record, self._cpus, self._gpus)
        self._keep(record)

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        record = self._searcher.record_of(trial.trial_id)
        # The scheduler was asked before.
        if told := self._stopping.stopped.get(record.number):
            record.told_to_stop, record.why_stopped = True, told.why
        if record.add_report({**report_of(result), "at": time.time()}):
            self._write(record)
            _log_report(record)

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        record = self._searcher.record_of(trial.trial_id)
        self._ledger.end(record, ENDED)
        if told := self._stopping.stopped.get(record.number):
            logger.info("trial %d is stopped after epoch %d: %s", record.number, len(record.reports), told.why)
        self._end(record, PRUNED if told else COMPLETE)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        record = self._searcher.record_of(trial.trial_id)
        if state := record.earned_state:
            # It was lost between its last report and its end.
            self._ledger.end(record, ENDED)
            self._end(record, state)
            return
        error = error_of(trial)
        if in_vain := waited_in_vain(error):
            # By no fault of its own, and others wait for the same.
            self._ledger.end(record, INTERRUPTED)
            self._give_up(in_vain)
        kind, lines = kind_of(error), str(error).strip().splitlines() or [type(error).__name__]
        self._ledger.end(record, kind, lines[-1][:REASON_CHARS])
        reason = f"{kind}: {record.attempts[-1].error}"
        if self._retries.allow(record):
            logger.warning("trial %d failed (%s); it is tried again", record.number, reason)
            self._write(record)
            self._searcher.again(record)
        else:
            logger.error("trial %d failed for good (%s)", record.number, reason)
            record.error = "\n".join([reason, *lines])
            self._end(record, FAILED)

    def interrupt(self, records: Iterable[TrialRecord]) -> None:
        """Close the attempts that an interruption has cut short; what cannot be written now, the next start does."""
        with suppress(Unavailable), in_a_hurry():
            for record in records:
                if record.attempt is not None:
                    self._ledger.end(record, INTERRUPTED)
                    self._store.write(record)

    def _end(self, record: TrialRecord, state: str) -> None:
        record.state = state
        self._write(record)
        self._searcher.tell(record)

    def _write(self, record: TrialRecord) -> None:
        self._ledger.measure(record)
        self._keep(record)
        self._tracker.update(record)

    def _keep(self, record: TrialRecord) -> None:
        try:
            self._store.write(record)
        except WaitedInVain as error:
            self._give_up(error)

    def _give_up(self, error: WaitedInVain) -> NoReturn:
        self.gave_up = error
        # Tune would take any exception but this one for a failure of the trial.
        raise KeyboardInterrupt from error


def _log_report(record: TrialRecord) -> None:
    report, config = record.reports[-1], from_dict(record.config)
    logger.info(
        "trial %2d %-12s epoch %2d/%d | loss %.4f | val SELD %.3f F %.2f LE %4.1f deg%s | %3.0f windows/s | %4.1f s",
        record.number,
        record.label,
        int(report["epoch"]),
        config.training.epochs,
        report["train_loss"],
        report[OBJECTIVE],
        report["present/F"],
        report["present/LE"],
        _axes_of(report),
        report["windows_per_s"],
        report["epoch_s"],
    )


def _axes_of(report: Mapping[str, float]) -> str:
    """Which of the two LE comes from, where anything was matched."""
    errors = [report[key] for name in AXIS_ERRORS if (key := f"axes/{name}") in report]
    return " (az {:2.0f} el {:2.0f})".format(*errors) if errors else ""
