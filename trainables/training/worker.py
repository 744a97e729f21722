"""A trial as Ray Tune runs it: the training loop in the trial's own actor, or in a worker group of Ray Train.

A worker group starts about nine processes and takes tens of seconds of CPU before its first step. A trial of one worker
therefore uses Ray Train's local mode instead (`num_workers` decides, nothing else differs), and workers of either kind
stay for the trials that their actor is given after the first one.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from ray import train, tune
from ray.train.torch import TorchTrainer
from ray.tune.result import RESULT_DUPLICATE

from data.feeding.streamed_split import StreamedSplit
from data.patience import patient
from trainables.config.tree import from_dict
from trainables.training.checkpoint import TrialStore, trial_uri
from trainables.training.loop import train_trial
from trainables.training.mail import LocalMail, Mail
from trainables.training.memory import keep_freed_memory
from trainables.training.resources import TrialResources
from trainables.training.session import KeepGoing, TrialActorSession, WorkerGroupSession

DISMISSAL_TIMEOUT_S = 60.0
"""Of workers that have nothing left to do; it takes a second or two. At the end of a sweep Tune waits for ten."""


@dataclass(frozen=True, kw_only=True)
class SweepContext:
    """What all trials of a sweep share. Travels to each trial actor once."""

    trials_uri: str
    """Folder that holds one folder per trial."""
    feature_mean: np.ndarray
    feature_std: np.ndarray
    ask: Callable[[int], KeepGoing]
    """For a trial's number, what tells it after each report how to go on."""
    mail: Mail | None = None
    """Boxes that all nodes reach; needed by trials of several workers."""
    train_trial: Callable[..., None] = train_trial
    """`trainables.training.loop.train_trial`, or what stands in for it."""
    keep_every: int = 0
    """Checkpoints of every so many epochs stay, for other trials to go on from; 0: none."""
    resources: TrialResources = field(default_factory=TrialResources)
    provenance: dict[str, Any] = field(default_factory=dict)
    patience_s: float | None = None
    """How long a trial waits for storage that is away; None: not at all."""
    ray_storage: dict[str, Any] = field(default_factory=dict)
    """`storage_path` and `storage_filesystem` for Ray Train's own bookkeeping."""

    def trial_store(self, number: int) -> TrialStore:
        return TrialStore(trial_uri(self.trials_uri, number), self.keep_every)


class TrialActor(tune.Trainable):
    """Tune's trainable: trains a trial, and the next one when it is used again.

    The config that Tune gives is an assignment: the trial's `number`, its `config` as a nested dictionary, and which
    `attempt` this is, counted from 0 (the default) over those that failed by themselves; being interrupted is no
    attempt.
    """

    def setup(self, config: dict[str, Any], context: SweepContext, splits: dict[str, Any]) -> None:
        """
        Args:
            splits: for each split a dataset of prepared rows, which is shared, or a `StreamedSplit`.
        """
        self._workers = Workers(context, splits)

    def step(self) -> dict[str, Any]:
        """The trial's next report, or that there are no more. Raises what the training loop raised."""
        if not self._workers.at_work:
            self._workers.begin(self.config)
        report = self._workers.next_report()
        # The way to tell Tune that a trial has ended without a result of its own, as functions do when they return.
        return report if report is not None else {RESULT_DUPLICATE: True}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        return True

    def cleanup(self) -> None:
        # In the middle of a trial, the sweep was interrupted: the workers end with this process.
        if not self._workers.at_work:
            self._workers.dismiss()


class Workers:
    """The workers of a trial actor, alone in its process or a group: they train what they are given until dismissed.

    A report goes through a box of `Mail` and from there to Tune by `TrialActor.step`, so that training waits for
    nothing but the decision on it.
    """

    def __init__(self, context: SweepContext, splits: dict[str, Any]) -> None:
        self._ranks = range(context.resources.workers)
        mail: Mail | None = LocalMail() if context.resources.alone else context.mail
        if mail is None:
            raise ValueError("trials of several workers need SweepContext.mail")
        self._mail = mail
        self._name = uuid.uuid4().hex
        self.at_work = 0
        """Those that have not ended their trial."""
        self._error: BaseException | None = None
        trainer = _trainer(context, splits, mail, self._name)
        # Started with the first trial: Tune also makes actors that it never gives one, and they may hold nothing.
        # A daemon: when Tune ends the actor in the middle of a trial, nothing waits for it.
        self._thread = threading.Thread(target=self._fit, args=(trainer,), daemon=True)

    def _fit(self, trainer: TorchTrainer) -> None:
        try:
            trainer.fit()
        except BaseException as error:
            self._error = error
            self._mail.put(_reports(self._name), None)

    def begin(self, assignment: dict[str, Any]) -> None:
        """Have all workers train this trial."""
        if self._thread.ident is None:
            self._thread.start()
        self.at_work = len(self._ranks)
        for rank in self._ranks:
            self._mail.put(_assignments(self._name, rank), assignment)

    def next_report(self) -> dict[str, Any] | None:
        """Waits for it; None when the trial has ended in every worker. Raises what any of them raised."""
        while self.at_work:
            report: dict[str, Any] | None = self._mail.take(_reports(self._name))
            if report is not None:
                return report
            if self._error is not None:
                raise self._error
            self.at_work -= 1
        return None

    def dismiss(self) -> None:
        """End the workers, if there are any yet, and give back what they hold, once they have no trial."""
        if self._thread.is_alive():
            for rank in self._ranks:
                self._mail.put(_assignments(self._name, rank), None)
            self._thread.join(DISMISSAL_TIMEOUT_S)


def _reports(workers: str) -> str:
    """The box for the reports of these workers' trial; each puts a None behind, when it has ended."""
    return f"{workers}/reports"


def _assignments(workers: str, rank: int) -> str:
    """The box for what one of them has to train."""
    return f"{workers}/assignments/{rank}"


def _trainer(context: SweepContext, splits: dict[str, Any], mail: Mail, name: str) -> TorchTrainer:
    streamed = {split: source for split, source in splits.items() if isinstance(source, StreamedSplit)}
    datasets = {split: source for split, source in splits.items() if split not in streamed}
    resources = context.resources

    def work() -> None:
        with patient(context.patience_s):
            train_all()

    def train_all() -> None:
        torch.set_num_threads(resources.cpus_per_worker)
        keep_freed_memory()
        rank = train.get_context().get_world_rank()
        session_class = TrialActorSession if resources.alone else WorkerGroupSession
        while (assignment := mail.take(_assignments(name, rank))) is not None:
            number: int = assignment["number"]
            context.train_trial(
                from_dict(assignment["config"]),
                session_class(context.ask(number), streamed, lambda report: mail.put(_reports(name), report)),
                context.trial_store(number),
                context.feature_mean,
                context.feature_std,
                {"trial": number, **context.provenance},
                assignment.get("attempt", 0),
            )
            mail.put(_reports(name), None)

    if resources.alone:
        return TorchTrainer(work, scaling_config=train.ScalingConfig(num_workers=0), datasets=datasets)
    return TorchTrainer(
        work,
        scaling_config=train.ScalingConfig(
            num_workers=resources.workers,
            # On one node where there is room: gradients then need no network.
            placement_strategy="PACK",
            use_gpu=resources.gpus_per_worker > 0,
            resources_per_worker=resources.of_worker,
        ),
        datasets=datasets,
        # Every worker sees all rows, as views on its node's object store, and cuts its part of the same batches.
        dataset_config=train.DataConfig(datasets_to_split=[]),
        run_config=train.RunConfig(name=f"workers-{name}", **context.ray_storage),
    )
