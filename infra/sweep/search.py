"""The search of a sweep: the trials that are owed, proposed, run, judged and recorded until its end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from data.errors import UserError
from data.patience import limit_s
from data.stores.chunks import Store
from infra.cluster.join import ray_storage
from infra.costs.calibration import kept_calibration
from infra.costs.feasible import Feasibility, worker_memory_bytes
from infra.costs.forecast import data_size
from infra.record.groupings import variant_of
from infra.search.evidence import too_little_gain
from infra.search.fairness import make_fair
from infra.search.scheduler import DecisionBoard, GracefulStopping
from infra.search.searcher import StudySearcher
from infra.sweep.data import SharedData
from infra.sweep.recorder import Recorder
from infra.sweep.request import SettledRequest
from infra.sweep.standing import Standing
from infra.sweep.tune import run_trials
from infra.tracking.tracker import SweepTracker
from trainables.config import TrialConfig
from trainables.training.worker import SweepContext

logger = logging.getLogger(f"seldtune.{__name__}")


def search(standing: Standing, root: str, shared: SharedData, tracker: SweepTracker, concurrency: int) -> bool:
    """Run the trials that are owed, so many at a time; False when interrupted.

    Args:
        root: below which calibrations of machines are kept.

    Raises:
        UserError: nothing could be proposed.
        WaitedInVain: the driver or a trial missed a service for as long as the operator allows.
    """
    asked, ledger = standing.asked, standing.ledger

    def is_over() -> bool:
        return ledger.used_up() is not None

    if asked.unlearnt:
        names = ", ".join(asked.unlearnt)
        logger.info("sampler %s draws at random what not all trials have: %s", asked.search.sampler, names)
    searcher = StudySearcher(
        asked.search,
        standing.sweep,
        standing.records,
        is_over=is_over,
        refuses=_refuses(asked, standing.store, root),
        enough=partial(too_little_gain, by=asked.by, least=asked.budget.least_gain),
        earlier=standing.earlier,
    )
    board, judging = DecisionBoard(), make_fair(asked.stopper, asked.rule, partial(variant_of, by=asked.by))
    stopping = GracefulStopping(judging, board, is_over, searcher.record_of)
    stopping.replay(standing.records)
    context = SweepContext(
        trials_uri=standing.sweep.work_uri,
        feature_mean=shared.feature_mean,
        feature_std=shared.feature_std,
        ask=board.ask,
        mail=board.mail,
        keep_every=judging.keep_every,
        resources=asked.resources,
        provenance={"sweep": standing.sweep.name, **standing.tags},
        patience_s=limit_s(),
        ray_storage=ray_storage(f"{standing.sweep.uri}/ray"),
    )
    recorder = Recorder(standing.sweep, searcher, stopping, tracker, ledger, asked.retries, asked.resources)
    try:
        finished = run_trials(searcher, stopping, recorder, context, shared.splits, concurrency)
    finally:
        board.close()
    if not finished:
        recorder.interrupt(standing.records)
    if recorder.gave_up is not None:
        raise recorder.gave_up
    if searcher.given_up and not standing.records:
        raise UserError(searcher.given_up)
    return finished


def _refuses(asked: SettledRequest, store: Store, root: str) -> Callable[[TrialConfig], str | None]:
    """What `seldtune plan` would refuse of a config."""
    config, resources = asked.configs[0], asked.resources
    try:
        calibration = kept_calibration(config.training.precision, resources, root)
    except TimeoutError:
        calibration = None
    return Feasibility(
        resources,
        worker_memory_bytes(resources),
        calibration=calibration,
        size=data_size(store, config.inputs),
        grace_epochs=asked.rule.grace_epochs,
        budget_s=asked.budget.wall_s,
    )
