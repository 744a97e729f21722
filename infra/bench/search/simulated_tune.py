"""The loop of Tune's controller without Ray: real searcher, scheduler and callbacks, called as Tune calls them, for
trials whose reports are made up, in simulated time.

The order is that of `ray.tune.execution.tune_controller`: a free slot asks the searcher and adds the trial to the
scheduler; a report goes to scheduler, searcher, callbacks; so does the end of a trial. Decisions of early stopping are
kept in this process instead of in an actor, and a trial heeds them as a training loop does, after its report.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from infra.record.trials import COMPLETE, PRUNED, TrialRecord
from trainables.training.decision import Decision

Report = dict[str, float]
NextReport = Callable[[TrialRecord, int], tuple[Report, float]]
"""A trial's report of an epoch, and the seconds that it took."""


class LocalBoard:
    """In place of `DecisionBoard`: decisions in a dictionary of this process."""

    def __init__(self) -> None:
        self._decisions: dict[int, Decision] = {}

    def decide(self, number: int, epoch: int, decision: Decision) -> None:
        self._decisions[number] = decision

    def goes_on(self, number: int) -> bool:
        return self._decisions.pop(number).go_on


@dataclass
class SimulatedTrial:
    """What searcher, scheduler and callbacks read of a `ray.tune.experiment.Trial`."""

    trial_id: str
    record: TrialRecord
    epoch: int = 0
    last_result: dict[str, Any] = field(default_factory=dict)
    error_file: str | None = None


class Callbacks(Protocol):
    """The part of `tune.Callback` that sweeps use."""

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None: ...

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None: ...


class Searching(Protocol):
    """The part of a search that the loop calls, and what `KeepAndTell` tells it."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None: ...

    def record_of(self, trial_id: str) -> TrialRecord: ...

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None: ...

    def on_trial_complete(self, trial_id: str, result: dict[str, Any]) -> None: ...

    def tell(self, record: TrialRecord) -> None: ...


class Stopping(Protocol):
    """The part of a scheduler that the loop calls."""

    @property
    def stopped(self) -> Collection[int]: ...

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None: ...

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> Any: ...

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None: ...


class KeepAndTell:
    """What `infra.sweep.recorder.Recorder` does, less storage, MLflow and log."""

    def __init__(self, searcher: Searching, stopping: Stopping) -> None:
        self._searcher, self._stopping = searcher, stopping

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        trial.record.add_report(result)

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        trial.record.state = PRUNED if trial.record.number in self._stopping.stopped else COMPLETE
        self._searcher.tell(trial.record)


def simulate(
    searcher: Searching,
    stopping: Stopping,
    board: LocalBoard,
    callbacks: Callbacks,
    slots: int,
    next_report: NextReport,
) -> Iterator[tuple[float, TrialRecord]]:
    """Run trials until the searcher has no more; yields the simulated time and the record after each report.

    A trial ends with the last epoch of its config, or when it is told to. Whoever stops iterating stops the sweep.
    """
    running: list[tuple[float, int, SimulatedTrial]] = []
    names = iter(range(10**9))

    def begin(now_s: float) -> None:
        trial_id = f"simulated-{next(names)}"
        if isinstance(searcher.suggest(trial_id), dict):
            trial = SimulatedTrial(trial_id, searcher.record_of(trial_id))
            stopping.on_trial_add(None, trial)
            train(trial, now_s)

    def train(trial: SimulatedTrial, now_s: float) -> None:
        trial.epoch += 1
        trial.last_result, seconds = next_report(trial.record, trial.epoch)
        heapq.heappush(running, (now_s + seconds, trial.record.number, trial))

    for _ in range(slots):
        begin(0.0)
    while running:
        now_s, number, trial = heapq.heappop(running)
        result = trial.last_result
        stopping.on_trial_result(None, trial, result)
        searcher.on_trial_result(trial.trial_id, result)
        callbacks.on_trial_result(0, [], trial, result)
        ends = not board.goes_on(number) or trial.epoch >= trial.record.config["training"]["epochs"]
        if ends:
            stopping.on_trial_complete(None, trial, result)
            searcher.on_trial_complete(trial.trial_id, result)
            callbacks.on_trial_complete(0, [], trial)
        yield now_s, trial.record
        if ends:
            begin(now_s)
        else:
            train(trial, now_s)
