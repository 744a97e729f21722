"""A search as Ray Tune's guides have it: its `OptunaSearch` by Optuna's own TPE, and its ASHA over all trials.

In the form in which `infra.bench.search.simulated_tune` calls searcher and scheduler, so that both sides see the same
trials in the same simulated time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.trial import FixedTrial
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from infra.bench.search.simulated_tune import LocalBoard
from infra.record.trials import TrialRecord
from infra.search.stoppers import StopperSettings
from search_spaces.space import SearchSpace
from trainables.config.tree import override, to_dict
from trainables.training.decision import GO_ON, STOP
from trainables.training.reports import OBJECTIVE


class PlainSearch:
    """Suggests without end, knowing nothing of the space's first points."""

    def __init__(self, space: SearchSpace, fixed: Mapping[str, Any], seed: int) -> None:
        def suggest(trial: Any) -> None:
            space.suggest(trial)

        self._space, self._fixed = space, fixed
        self._search = OptunaSearch(suggest, metric=OBJECTIVE, mode="min", seed=seed)
        self._records: dict[str, TrialRecord] = {}

    def suggest(self, trial_id: str) -> dict[str, Any]:
        params = self._search.suggest(trial_id) or {}
        config = override(self._space.suggest(FixedTrial(params)), self._fixed)
        self._records[trial_id] = TrialRecord(len(self._records), params, {}, to_dict(config))
        return params

    def record_of(self, trial_id: str) -> TrialRecord:
        return self._records[trial_id]

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self._search.on_trial_result(trial_id, {**result, "training_iteration": result["epoch"]})

    def on_trial_complete(self, trial_id: str, result: dict[str, Any]) -> None:
        self._search.on_trial_complete(trial_id, result)

    def tell(self, record: TrialRecord) -> None:
        """It has been told by then."""


class PlainAsha:
    """ASHA as it is."""

    def __init__(self, settings: StopperSettings, board: LocalBoard) -> None:
        self._asha = AsyncHyperBandScheduler(
            time_attr="epoch",
            metric=OBJECTIVE,
            mode="min",
            max_t=settings.max_epochs,
            grace_period=settings.grace_epochs,
            reduction_factor=settings.reduction,
        )
        self._last, self._board = settings.max_epochs, board
        self.stopped: set[int] = set()

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self._asha.on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        number, stops = trial.record.number, False
        if self._asha.on_trial_result(tune_controller, trial, result) == TrialScheduler.STOP:
            stops = result["epoch"] < self._last
        if stops:
            self.stopped.add(number)
        self._board.decide(number, int(result["epoch"]), STOP if stops else GO_ON)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self._asha.on_trial_complete(tune_controller, trial, result)
