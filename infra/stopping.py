"""Early stopping that is asked for, not enforced.

Stopping a trial from outside kills its workers wherever they are; with a worker group that leaves a placement group
behind when no dashboard runs, and the next trial starves. Here the scheduler only decides: the decision for (trial,
epoch) goes to a small actor, the training loop asks for it after its report, and returns by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import ray
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from infra.board import Board
from infra.driver_only import DriverOnly
from infra.records import TrialRecord
from trainables.loop import OBJECTIVE

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial

logger = logging.getLogger(__name__)

ANSWER_TIMEOUT_S = 120.0


class DecisionBoard:
    """Handle on the actor that holds decisions; owned by the driver and gone with it."""

    def __init__(self) -> None:
        self._actor = ray.remote(num_cpus=0, max_concurrency=10_000)(Board).remote()

    def decide(self, number: int, epoch: int, go_on: bool) -> None:
        self._actor.decide.remote(number, epoch, go_on)

    def ask(self, number: int) -> Callable[[int], bool]:
        """For a trial: a callable that waits for the decision on an epoch, and goes on when none comes in time."""
        actor = self._actor

        def keep_going(epoch: int) -> bool:
            try:
                return ray.get(actor.ask.remote(number, epoch), timeout=ANSWER_TIMEOUT_S)
            except ray.exceptions.GetTimeoutError:
                logger.warning("no decision for trial %d on epoch %d; going on", number, epoch)
                return True

        return keep_going


class GracefulStopping(DriverOnly, FIFOScheduler):
    """Wraps a scheduler of Tune: its STOP becomes a decision on the board, and Tune is told CONTINUE.

    Args:
        inner: decides when to stop, e.g. `asha(...)`; nothing: only the budget stops trials.
        is_over: true once the sweep's wall-clock budget is spent; every trial then stops after its next report.
        record_of: the record behind Tune's trial name.
    """

    def __init__(
        self,
        inner: TrialScheduler | None,
        board: DecisionBoard,
        is_over: Callable[[], bool],
        record_of: Callable[[str], TrialRecord],
    ) -> None:
        super().__init__()
        self._inner = inner
        self._board = board
        self._is_over = is_over
        self._record_of = record_of
        self.stopped: set[int] = set()
        """Numbers of the trials that were told to stop before their last epoch."""

    def replay(self, records: list[TrialRecord]) -> None:
        """Rebuild the inner scheduler's rungs from ended trials of an earlier start."""
        if self._inner is None:
            return
        for record in records:
            ghost = SimpleNamespace(trial_id=f"ended-{record.number}")
            self._inner.on_trial_add(None, ghost)
            for report in record.reports:
                self._inner.on_trial_result(None, ghost, report)

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        return True  # the inner scheduler was built with both

    def on_trial_add(self, tune_controller: TuneController, trial: Trial) -> None:
        if self._inner is not None:
            self._inner.on_trial_add(tune_controller, trial)
            # An interrupted trial was measured at its earlier epochs before; it is not measured there again.
            for report in self._record_of(trial.trial_id).reports:
                self._inner.on_trial_result(tune_controller, trial, report)

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        record, epoch = self._record_of(trial.trial_id), int(result["epoch"])
        last = epoch >= record.config["training"]["epochs"]
        verdict = TrialScheduler.CONTINUE
        if self._inner is not None:
            verdict = self._inner.on_trial_result(tune_controller, trial, result)
        go_on = verdict != TrialScheduler.STOP and not self._is_over()
        if not go_on and not last:
            self.stopped.add(record.number)
        self._board.decide(record.number, epoch, go_on)
        return TrialScheduler.CONTINUE

    def on_trial_complete(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> None:
        if self._inner is not None:
            self._inner.on_trial_complete(tune_controller, trial, result)

    def on_trial_error(self, tune_controller: TuneController, trial: Trial) -> None:
        if self._inner is not None:
            self._inner.on_trial_error(tune_controller, trial)

    def on_trial_remove(self, tune_controller: TuneController, trial: Trial) -> None:
        if self._inner is not None:
            self._inner.on_trial_remove(tune_controller, trial)

    def debug_string(self) -> str:
        return self._inner.debug_string() if self._inner is not None else "no early stopping"


def asha(max_epochs: int, grace_epochs: int, reduction: int) -> AsyncHyperBandScheduler:
    """Asynchronous successive halving (Li et al., 2020) over epochs, one bracket, on the sweep's objective."""
    return AsyncHyperBandScheduler(
        time_attr="epoch",
        metric=OBJECTIVE,
        mode="min",
        max_t=max_epochs,
        grace_period=min(grace_epochs, max_epochs),
        reduction_factor=reduction,
        stop_last_trials=False,
    )
