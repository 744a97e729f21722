"""Run a sweep, or go on with one: the same command does either, by name.

What happens, in this order: everything that can be refused is refused; the data is decoded once and shared by all
trials, or streamed to each where it does not fit; trials run until the budget is spent; the outcome is tabled, plotted,
and the best model registered as challenger. The driver keeps nothing that `infra.record.trials` does not hold, so
killing it at any point loses at most the epoch that was being trained, and a driver that has grown may be replaced at
any time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import mlflow

from data import storage
from data.errors import UserError
from data.stores.chunks import Store, open_store
from infra.cluster.join import cluster_name, connect, ray_storage
from infra.cluster.nodes import require_shared
from infra.cluster.usage import cluster_usage
from infra.costs.calibration import kept_calibration
from infra.costs.feasible import feasibility, worker_memory_bytes
from infra.provenance.checkout import source_version
from infra.record.budget import Budget, Ledger
from infra.record.claim import SweepClaim, read_driver, require_free
from infra.record.retries import Retries
from infra.record.trials import FAILED, PRUNED, SweepStore, TrialRecord, settle
from infra.search.objectives import SELD, check_objectives
from infra.search.samplers import DEFAULT, check_sampler
from infra.search.scheduler import DecisionBoard, GracefulStopping
from infra.search.searcher import StudySearcher, try_out
from infra.search.stoppers import STOPPERS, Stopper, StopperSettings, make_stopper
from infra.search.warm_start import earlier_trials, keep, kept
from infra.stack.answers import require_answers
from infra.stack.settings import Settings
from infra.sweep.data import SharedData, load_shared, preparation
from infra.sweep.data_memory import plan_data
from infra.sweep.recorder import Recorder
from infra.sweep.request import budget_of, check_batches, cpus_left, data_uri, name_of, resources_of, trials_at_a_time
from infra.sweep.tune import run_trials
from infra.tracking.tracker import SweepTracker
from infra.watch.gauges import SweepGauges
from infra.watch.publish import SweepFeed
from search_spaces.space import SearchSpace
from trainables.config import TrialConfig
from trainables.inputs.prepare import PrepareRow
from trainables.networks.pretrained import warn_random_weights
from trainables.training.resources import TrialResources
from trainables.training.worker import SweepContext

logger = logging.getLogger(f"seldtune.{__name__}")

EXPERIMENT = "seldtune"


@dataclass(frozen=True, kw_only=True)
class SweepRequest:
    """What the user asked for; nothing means: what the space is meant for."""

    space: SearchSpace
    name: str | None = None
    data: str | None = None
    trials: int | None = None
    budget_s: float | None = None
    gpu_hours: float | None = None
    cpu_hours: float | None = None
    """What trials hold (`infra.record.budget`); nothing: no limit."""
    retries: Retries = field(default_factory=Retries)
    workers: int = 1
    cpus_per_worker: int | None = None
    gpus_per_worker: float | None = None
    concurrency: int | None = None
    data_memory_bytes: int | None = None
    """For decoded data in Ray's object stores; nothing: a share of what they have."""
    sampler: str = DEFAULT
    stopper: str = "asha"
    against: tuple[str, ...] = ()
    """Objectives beside the score (`infra.search.objectives`)."""
    warm_start: tuple[str, ...] = ()
    """Sweeps whose results the sampler knows from the start."""
    seed: int = 0
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `TrialConfig` that every trial takes, by dotted name."""

    @property
    def objectives(self) -> tuple[str, ...]:
        return (SELD, *self.against)


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
    used_up: str | None
    """The limit of the budget that ended it, in words; nothing: its trials are done."""

    @property
    def status(self) -> str:
        """What the sweep's run in MLflow ends with."""
        if not self.finished:
            return "KILLED"
        return "FAILED" if all(record.state == FAILED for record in self.records) else "FINISHED"


Screen = Callable[[SweepFeed], AbstractContextManager[None]]
"""Shows a sweep while it runs."""


@contextmanager
def run_sweep(request: SweepRequest, settings: Settings, screen: Screen | None = None) -> Iterator[SweepOutcome]:
    """Start or continue a sweep; its outcome is there when its budget is spent, or when it is interrupted.

        with run_sweep(request, settings) as outcome:
            if outcome.finished:
                conclude(outcome, "seld")

    Its runs in MLflow are open within, for what is still to be said of it, and ended after that, whatever happens.

    Args:
        screen: shows how it stands, in place of a line a report.

    Raises:
        UserError: the request cannot be carried out, or another driver runs the sweep; nothing was written then.
    """
    plan = plan_sweep(request, settings, claiming=True)
    with ExitStack() as opened:
        if plan.owed:
            outcome = _run_owed(plan, request, settings, screen, opened)
        else:
            tracker = opened.enter_context(_begin(plan, settings))
            outcome = _outcome(plan, tracker, None, plan.ledger(), finished=True)
        outcome.tracker.status = outcome.status
        yield outcome


