"""The trials of a sweep through Ray Tune, until none is left, the budget is spent, or the sweep is interrupted."""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING, Any

from infra.cluster.growth import TRIAL_DRIVER
from infra.cluster.ray_private import keep_from_trials
from infra.provenance.secrets import secret_names
from infra.search.scheduler import GracefulStopping
from infra.search.searcher import StudySearcher
from infra.sweep.recorder import Recorder
from trainables.training.worker import SweepContext, TrialActor

if TYPE_CHECKING:
    from ray.tune import Callback, Tuner

logger = logging.getLogger(f"seldtune.{__name__}")


def run_trials(
    searcher: StudySearcher,
    stopping: GracefulStopping,
    recorder: Recorder,
    context: SweepContext,
    splits: dict[str, Any],
    concurrency: int,
) -> bool:
    """Run what the searcher suggests, so many at a time; False when interrupted by Ctrl-C or SIGTERM."""
    tuner = trial_tuner(searcher, stopping, recorder, context, splits, concurrency)
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        tuner.fit()
    except KeyboardInterrupt:
        return False
    finally:
        signal.signal(signal.SIGTERM, previous)
    return True


def trial_tuner(
    searcher: StudySearcher,
    stopping: GracefulStopping,
    callback: Callback,
    context: SweepContext,
    splits: dict[str, Any],
    concurrency: int,
) -> Tuner:
    """Ray Tune as sweeps use it."""
    import ray
    from ray import tune

    # Tune would hand on the keys of the object store. Nodes have keys of their own.
    keep_from_trials(secret_names)
    # A worker group brings its own placement group; the trial actor above it only waits, and may not cost a CPU.
    request = (
        context.resources.of_worker
        if context.resources.alone
        else {TRIAL_DRIVER: 1}
        if ray.cluster_resources().get(TRIAL_DRIVER)
        else {"memory": 1}
    )
    trainable = tune.with_parameters(TrialActor, context=context, splits=splits)
    return tune.Tuner(
        # Spread over the nodes, so that the loss of one is the loss of few trials.
        tune.with_resources(trainable, tune.PlacementGroupFactory([request], strategy="SPREAD")),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=stopping,
            # The searcher says when it is over: a trial that is tried again is one more to Tune.
            num_samples=-1,
            max_concurrent_trials=concurrency,
            reuse_actors=True,
            trial_name_creator=lambda trial: f"trial-{trial.config['number']:05d}",
            trial_dirname_creator=lambda trial: f"{trial.config['number']:05d}-{trial.trial_id}",
        ),
        run_config=tune.RunConfig(
            callbacks=[callback],
            verbose=0,
            name="tune",
            # Trials keep their own.
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            **context.ray_storage,
        ),
    )
