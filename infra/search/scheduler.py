"""Early stopping that is asked for, not enforced.

Stopping a trial from outside kills its workers wherever they are; with a worker group that leaves a placement group
behind when no dashboard runs, and the next trial starves. Here the scheduler only decides, by one of the rules in
`infra.search.stoppers`: the decision for (trial, epoch) goes to a small actor, the training loop asks for it after its
report, and returns by itself or goes on as told.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import ray
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from data.patience import limit_s
from infra.cluster.nodes import on_this_node
from infra.record.trials import TrialRecord
from infra.search.board import Board
from infra.search.driver_only import DriverOnly
from infra.search.stoppers import decision_of
from infra.search.stoppers.contract import Judging
from trainables.training.decision import GO_ON, Decision

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial

logger = logging.getLogger(f"seldtune.{__name__}")

ANSWER_TIMEOUT_S = 120.0
"""Of a driver that waits for nothing itself."""
BUDGET_SPENT = Decision(go_on=False, why="the budget is spent")


class DecisionBoard:
    """Handle on the actor that holds decisions and messages; ended by `close`, and with the driver that owns it."""

    def __init__(self) -> None:
        # Beside the driver: the sweep outlives the loss of any other node.
        board = ray.remote(num_cpus=0, max_concurrency=10_000, scheduling_strategy=on_this_node())
        self._actor = board(Board).remote()
        self.mail = BoardMail(self._actor)

    def decide(self, number: int, epoch: int, decision: Decision) -> None:
        self._actor.decide.remote(number, epoch, decision)

    def close(self) -> None:
        """End the actor. Tune keeps what trials are given, this handle too, for as long as the driver lives."""
        ray.kill(self._actor)

    def ask(self, number: int) -> Callable[[int], Decision]:
        """For a trial: a callable that waits for the decision on an epoch, and goes on when none comes in time."""
        actor, timeout_s = self._actor, ANSWER_TIMEOUT_S + (limit_s() or 0.0)

        def keep_going(epoch: int) -> Decision:
            try:
                return ray.get(actor.ask.remote(number, epoch), timeout=timeout_s)
            except ray.exceptions.GetTimeoutError:
                logger.warning("no decision for trial %d on epoch %d; going on", number, epoch)
                return GO_ON

        return keep_going


class BoardMail:
    """Boxes on the board, as `trainables.training.mail.Mail`. Travels to whoever uses them."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def put(self, box: str, message: Any) -> None:
        ray.get(self._actor.put.remote(box, message))

    def take(self, box: str) -> Any:
        return ray.get(self._actor.take.remote(box))


class GracefulStopping(DriverOnly, FIFOScheduler):
    """Tune's scheduler: puts what the sweep's rule decides on the board, and always tells Tune CONTINUE.

    Args:
        stopper: the rule, or who asks it (`infra.search.fairness`).
        is_over: true once the sweep's wall-clock budget is spent; every trial then stops after its next report.
        record_of: the record behind Tune's trial name.
    """

    def __init__(
        self,
        stopper: Judging,
        board: DecisionBoard,
        is_over: Callable[[], bool],
        record_of: Callable[[str], TrialRecord],
    ) -> None:
        super().__init__()
        self._stopper = stopper
        self._board = board
        self._is_over = is_over
        self._record_of = record_of
        self._decisions: dict[tuple[int, int], Decision] = {}
        """The rule's, by (trial number, epoch)."""
        self.stopped: dict[int, Decision] = {}
        """What the trials were told, by number, that were told to stop before their last epoch."""

    def replay(self, records: Iterable[TrialRecord]) -> None:
        """Rebuild what the rule remembers from the reports of an earlier start, in the order in which they came."""
        told = []
        for record in records:
            # The clock of a later driver may be behind.
            times = itertools.accumulate((report["at"] for report in record.reports), max)
            told += [(at, record.number, record, report) for at, report in zip(times, record.reports, strict=True)]
        for _, _, record, report in sorted(told, key=lambda entry: entry[:2]):
            self._decide(record, report)

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        return True  # the rule knows what trials are judged by

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        record, epoch = self._record_of(trial.trial_id), int(result["epoch"])
        decision = self._decide(record, result)
        if self._is_over():
            decision = BUDGET_SPENT
        if not decision.go_on and epoch < record.config["training"]["epochs"]:
            self.stopped[record.number] = decision
        self._board.decide(record.number, epoch, decision)
        return TrialScheduler.CONTINUE

    def _decide(self, record: TrialRecord, report: Mapping[str, float]) -> Decision:
        key = (record.number, int(report["epoch"]))
        if key not in self._decisions:  # an interrupted trial repeats epochs; it was judged by them before
            self._decisions[key] = decision_of(self._stopper, record, report)
        return self._decisions[key]

    def debug_string(self) -> str:
        return f"{len(self.stopped)} trials stopped early"