def _run_owed(
    plan: SweepPlan, request: SweepRequest, settings: Settings, screen: Screen | None, opened: ExitStack
) -> SweepOutcome:
    """Run the trials that are owed; the tracker stays in `opened`."""
    connect(settings)
    require_shared(plan.store, settings.root)
    with SweepClaim(plan.sweep.uri, plan.sweep.name, cluster_name(settings), settings.ray_address) as claim:
        data = plan_data(plan.store, plan.prepare, request.data_memory_bytes)
        concurrency = trials_at_a_time(request.concurrency, plan.resources, data)
        cpus = cpus_left(plan.resources, concurrency) // concurrency
        shared = load_shared(plan.store, plan.prepare, data, settings.root, concurrency, plan.resources.workers, cpus)
        for config in {config.visual.name: config for config in plan.configs}.values():
            warn_random_weights(config)
        # From here on things are written.
        tracker, ledger = opened.enter_context(_begin(plan, settings)), plan.ledger()
        feed = SweepFeed(
            driver=claim.driver,
            name=plan.sweep.name,
            space=plan.space.name,
            data=plan.store.root,
            concurrency=concurrency,
            records=plan.records,
            ledger=ledger,
            mlflow=tracker.url,
        )
        gauges = SweepGauges(plan.sweep.name)

        def beat() -> dict[str, Any]:
            feed.ask_cluster()
            gauges.show(feed.overview(), tracker.pending)
            return feed.facts()

        claim.announce(beat)
        logger.info("%d of %d trials to run, %d at a time", plan.owed, plan.budget.trials, concurrency)
        ledger.start()
        with nullcontext() if screen is None else screen(feed):
            finished = _search(plan, request, settings, shared, tracker, ledger, concurrency)
        outcome = _outcome(plan, tracker, shared, ledger, finished=finished)
        if outcome.finished:
            claim.finished()
    return outcome


@contextmanager
def _begin(plan: SweepPlan, settings: Settings) -> Iterator[SweepTracker]:
    """Write the sweep's settings, and bring its runs in MLflow up to date with the records."""
    plan.sweep.create(plan.settings)
    for record in plan.settled:
        plan.sweep.write(record)
    if kept(plan.sweep) is None:
        keep(plan.sweep, plan.earlier)
    # Budgets may grow from one start to the next; MLflow's parameters may not change, its tags may.
    limits = {f"budget.{name}": f"{limit:g}" for name, limit in asdict(plan.budget).items() if limit is not None}
    with SweepTracker(
        settings.mlflow_tracking_uri or "",
        EXPERIMENT,
        plan.sweep.name,
        {**plan.tags, "space": plan.space.name},
        outbox=f"{plan.sweep.uri}/outbox",
    ) as tracker:
        tracker.log_sweep(plan.settings, {}, limits)
        tracker.update(*plan.records)
        yield tracker


def _search(
    plan: SweepPlan,
    request: SweepRequest,
    settings: Settings,
    shared: SharedData,
    tracker: SweepTracker,
    ledger: Ledger,
    concurrency: int,
) -> bool:
    """Run the trials that are owed; False when interrupted."""

    def is_over() -> bool:
        return ledger.used_up() is not None

    searcher = StudySearcher(
        plan.space,
        plan.sweep,
        plan.records,
        fixed=request.fixed,
        seed=request.seed,
        num_trials=plan.budget.trials,
        is_over=is_over,
        sampler=request.sampler,
        objectives=request.objectives,
        refuses=_refuses(plan, request, settings),
        earlier=plan.earlier,
    )
    board, stopper = DecisionBoard(), plan.stopper()
    stopping = GracefulStopping(stopper, board, is_over, searcher.record_of)
    stopping.replay(plan.records)
    context = SweepContext(
        trials_uri=plan.sweep.work_uri,
        feature_mean=shared.feature_mean,
        feature_std=shared.feature_std,
        ask=board.ask,
        mail=board.mail,
        keep_every=stopper.keep_every,
        resources=plan.resources,
        provenance={"sweep": plan.sweep.name, **plan.tags},
        ray_storage=ray_storage(f"{plan.sweep.uri}/ray"),
    )
    recorder = Recorder(plan.sweep, searcher, stopping, tracker, ledger, request.retries, plan.resources)
    tracker.watch(cluster_usage)
    try:
        finished = run_trials(searcher, stopping, recorder, context, shared.splits, concurrency)
    finally:
        board.close()
    if not finished:
        recorder.interrupt(plan.records)
    if searcher.given_up and not plan.records:
        raise UserError(searcher.given_up)
    plan.given_up = searcher.given_up
    return finished


def _refuses(plan: SweepPlan, request: SweepRequest, settings: Settings) -> Callable[[TrialConfig], str | None]:
    """What `seldtune plan` would refuse of a config."""
    config = plan.configs[0]
    try:
        calibration = kept_calibration(config.training.precision, plan.resources, settings.root)
    except TimeoutError:
        calibration = None
    memory = worker_memory_bytes(plan.resources)
    return feasibility(request, plan.resources, plan.store, config.inputs, memory, calibration)


