"""Trials on a Ray cluster that stream their data: alone in their actor, and in a worker group."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from ray import tune

from data.feeding.streamed_split import StreamedSplit, largest_row_bytes
from data.scenes.synth import SynthSettings, synthesise
from data.stores.chunks import Store, read_index
from infra.bench.search.own_ray import own_ray
from infra.search.scheduler import DecisionBoard
from support.ray_leftovers import wait_until_nothing_is_left
from trainables.config import CnnConformer, ConformerConfig, Cosine, InputConfig, TrainingConfig, TrialConfig
from trainables.config.tree import to_dict
from trainables.inputs.prepare import PrepareRow
from trainables.training.decision import GO_ON, STOP
from trainables.training.reports import REPORT_KEYS
from trainables.training.resources import TrialResources
from trainables.training.worker import SweepContext, TrialActor

pytestmark = pytest.mark.slow

INPUTS = InputConfig(n_fft=1024, hop=600, n_mels=16, frame_width=32, frame_height=16, frame_rate_hz=2.0)
CONFIG = TrialConfig(
    inputs=INPUTS,
    audio=CnnConformer(
        channels=(8, 16),
        time_strides=(2, 2),
        frequency_strides=(4, 2),
        conformer=ConformerConfig(layers=1, heads=2, feed_forward=16, kernel=3),
    ),
    schedule=Cosine(),
    training=TrainingConfig(epochs=2, batch_size=8, seed=3),
)
CPUS = 4


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    settings = SynthSettings(
        train_clips=16, val_clips=4, test_clips=0, clip_s=4.0, train_rooms=2, val_rooms=1, with_video=False
    )
    return synthesise(settings, str(tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with own_ray(num_cpus=CPUS, object_store_memory=200_000_000):
        yield


def run(store: Store, folder: Path, workers: int, trials: int, **context: Any) -> tune.ResultGrid:
    """Trials of one config, one after the other, in the same actor as long as none fails."""
    prepare = PrepareRow(INPUTS)
    streamed = {
        split: StreamedSplit(
            store=store,
            split=split,
            prepare=prepare,
            memory_bytes=16 * largest_row_bytes(read_index(store, split).to_pylist(), prepare),
            workers=workers,
        )
        for split in ("train", "val")
    }
    board = DecisionBoard()
    context = {
        "trials_uri": str(folder / "trials"),
        "feature_mean": np.zeros((7, 1, INPUTS.n_mels), np.float32),
        "feature_std": np.full((7, 1, INPUTS.n_mels), 20.0, np.float32),
        "ask": lambda number: lambda epoch: GO_ON,
        "mail": board.mail,
        "resources": TrialResources(workers=workers),
        "ray_storage": {"storage_path": str(folder / "ray")},
        **context,
    }
    request = {"CPU": 1} if workers == 1 else {"memory": 1}
    trainable = tune.with_parameters(TrialActor, context=SweepContext(**context), splits=streamed)
    results = tune.Tuner(
        tune.with_resources(trainable, tune.PlacementGroupFactory([request])),
        param_space={"number": tune.grid_search(range(trials)), "config": to_dict(CONFIG)},
        tune_config=tune.TuneConfig(max_concurrent_trials=1, reuse_actors=True),
        run_config=tune.RunConfig(
            storage_path=str(folder / "tune"),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    ).fit()
    board.close()
    return results


@pytest.mark.parametrize("workers", [1, 2])
def test_streamed_trials_train_to_their_ends_or_stop_early_and_leave_nothing(
    cluster: None, store: Store, tmp_path: Path, workers: int
) -> None:
    def ask(number: int) -> Any:
        return lambda epoch: STOP if (number, epoch) == (2, 1) else GO_ON

    results = run(store, tmp_path, workers, trials=3, ask=ask)
    assert not results.errors, results.errors
    first, second, stopped = (result.metrics for result in results)
    assert first["epoch"] == second["epoch"] == 2
    assert stopped["epoch"] == 1
    assert set(REPORT_KEYS) <= first.keys()
    assert np.isfinite(first["train_loss"])
    # Nothing of the first trial is left in the workers that train the second.
    assert first["train_loss"] == pytest.approx(second["train_loss"], rel=1e-4)
    nothing_is_left()


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_stay_until_one_of_them_fails(cluster: None, store: Store, tmp_path: Path, workers: int) -> None:
    """With a stand-in for the training loop, which says who trained what."""
    log = tmp_path / "log"
    log.mkdir()

    # Defined here, it travels by value: the workers cannot import this file.
    def imitation(config: Any, session: Any, trial_store: Any, mean: Any, std: Any, facts: Any, attempt: int) -> None:
        import os

        (log / f"{facts['trial']}-{session.rank}").write_text(str(os.getpid()))
        session.report({"epoch": 1, "train_loss": float(facts["trial"])})
        if facts["trial"] == 1 and session.rank == session.world_size - 1:
            raise ArithmeticError("planted in the last worker")

    results = run(store, tmp_path, workers, 4, train_trial=imitation)
    assert [result.metrics["train_loss"] for result in results] == [0, 1, 2, 3]
    errors = [result.error for result in results]
    assert [error is not None for error in errors] == [False, True, False, False]
    assert "planted in the last worker" in str(errors[1])
    who = {path.name: path.read_text() for path in log.iterdir()}
    for rank in range(workers):
        assert who[f"0-{rank}"] == who[f"1-{rank}"] != who[f"2-{rank}"] == who[f"3-{rank}"]
    nothing_is_left()


def nothing_is_left() -> None:
    """All CPUs, placement groups and actors are gone, and so is what the object store held, soon."""
    wait_until_nothing_is_left(CPUS, timeout_s=20)
    total = ray.cluster_resources()["object_store_memory"]
    assert total - ray.available_resources().get("object_store_memory", 0) < 2e6
