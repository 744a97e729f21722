"""A trial as Ray Tune runs it: the training loop in the trial's own actor, or in a worker group of Ray Train.

A worker group starts about nine processes and takes tens of seconds of CPU before its first step, so a trial of one
worker uses Ray Train's local mode instead; `num_workers` decides, nothing else differs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from ray import train
from ray.train.torch import TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback

from data.streamed_split import StreamedSplit
from trainables.checkpoint import TrialStore, trial_uri
from trainables.config_tree import from_dict
from trainables.loop import train as train_trial
from trainables.memory import keep_freed_memory
from trainables.session import KeepGoing, TrialActorSession, WorkerGroupSession


@dataclass(frozen=True, kw_only=True)
class TrialResources:
    """What one trial may use."""

    workers: int = 1
    cpus_per_worker: int = 1
    gpus_per_worker: float = 0.0


@dataclass(frozen=True, kw_only=True)
class SweepContext:
    """What all trials of a sweep share. Travels to each trial actor once."""

    trials_uri: str
    """Folder that holds one folder per trial."""
    feature_mean: np.ndarray
    feature_std: np.ndarray
    ask: Callable[[int], KeepGoing]
    """For a trial's number, what tells it after each report whether to go on."""
    resources: TrialResources = field(default_factory=TrialResources)
    provenance: dict[str, Any] = field(default_factory=dict)
    ray_storage: dict[str, Any] = field(default_factory=dict)
    """`storage_path` and `storage_filesystem` for Ray Train's own bookkeeping."""

    def trial_store(self, number: int) -> TrialStore:
        return TrialStore(trial_uri(self.trials_uri, number))


def run_trial(assignment: dict[str, Any], context: SweepContext, splits: dict[str, Any]) -> None:
    """Tune's trainable.

    Args:
        assignment: the trial's `number` and its `config` as a nested dictionary.
        splits: for each split a dataset of prepared rows, which is shared, or a `StreamedSplit`.
    """
    number: int = assignment["number"]
    resources = context.resources
    alone = resources.workers == 1
    streamed = {name: source for name, source in splits.items() if isinstance(source, StreamedSplit)}
    datasets = {name: source for name, source in splits.items() if name not in streamed}

    def train_on_worker() -> None:
        torch.set_num_threads(resources.cpus_per_worker)
        keep_freed_memory()
        keep_going = context.ask(number)
        train_trial(
            from_dict(assignment["config"]),
            TrialActorSession(keep_going, streamed) if alone else WorkerGroupSession(keep_going, streamed),
            context.trial_store(number),
            context.feature_mean,
            context.feature_std,
            {"trial": number, **context.provenance},
        )

    if alone:
        TorchTrainer(train_on_worker, scaling_config=train.ScalingConfig(num_workers=0), datasets=datasets).fit()
        return
    # By default a report of a short epoch waits up to two seconds for the controller's next look.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    TorchTrainer(
        train_on_worker,
        scaling_config=train.ScalingConfig(
            num_workers=resources.workers,
            use_gpu=resources.gpus_per_worker > 0,
            resources_per_worker={
                "CPU": resources.cpus_per_worker,
                **({"GPU": resources.gpus_per_worker} if resources.gpus_per_worker else {}),
            },
        ),
        datasets=datasets,
        # Every worker sees all rows, as views on its node's object store, and cuts its part of the same batches.
        dataset_config=train.DataConfig(datasets_to_split=[]),
        run_config=train.RunConfig(name=f"trial-{number:05d}", callbacks=[TuneReportCallback()], **context.ray_storage),
    ).fit()
