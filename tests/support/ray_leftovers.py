"""What trials left on a Ray cluster: CPUs, placement groups and actors, asked of Ray's own tables (no dashboard)."""

from __future__ import annotations

import gc
import time

import ray
from ray.util import placement_group_table


def leftovers(cpus: int) -> dict[str, object]:
    """What is not as it was before the first trial."""
    gc.collect()  # actors live as long as somebody holds them
    left: dict[str, object] = {}
    free = ray.available_resources().get("CPU", 0.0)
    if free != cpus:
        left["CPU"] = f"{free} of {cpus}"
    groups = [group["placement_group_id"] for group in placement_group_table().values() if group["state"] != "REMOVED"]
    if groups:
        left["placement groups"] = groups
    # Detached ones are Ray Data's own, of which there is one a cluster.
    alive = [actor for actor in ray._private.state.actors().values() if actor["State"] != "DEAD"]
    actors = [actor["ActorClassName"] for actor in alive if not actor["IsDetached"]]
    if actors:
        left["actors"] = actors
    return left


def wait_until_nothing_is_left(cpus: int, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while left := leftovers(cpus):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)
