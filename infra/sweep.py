"""Run a sweep, or go on with one: the same command does either, by name.

What happens, in this order: everything that can be refused is refused; the data is decoded once and shared by all
trials, or streamed to each where it does not fit; trials run until the budget in trials or time is spent; the outcome
is tabled, plotted, and the best model registered as challenger. The driver keeps nothing that `infra.records` does not
hold, so killing it at any point loses at most the epoch that was being trained.
"""

from __future__ import annotations

import logging
import math
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler

from data import storage
from data.errors import UserError
from data.store import Store, open_store
from infra.data_memory import DataPlan, plan_data
from infra.ray_cluster import connect, ray_storage
from infra.reach import require_answers
from infra.recorder import Recorder
from infra.records import FAILED, PRUNED, SweepStore, TrialRecord
from infra.search import StudySearcher, try_out
from infra.settings import Settings
from infra.shared_data import SharedData, load_shared, preparation
from infra.stopping import DecisionBoard, GracefulStopping, asha
from infra.tracking import SweepTracker, source_version
from search_spaces.space import SearchSpace
from trainables.config import TrialConfig
from trainables.prepare import PrepareRow
from trainables.weights import warn_random_weights
from trainables.worker import SweepContext, TrialResources, run_trial

logger = logging.getLogger(__name__)

EXPERIMENT = "seldtune"
STOPPERS = ("asha", "none")


