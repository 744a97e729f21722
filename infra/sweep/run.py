"""Run a sweep, or go on with one: the same command does either, by name.

What happens, in this order: everything that can be refused is refused; the data is decoded once and shared by all
trials, or streamed to each where it does not fit; trials run until the budget is spent; the outcome is tabled, plotted,
and the best model registered as challenger. The driver keeps nothing that `infra.record.folder` does not hold, so
killing it at any point loses at most the epoch that was being trained, and a driver that has grown may be replaced at
any time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict, replace
from typing import Any

from data.errors import UserError
from data.patience import operators_limit_s, patient
from data.stores.chunks import Store, open_store
from infra.cluster.join import cluster_name, connect
from infra.cluster.nodes import require_shared
from infra.cluster.usage import cluster_usage
from infra.costs.precision import fixed_precision
from infra.record.claim import SweepClaim
from infra.search.warm_start import keep
from infra.stack.settings import Settings
from infra.sweep.data import load_shared, without_pictures
from infra.sweep.data_memory import divide_data
from infra.sweep.outcome import SweepOutcome, outcome_of
from infra.sweep.request import SweepRequest
from infra.sweep.room import cpus_left, trials_at_a_time
from infra.sweep.search import search
from infra.sweep.standing import Standing, look_up
from infra.tracking.experiment import EXPERIMENT
from infra.tracking.tracker import SweepTracker
from infra.watch.gauges import SweepGauges
from infra.watch.publish import SweepFeed
from trainables.networks.pretrained import warn_random_weights

logger = logging.getLogger(f"seldtune.{__name__}")

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
        WaitedInVain: a service was away for as long as the operator allows; the same call goes on.
    """
    patience_s = operators_limit_s()
    standing = look_up(request.settle(settings.root), settings, claiming=True)
    with ExitStack() as opened:
        opened.enter_context(patient(patience_s))
        if standing.owed:
            outcome = _run_owed(standing, settings, screen, opened)
        else:
            tracker = opened.enter_context(_tracked(standing, settings))
            outcome = outcome_of(standing, tracker, None, finished=True)
        outcome.tracker.status = outcome.status
        yield outcome


def _run_owed(standing: Standing, settings: Settings, screen: Screen | None, opened: ExitStack) -> SweepOutcome:
    """Run the trials that are owed; the tracker stays in `opened`."""
    asked, sweep, store, ledger = standing.asked, standing.sweep, standing.store, standing.ledger
    connect(settings)
    require_shared(store, settings.root)
    with SweepClaim(sweep.uri, sweep.name, cluster_name(settings), settings.ray_address) as claim:
        if fields := fixed_precision(
            asked.configs, standing.records, store, standing.prepare, asked.resources, settings.root
        ):
            asked = asked.fixing(fields)
            standing = replace(standing, asked=asked)
        data = divide_data(store, standing.prepare, asked.data_memory_bytes)
        concurrency = trials_at_a_time(asked.concurrency, asked.resources, data)
        cpus = cpus_left(asked.resources, concurrency) // concurrency
        shared = load_shared(store, standing.prepare, data, settings.root, concurrency, asked.resources.workers, cpus)
        _require_unchanged(store)
        if said := without_pictures(asked.configs, store):
            logger.warning("%s", said)
        for config in {config.visual.name: config for config in asked.configs}.values():
            warn_random_weights(config)
        # From here on things are written.
        tracker = opened.enter_context(_tracked(standing, settings))
        feed = SweepFeed(
            driver=claim.driver,
            name=sweep.name,
            space=asked.search.space.name,
            data=store.root,
            concurrency=concurrency,
            records=standing.records,
            ledger=ledger,
            mlflow=tracker.url,
        )
        gauges = SweepGauges(sweep.name)

        def beat() -> dict[str, Any]:
            feed.ask_cluster()
            gauges.show(feed.overview(), tracker.pending)
            return feed.facts()

        claim.announce(beat)
        in_all = max(asked.budget.trials, len(standing.records))
        logger.info("%d of %d trials to run, %d at a time", standing.owed, in_all, concurrency)
        ledger.start()
        with nullcontext() if screen is None else screen(feed):
            tracker.watch(cluster_usage)
            finished = search(standing, settings.root, shared, tracker, concurrency)
        outcome = outcome_of(standing, tracker, shared, finished=finished)
        if outcome.finished:
            claim.finished()
    return outcome


def _require_unchanged(store: Store) -> None:
    """UserError where the data was replaced while it was read; from now on whoever would replace it sees the sweep."""
    if open_store(store.root).manifest != store.manifest:
        raise UserError(
            f"{store.root} was replaced while it was being read; give the same command again, for the data there now"
        )


@contextmanager
def _tracked(standing: Standing, settings: Settings) -> Iterator[SweepTracker]:
    """Write the sweep's settings, and bring its runs in MLflow up to date with the records."""
    sweep = standing.sweep
    sweep.create(standing.settings, standing.asked.search.space.decides)
    for record in standing.put_right:
        sweep.write(record)
    if not standing.begun:
        keep(sweep, standing.earlier)
    # Budgets may grow from one start to the next; MLflow's parameters may not change, its tags may.
    limits = {
        f"budget.{name}": f"{limit:g}" for name, limit in asdict(standing.ledger.budget).items() if limit is not None
    }
    with SweepTracker(
        settings.mlflow_tracking_uri or "",
        EXPERIMENT,
        sweep.name,
        {**standing.tags, "space": standing.asked.search.space.name},
        outbox=f"{sweep.uri}/outbox",
    ) as tracker:
        tracker.log_sweep(standing.settings, {}, limits)
        tracker.update(*standing.records)
        yield tracker
