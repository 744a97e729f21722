"""Trials on a Ray cluster that stream their data: alone in their actor, and in a worker group."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from ray import tune
from ray_leftovers import wait_until_nothing_is_left

from data.store import Store, read_index
from data.streamed_split import StreamedSplit, largest_row_bytes
from data.synth import SynthSettings, synthesise
from infra.bench.own_ray import own_ray
from trainables.config import CnnConformer, ConformerConfig, Cosine, InputConfig, TrainingConfig, TrialConfig
from trainables.config_tree import to_dict
from trainables.decision import GO_ON, STOP
from trainables.loop import REPORT_KEYS
from trainables.prepare import PrepareRow
from trainables.worker import SweepContext, TrialResources, run_trial

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
    training=TrainingConfig(epochs=3, batch_size=8, seed=3),
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
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        with own_ray(num_cpus=CPUS, object_store_memory=200_000_000):
            yield


def run(store: Store, folder: Path, workers: int, stop_after: int | None = None) -> dict[str, Any]:
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
    context = SweepContext(
        trials_uri=str(folder / "trials"),
        feature_mean=np.zeros((7, 1, INPUTS.n_mels), np.float32),
        feature_std=np.full((7, 1, INPUTS.n_mels), 20.0, np.float32),
        ask=lambda number: lambda epoch: STOP if epoch == stop_after else GO_ON,
        resources=TrialResources(workers=workers),
        ray_storage={"storage_path": str(folder / "ray")},
    )
    request = {"CPU": 1} if workers == 1 else {"memory": 1}
    results = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(run_trial, context=context, splits=streamed), tune.PlacementGroupFactory([request])
        ),
        param_space={"number": 0, "config": to_dict(CONFIG)},
        run_config=tune.RunConfig(storage_path=str(folder / "tune"), verbose=0),
    ).fit()
    assert not results.errors, results.errors
    return results[0].metrics


@pytest.mark.parametrize("workers", [1, 2])
def test_a_streamed_trial_trains_to_its_end_and_leaves_nothing(
    cluster: None, store: Store, tmp_path: Path, workers: int
) -> None:
    metrics = run(store, tmp_path, workers)
    assert metrics["epoch"] == 3
    assert set(REPORT_KEYS) <= metrics.keys()
    assert np.isfinite(metrics["train_loss"])
    nothing_is_left()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_streamed_trial_that_is_stopped_early_leaves_nothing(
    cluster: None, store: Store, tmp_path: Path, workers: int
) -> None:
    assert run(store, tmp_path, workers, stop_after=1)["epoch"] == 1
    nothing_is_left()


def nothing_is_left() -> None:
    """All CPUs, placement groups and actors are gone, and so is what the object store held, soon."""
    wait_until_nothing_is_left(CPUS, timeout_s=20)
    total = ray.cluster_resources()["object_store_memory"]
    assert total - ray.available_resources().get("object_store_memory", 0) < 2e6
