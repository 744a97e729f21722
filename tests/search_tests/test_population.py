"""Population-based training on a real Ray cluster, with the real training loop and tiny models."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from ray import tune

from data.feeding.stream import pack_row
from infra.bench.search.own_ray import own_ray
from infra.record.folder import SweepStore
from infra.record.trials import COMPLETE, TrialRecord
from infra.search.proposals import SearchSettings
from infra.search.scheduler import DecisionBoard, GracefulStopping
from infra.search.searcher import StudySearcher
from infra.search.stoppers import StopperSettings, make_stopper
from infra.search.stoppers.population import FACTORS
from infra.sweep.tune import trial_tuner
from search_spaces.space import SearchSpace, Trial
from support.learnable_rows import CONFIG, INPUTS, make_rows
from support.ray_leftovers import wait_until_nothing_is_left
from trainables.config import AdamW, Cosine, OneCycle, TrainingConfig, TrialConfig
from trainables.training.reports import OBJECTIVE, report_of
from trainables.training.worker import SweepContext

pytestmark = pytest.mark.slow

EPOCHS, INTERVAL, CPUS = 8, 4, 2
RATES = (5e-3, 3e-3, 4e-3, 2e-3, 1e-9)
"""The last one learns nothing. It begins when three have ended, so that four can be compared, whatever is how fast."""


def suggest(trial: Trial) -> TrialConfig:
    lr = trial.suggest_float("lr", 1e-9, 1e-2, log=True)
    return dataclasses.replace(
        CONFIG,
        optimiser=AdamW(lr=lr),
        schedule=Cosine() if lr < 1e-6 else OneCycle(),
        training=TrainingConfig(epochs=EPOCHS, batch_size=8, epoch_windows=64, seed=3),
    )


SPACE = SearchSpace(
    name="rates",
    summary="one model, five rates",
    suggest=suggest,
    first=tuple({"lr": rate} for rate in RATES),
    trials=len(RATES),
    budget_s=600,
    grace_epochs=INTERVAL,
    reduction=3,
)


@pytest.fixture
def cluster() -> Iterator[None]:
    with own_ray(num_cpus=CPUS, object_store_memory=100_000_000):
        yield


def held(rows: list[dict[str, Any]]) -> ray.data.Dataset:
    """Rows as a sweep shares them."""
    return ray.data.from_arrow([pack_row(row) for row in rows]).materialize()


def run(folder: Path) -> list[TrialRecord]:
    store = SweepStore(str(folder), "rates")
    records: list[TrialRecord] = []
    settings = SearchSettings(space=SPACE, trials=len(RATES), seed=3)
    searcher = StudySearcher(settings, store, records, is_over=lambda: False)
    stopper = make_stopper("pbt", StopperSettings(max_epochs=EPOCHS, grace_epochs=INTERVAL, seed=3))
    board = DecisionBoard()
    stopping = GracefulStopping(stopper, board, lambda: False, searcher.record_of)

    class Reports(tune.Callback):
        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
            searcher.record_of(trial.trial_id).add_report(report_of(result))

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            record = searcher.record_of(trial.trial_id)
            record.state = COMPLETE
            searcher.tell(record)

    splits = {
        "train": held(make_rows("train", 6, 0)),
        "val": held(make_rows("val", 3, 1)),
    }
    context = SweepContext(
        trials_uri=store.work_uri,
        feature_mean=np.zeros((7, 1, INPUTS.n_mels), np.float32),
        feature_std=np.ones((7, 1, INPUTS.n_mels), np.float32),
        ask=board.ask,
        keep_every=stopper.keep_every,
        ray_storage={"storage_path": str(folder / "ray")},
    )
    results = trial_tuner(searcher, stopping, Reports(), context, splits, CPUS).fit()
    board.close()
    assert not results.errors, results.errors
    return records


def test_a_trial_that_does_not_learn_goes_on_as_one_that_did(cluster: None, tmp_path: Path) -> None:
    """Two run at a time, so that the last one's donor may have ended long before."""
    records = run(tmp_path)
    assert [len(record.reports) for record in records] == [EPOCHS] * len(RATES)
    last = records[-1].reports
    assert last[INTERVAL]["pbt/epoch"] == INTERVAL
    donor = records[int(last[INTERVAL]["pbt/donor"])]
    assert donor.number != records[-1].number
    # The rate is the donor's, a step away, by the donor's kind of schedule.
    rate = last[INTERVAL]["pbt/optimiser.lr"]
    assert any(rate == pytest.approx(factor * RATES[donor.number]) for factor in FACTORS)
    assert "pbt/schedule.rise_fraction" in last[INTERVAL]
    assert last[INTERVAL]["lr"] > 1e3 * last[INTERVAL - 1]["lr"]
    # The weights are the donor's: the loss goes on from where the donor's was, which no epoch at a rate of 1e-9 did.
    before, after = (last[epoch]["train_loss"] for epoch in (INTERVAL - 1, INTERVAL))
    assert before == pytest.approx(last[0]["train_loss"], rel=0.1)
    assert abs(after - donor.reports[INTERVAL]["train_loss"]) < 0.2 * abs(after - before)
    assert last[-1][OBJECTIVE] < last[INTERVAL - 1][OBJECTIVE]
    wait_until_nothing_is_left(CPUS, timeout_s=20)
