"""What a request for a sweep comes to: its name, data and budget, what a trial takes, how many run at a time.

`sweep` and `plan` ask the same functions, each of which refuses what it cannot answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from data.errors import UserError
from infra.cluster.join import cluster_size
from infra.console.arguments import parse_name
from infra.stack.settings import Settings
from infra.sweep.data_memory import DataPlan
from trainables.config import TrialConfig
from trainables.training.resources import TrialResources

if TYPE_CHECKING:
    from infra.sweep.run import SweepRequest


def name_of(request: SweepRequest) -> str:
    """The sweep's name.

    Raises:
        UserError: it cannot be a folder's.
    """
    return parse_name(request.name or request.space.name)


def data_uri(request: SweepRequest, settings: Settings) -> str:
    """The chunk store that the sweep reads."""
    return request.data or f"{settings.root}/data/{request.space.name}"


def resources_of(request: SweepRequest) -> TrialResources:
    """What one trial takes.

    Raises:
        UserError: it has no worker, or a worker no CPU.
    """
    space = request.space
    cpus = space.cpus_per_worker if request.cpus_per_worker is None else request.cpus_per_worker
    gpus = space.gpus_per_worker if request.gpus_per_worker is None else request.gpus_per_worker
    if request.workers < 1 or cpus < 1 or gpus < 0:
        raise UserError(f"{request.workers} workers of {cpus} CPUs and {gpus:g} GPUs: workers and CPUs start at 1")
    return TrialResources(workers=request.workers, cpus_per_worker=cpus, gpus_per_worker=gpus)


def budget_of(request: SweepRequest) -> tuple[int, float]:
    """Trials, and seconds of wall-clock time.

    Raises:
        UserError: one of them leaves nothing to do.
    """
    num_trials = request.space.trials if request.trials is None else request.trials
    budget_s = request.space.budget_s if request.budget_s is None else request.budget_s
    if num_trials < 1 or budget_s <= 0:
        raise UserError(f"a budget of {num_trials} trials and {budget_s:g} s leaves nothing to do; raise it")
    return num_trials, budget_s


def check_batches(configs: Sequence[TrialConfig], workers: int) -> None:
    """UserError unless so many workers can share the batches of every config."""
    for size in sorted({config.training.batch_size for config in configs}):
        if size % workers:
            raise UserError(
                f"training.batch_size = {size} cannot be shared by {workers} workers; choose a multiple, e.g. "
                f"--set training.batch_size={math.ceil(size / workers) * workers}"
            )


def trials_at_a_time(asked: int | None, resources: TrialResources, data: DataPlan) -> int:
    """Trials at a time that the cluster has room for, or that were asked for where those are fewer.

    They may have every CPU where the data is decoded before they start. Where it is streamed, one stays free to decode,
    and each trial has room for the few rows that it cannot do without. Needs a running Ray.

    Raises:
        UserError: there is no room for any.
    """
    if asked is not None and asked < 1:
        raise UserError(f"--concurrency {asked} runs nothing; give 1 or more")
    total = cluster_size()
    cpus, gpus = total["CPU"], total["GPU"]
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


def cpus_left(resources: TrialResources, concurrency: int) -> int:
    """CPUs of the cluster that so many trials leave free."""
    taken = concurrency * resources.workers * resources.cpus_per_worker
    return max(0, int(cluster_size()["CPU"]) - taken)