@dataclass(frozen=True, kw_only=True)
class SweepRequest:
    """What the user asked for; nothing means: what the space is meant for."""

    space: SearchSpace
    name: str | None = None
    data: str | None = None
    trials: int | None = None
    budget_s: float | None = None
    workers: int = 1
    cpus_per_worker: int | None = None
    gpus_per_worker: float | None = None
    concurrency: int | None = None
    data_memory_bytes: int | None = None
    """For decoded data in Ray's object stores; nothing: a share of what they have."""
    stopper: str = "asha"
    seed: int = 0
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `TrialConfig` that every trial takes, by dotted name."""


@dataclass(frozen=True, kw_only=True)
class SweepOutcome:
    """A sweep as it stands, finished or interrupted."""

    name: str
    records: list[TrialRecord]
    tracker: SweepTracker
    store: Store
    shared: SharedData | None
    """Nothing when no trial was left to run."""
    sweep: SweepStore
    finished: bool
    seconds: float
    """Wall-clock time over all starts."""


def run_sweep(request: SweepRequest, settings: Settings) -> SweepOutcome:
    """Start or continue a sweep and return when its budget is spent, or when it is interrupted.

    Raises:
        UserError: the request cannot be carried out; nothing was written then.
    """
    plan = _plan(request, settings)
    space, store, sweep, records = plan.space, plan.store, plan.sweep, plan.records
    tags = {"data": store.manifest.sha256, **source_version()}
    shared = None
    if plan.owed:
        connect(settings)
        data = plan_data(store, plan.prepare, request.data_memory_bytes)
        concurrency = _concurrency(request.concurrency, plan.resources, data)
        cpus = _cpus_for_data(plan.resources, concurrency) // concurrency
        shared = load_shared(store, plan.prepare, data, settings.root, concurrency, plan.resources.workers, cpus)
        for config in {config.visual.name: config for config in plan.configs}.values():
            warn_random_weights(config)
    # From here on things are written.
    sweep.create(plan.settings)
    tracker = SweepTracker(settings.mlflow_tracking_uri or "", EXPERIMENT, sweep.name, {**tags, "space": space.name})
    # Budgets may grow from one start to the next; MLflow's parameters may not change, its tags may.
    budget = {"budget.trials": str(plan.num_trials), "budget.seconds": f"{plan.budget_s:g}"}
    tracker.log_sweep(plan.settings, {}, budget)
    for record in records:
        tracker.update(record)

    started = time.monotonic()

    def elapsed() -> float:
        return plan.spent_s + (time.monotonic() - started if plan.owed else 0.0)

    def is_over() -> bool:
        return elapsed() >= plan.budget_s

    finished = True
    if shared is not None:
        logger.info("%d of %d trials to run, %d at a time", plan.owed, plan.num_trials, concurrency)
        searcher = StudySearcher(
            space,
            sweep,
            records,
            fixed=request.fixed,
            seed=request.seed,
            num_trials=plan.num_trials,
            is_over=is_over,
        )
        board = DecisionBoard()
        stopping = GracefulStopping(plan.stopper(), board, is_over, searcher.record_of)
        stopping.replay([record for record in records if record.ended])
        context = SweepContext(
            trials_uri=sweep.work_uri,
            feature_mean=shared.feature_mean,
            feature_std=shared.feature_std,
            ask=board.ask,
            resources=plan.resources,
            provenance={"sweep": sweep.name, **tags},
            ray_storage=ray_storage(f"{sweep.uri}/ray"),
        )
        recorder = Recorder(sweep, searcher, stopping, tracker, elapsed)
        finished = _fit(searcher, stopping, recorder, context, shared, plan.owed, concurrency)
    seconds = elapsed()
    if finished and seconds >= plan.budget_s:
        _end_overdue(records, sweep, tracker)
    return SweepOutcome(
        name=sweep.name,
        records=records,
        tracker=tracker,
        store=store,
        shared=shared,
        sweep=sweep,
        finished=finished and all(record.ended for record in records),
        seconds=seconds,
    )


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """A request that has been found possible, and where its sweep stands."""

    space: SearchSpace
    store: Store
    sweep: SweepStore
    settings: dict[str, Any]
    """What must not change while the sweep lives."""
    configs: list[TrialConfig]
    """Samples of the space."""
    prepare: PrepareRow
    records: list[TrialRecord]
    resources: TrialResources
    num_trials: int
    budget_s: float
    spent_s: float
    owed: int
    """Trials still to be run or continued."""

    def stopper(self) -> AsyncHyperBandScheduler | None:
        if self.settings["stopper"] == "none":
            return None
        epochs = max(config.training.epochs for config in self.configs)
        return asha(epochs, self.space.grace_epochs, self.space.reduction)


def _plan(request: SweepRequest, settings: Settings) -> _Plan:
    """Check everything that can be checked without writing or decoding anything."""
    space, name, data_uri, resources = _resolve(request, settings)
    if request.stopper not in STOPPERS:
        raise UserError(f"stopper {request.stopper!r} is not known; choose one of {', '.join(STOPPERS)}")
    num_trials = space.trials if request.trials is None else request.trials
    budget_s = space.budget_s if request.budget_s is None else request.budget_s
    if num_trials < 1 or budget_s <= 0:
        raise UserError(f"a budget of {num_trials} trials and {budget_s:g} s leaves nothing to do; raise it")
    configs = try_out(space, request.fixed, request.seed)
    _check_batches(configs, resources.workers)
    storage.check_root(settings.root)
    require_answers(settings)
    store = open_store(data_uri)
    store.check()
    prepare = preparation(configs, store.manifest.sha256)
    sweep = SweepStore(settings.root, name)
    fixed_settings = {
        "space": space.name,
        "data": store.manifest.sha256,
        "seed": request.seed,
        "stopper": request.stopper,
        "fixed": dict(request.fixed),
        "workers": request.workers,
    }
    records = sweep.trials() if sweep.check(fixed_settings) else []
    spent_s = max((record.budget_spent_s for record in records), default=0.0)
    return _Plan(
        space=space,
        store=store,
        sweep=sweep,
        settings=fixed_settings,
        configs=configs,
        prepare=prepare,
        records=records,
        resources=resources,
        num_trials=num_trials,
        budget_s=budget_s,
        spent_s=spent_s,
        owed=0 if spent_s >= budget_s else max(0, num_trials - sum(record.ended for record in records)),
    )


def _resolve(request: SweepRequest, settings: Settings) -> tuple[SearchSpace, str, str, TrialResources]:
    space = request.space
    name = request.name or space.name
    if not name.replace("-", "").replace("_", "").isalnum():
        raise UserError(f"--name {name!r}: use letters, digits, - and _")
    cpus = space.cpus_per_worker if request.cpus_per_worker is None else request.cpus_per_worker
    gpus = space.gpus_per_worker if request.gpus_per_worker is None else request.gpus_per_worker
    if request.workers < 1 or cpus < 1 or gpus < 0:
        raise UserError(f"{request.workers} workers of {cpus} CPUs and {gpus:g} GPUs: workers and CPUs start at 1")
    resources = TrialResources(workers=request.workers, cpus_per_worker=cpus, gpus_per_worker=gpus)
    return space, name, request.data or f"{settings.root}/data/{space.name}", resources


def _check_batches(configs: list[TrialConfig], workers: int) -> None:
    for size in sorted({config.training.batch_size for config in configs}):
        if size % workers:
            raise UserError(
                f"training.batch_size = {size} cannot be shared by {workers} workers; choose a multiple, e.g. "
                f"--set training.batch_size={math.ceil(size / workers) * workers}"
            )


def _concurrency(asked: int | None, resources: TrialResources, data: DataPlan) -> int:
    """Trials at a time that the cluster has room for.

    They may have every CPU where the data is decoded before they start. Where it is streamed, one stays free to decode,
    and each trial has room for the few rows that it cannot do without.
    """
    import ray

    total = ray.cluster_resources()
    cpus, gpus = total.get("CPU", 0.0), total.get("GPU", 0.0)
    need = resources.workers * resources.cpus_per_worker
    room = int(cpus // need)
    if resources.gpus_per_worker:
        room = min(room, int(gpus // (resources.workers * resources.gpus_per_worker)))
    if room < 1:
        raise UserError(
            f"a trial needs {resources.workers} x ({resources.cpus_per_worker} CPU, {resources.gpus_per_worker:g} "
            f"GPU), but the Ray cluster has {cpus:g} CPU and {gpus:g} GPU in all; lower --workers, --cpus or --gpus"
        )
    if data.streamed:
        room = min(room, int((cpus - 1) // need))
        if room < 1:
            raise UserError(
                f"a trial takes {need} of the Ray cluster's {cpus:g} CPUs, which leaves none to decode the data that "
                f"is streamed to it ({', '.join(data.streamed)}); lower --cpus or --workers, or hold the data with "
                f"--data-memory {data.text(data.needed_bytes)}"
            )
        room = min(room, data.streams(resources.workers))
    return min(room, asked or room)


def _cpus_for_data(resources: TrialResources, concurrency: int) -> int:
    """CPUs that the trials leave free."""
    import ray

    taken = concurrency * resources.workers * resources.cpus_per_worker
    return max(0, int(ray.cluster_resources().get("CPU", 0.0)) - taken)


def _end_overdue(records: list[TrialRecord], sweep: SweepStore, tracker: SweepTracker) -> None:
    """Trials that an earlier start left open, and that the time budget has no room for, end with what they have."""
    for record in records:
        if not record.ended:
            record.state = PRUNED if record.reports else FAILED
            record.error = None if record.reports else "interrupted before its first report, and the budget is spent"
            sweep.write(record)
            tracker.update(record)


def _fit(
    searcher: StudySearcher,
    stopping: GracefulStopping,
    recorder: Recorder,
    context: SweepContext,
    shared: SharedData,
    owed: int,
    concurrency: int,
) -> bool:
    """Run the owed trials through Ray Tune; False when interrupted."""
    from ray import tune

    resources = context.resources
    # A worker group brings its own placement group; the trial actor above it only waits, and may not cost a CPU.
    request = (
        {"CPU": resources.cpus_per_worker, **({"GPU": resources.gpus_per_worker} if resources.gpus_per_worker else {})}
        if resources.workers == 1
        else {"memory": 1}
    )
    trainable = tune.with_parameters(run_trial, context=context, splits=shared.splits)
    tuner = tune.Tuner(
        tune.with_resources(trainable, tune.PlacementGroupFactory([request])),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=stopping,
            num_samples=owed,
            max_concurrent_trials=concurrency,
            reuse_actors=resources.workers == 1,
            trial_name_creator=lambda trial: f"trial-{trial.config['number']:05d}",
            trial_dirname_creator=lambda trial: f"{trial.config['number']:05d}-{trial.trial_id}",
        ),
        run_config=tune.RunConfig(callbacks=[recorder], verbose=0, name="tune", **context.ray_storage),
    )
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        tuner.fit()
    except KeyboardInterrupt:
        logger.warning("interrupted; the same command goes on from here")
        return False
    finally:
        signal.signal(signal.SIGTERM, previous)
    return True