def _outcome(
    plan: SweepPlan, tracker: SweepTracker, shared: SharedData | None, ledger: Ledger, *, finished: bool
) -> SweepOutcome:
    used_up = ledger.used_up()
    if used_up and sum(record.ended for record in plan.records) >= plan.budget.trials:
        used_up = None
    if finished and used_up:
        _end_overdue(plan.records, plan.sweep, tracker)
    return SweepOutcome(
        name=plan.sweep.name,
        records=plan.records,
        tracker=tracker,
        store=plan.store,
        shared=shared,
        sweep=plan.sweep,
        finished=finished and all(record.ended for record in plan.records),
        seconds=ledger.spent().wall_s,
        used_up=used_up,
    )


@dataclass(kw_only=True)
class SweepPlan:
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
    budget: Budget
    spent_s: float
    """Wall-clock time that earlier starts used."""
    owed: int
    """Trials still to be run or continued."""
    settled: list[TrialRecord]
    """What `infra.record.trials.settle` changed, still to be written."""
    earlier: Sequence[TrialRecord] = ()
    """Trials of other sweeps that the sampler goes by."""
    given_up: str | None = None
    """Why nothing more was proposed, though there was budget."""

    @cached_property
    def tags(self) -> dict[str, str]:
        """Where its results come from."""
        return {"data": self.store.manifest.sha256, **source_version()}

    def ledger(self) -> Ledger:
        return Ledger(self.budget, self.records, self.spent_s)

    def stopper(self) -> Stopper:
        settings = StopperSettings(
            max_epochs=max(config.training.epochs for config in self.configs),
            grace_epochs=self.space.grace_epochs,
            reduction=self.space.reduction,
            seed=self.settings["seed"],
        )
        return make_stopper(self.settings["stopper"], settings)


def plan_sweep(request: SweepRequest, settings: Settings, *, claiming: bool = False) -> SweepPlan:
    """Check everything that can be checked without writing or decoding anything.

    Args:
        claiming: refuse as well what another driver runs.
    """
    space, name, resources = request.space, name_of(request), resources_of(request)
    if request.stopper not in STOPPERS:
        raise UserError(f"stopper {request.stopper!r} is not known; choose one of {', '.join(STOPPERS)}")
    check_sampler(request.sampler, space)
    check_objectives(request.objectives)
    trials, wall_s = budget_of(request)
    budget = Budget(
        trials=trials,
        wall_s=wall_s,
        cpu_hours=request.cpu_hours,
        gpu_hours=request.gpu_hours,
    )
    budget.check(resources)
    configs = try_out(space, request.fixed, request.seed)
    check_batches(configs, resources.workers)
    storage.check_root(settings.root)
    require_answers(settings)
    store = open_store(data_uri(request, settings))
    store.check()
    prepare = preparation(configs, store.manifest.sha256)
    sweep = SweepStore(settings.root, name)
    fixed_settings = {
        "space": space.name,
        "space_identity": space.identity,
        "data": store.manifest.sha256,
        "seed": request.seed,
        "sampler": request.sampler,
        "stopper": request.stopper,
        "against": list(request.against),
        "warm_start": list(request.warm_start),
        "fixed": dict(request.fixed),
        "workers": request.workers,
    }
    last = require_free(sweep.uri, name, cluster_name(settings)) if claiming else read_driver(sweep.uri)
    records = sweep.trials() if sweep.check(fixed_settings) else []
    earlier = kept(sweep)
    if earlier is None and request.warm_start:
        client = mlflow.MlflowClient(settings.mlflow_tracking_uri)
        data = store.manifest.sha256
        earlier = earlier_trials(
            client, EXPERIMENT, request.warm_start, space, data=data, objectives=request.objectives
        )
    settled = settle(records, last.beat if last else 0.0)
    spent_s = max([record.budget_spent_s for record in records] + [last.facts["spent_wall_s"] if last else 0.0])
    over = Ledger(budget, records, spent_s).used_up()
    return SweepPlan(
        space=space,
        store=store,
        sweep=sweep,
        settings=fixed_settings,
        configs=configs,
        prepare=prepare,
        records=records,
        resources=resources,
        budget=budget,
        spent_s=spent_s,
        owed=0 if over else max(0, budget.trials - sum(record.ended for record in records)),
        settled=settled,
        earlier=earlier or (),
    )


def _end_overdue(records: list[TrialRecord], sweep: SweepStore, tracker: SweepTracker) -> None:
    """Trials that an earlier start left open, and that the time budget has no room for, end with what they have."""
    for record in records:
        if not record.ended:
            record.state = PRUNED if record.reports else FAILED
            if not record.reports:
                last = record.attempts[-1].error if record.attempts else None
                record.error = f"{last or 'interrupted'} before its first report, and the budget is spent"
            sweep.write(record)
            tracker.update(record)
