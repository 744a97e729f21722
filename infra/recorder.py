"""Tune's callback that writes down what happens: to the sweep's record first, then to the study and to MLflow."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune

from infra.driver_only import DriverOnly
from infra.records import COMPLETE, FAILED, PRUNED, SweepStore, TrialRecord
from infra.search import StudySearcher
from infra.stopping import GracefulStopping
from infra.tracking import SweepTracker
from trainables.config_tree import from_dict
from trainables.loop import OBJECTIVE, REPORT_KEYS

logger = logging.getLogger(__name__)


class Recorder(DriverOnly, tune.Callback):
    """One line, one small write and one message to the tracker for each report.

    Args:
        elapsed: seconds of the sweep's budget used so far, over all its starts.
    """

    def __init__(
        self,
        store: SweepStore,
        searcher: StudySearcher,
        stopping: GracefulStopping,
        tracker: SweepTracker,
        elapsed: Callable[[], float],
    ) -> None:
        self._store = store
        self._searcher = searcher
        self._stopping = stopping
        self._tracker = tracker
        self._elapsed = elapsed

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        record = self._searcher.record_of(trial.trial_id)
        if record.add_report({key: result[key] for key in REPORT_KEYS}):
            self._write(record)
            _log_report(record)

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        record = self._searcher.record_of(trial.trial_id)
        self._end(record, PRUNED if record.number in self._stopping.stopped else COMPLETE)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        record = self._searcher.record_of(trial.trial_id)
        # `Trial.get_error` looks on storage, where Tune has not put the file yet.
        record.error = Path(trial.error_file).read_text().strip() if trial.error_file else "its process vanished"
        logger.error("trial %d failed: %s", record.number, record.error.splitlines()[-1])
        self._end(record, FAILED)

    def _end(self, record: TrialRecord, state: str) -> None:
        record.state = state
        self._write(record)
        self._searcher.tell(record)

    def _write(self, record: TrialRecord) -> None:
        record.budget_spent_s = self._elapsed()
        self._store.write(record)
        self._tracker.update(record)


def _log_report(record: TrialRecord) -> None:
    report, config = record.reports[-1], from_dict(record.config)
    logger.info(
        "trial %2d %-12s epoch %2d/%d | loss %.4f | val SELD %.3f F %.2f LE %4.1f deg | %3.0f windows/s | %4.1f s",
        record.number,
        record.label,
        int(report["epoch"]),
        config.training.epochs,
        report["train_loss"],
        report[OBJECTIVE],
        report["present/F"],
        report["present/LE"],
        report["windows_per_s"],
        report["epoch_s"],
    )
