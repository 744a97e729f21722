"""What this project takes of Ray behind its public face, all of it, as in the release below."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

RAY = "2.60.0"
"""The release that was looked into."""


def read_environment_again() -> None:
    """Let Ray read its variables as they are now; nothing happens in a process that has joined a cluster.

    Ray reads them once, when it is imported: how it logs in, and whether it stays on loopback. Whoever joins a cluster
    calls this before, and then it does not matter whether the variables or the import came first.
    """
    import ray
    from ray._private import ray_constants

    if ray.is_initialized():
        return
    raylet: Any = ray._raylet
    raylet.Config.initialize("")
    raylet.AuthenticationTokenLoader.instance().reset_cache()
    if os.environ.get(ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR) == "0":
        ray_constants.ENABLE_RAY_CLUSTER = False


def keep_from_trials(which: Callable[[Iterable[str]], Iterable[str]]) -> None:
    """Do not let Tune hand these variables of the driver's to its trials; `which` picks them.

    Tune writes what it hands on into each trial actor's runtime environment, which Ray logs on every node and shows in
    its dashboard.
    """
    from ray.tune.execution import class_cache

    class_cache.ENV_VARS_TO_PROPAGATE.difference_update(which(class_cache.ENV_VARS_TO_PROPAGATE))
