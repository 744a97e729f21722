"""A trial as Ray Tune runs it: the training loop in the trial's own actor, or in a worker group of Ray Train.

A worker group starts about nine processes and takes tens of seconds of CPU before its first step, so a trial of one
worker uses Ray Train's local mode instead; `num_workers` decides, nothing else differs.
"""

from __future__ import annotations

import os
import queue
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from ray import train
from ray.train.torch import TorchTrainer
from ray.util import queue as ray_queue

from data.streamed_split import StreamedSplit
from trainables.checkpoint import TrialStore, trial_uri
from trainables.config_tree import from_dict
from trainables.loop import train as train_trial
from trainables.memory import keep_freed_memory
from trainables.session import KeepGoing, TrialActorSession, WorkerGroupSession, relayed


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
    """For a trial's number, what tells it after each report how to go on."""
    keep_every: int = 0
    """Checkpoints of every so many epochs stay, for other trials to go on from; 0: none."""
    resources: TrialResources = field(default_factory=TrialResources)
    provenance: dict[str, Any] = field(default_factory=dict)
    ray_storage: dict[str, Any] = field(default_factory=dict)
    """`storage_path` and `storage_filesystem` for Ray Train's own bookkeeping."""

    def trial_store(self, number: int) -> TrialStore:
        return TrialStore(trial_uri(self.trials_uri, number), self.keep_every)


def run_trial(assignment: dict[str, Any], context: SweepContext, splits: dict[str, Any]) -> None:
    """Tune's trainable.

    Args:
        assignment: the trial's `number`, its `config` as a nested dictionary, and which `attempt` this is, counted from
            0 (the default) over those that failed by themselves; being interrupted is no attempt.
        splits: for each split a dataset of prepared rows, which is shared, or a `StreamedSplit`.
    """
    number: int = assignment["number"]
    resources = context.resources
    alone = resources.workers == 1
    streamed = {name: source for name, source in splits.items() if isinstance(source, StreamedSplit)}
    datasets = {name: source for name, source in splits.items() if name not in streamed}

    reports: Any = queue.SimpleQueue() if alone else ray_queue.Queue(actor_options={"num_cpus": 0})

    def train_on_worker() -> None:
        torch.set_num_threads(resources.cpus_per_worker)
        keep_freed_memory()
        session_class = TrialActorSession if alone else WorkerGroupSession
        train_trial(
            from_dict(assignment["config"]),
            session_class(context.ask(number), streamed, reports),
            context.trial_store(number),
            context.feature_mean,
            context.feature_std,
            {"trial": number, **context.provenance},
            assignment.get("attempt", 0),
        )

    if alone:
        trainer = TorchTrainer(train_on_worker, scaling_config=train.ScalingConfig(num_workers=0), datasets=datasets)
    else:
        # By default the end of a short trial waits up to two seconds for the controller's next look.
        os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        trainer = TorchTrainer(
            train_on_worker,
            scaling_config=train.ScalingConfig(
                num_workers=resources.workers,
                # On one node where there is room: gradients then need no network.
                placement_strategy="PACK",
                use_gpu=resources.gpus_per_worker > 0,
                resources_per_worker={
                    "CPU": resources.cpus_per_worker,
                    **({"GPU": resources.gpus_per_worker} if resources.gpus_per_worker else {}),
                },
            ),
            datasets=datasets,
            # Every worker sees all rows, as views on its node's object store, and cuts its part of the same batches.
            dataset_config=train.DataConfig(datasets_to_split=[]),
            run_config=train.RunConfig(name=f"trial-{number:05d}", **context.ray_storage),
        )
    with relayed(reports):
        trainer.fit()
