"""Room for the trials of a sweep: how many the cluster runs at a time, and what they leave of it."""

from __future__ import annotations

from data.errors import UserError
from infra.cluster.join import cluster_size
from infra.sweep.data_memory import DataDivision
from trainables.training.resources import TrialResources


def trials_at_a_time(asked: int | None, resources: TrialResources, data: DataDivision) -> int:
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
