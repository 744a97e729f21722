"""A Ray cluster in this process, for a benchmark or a test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import ray

from infra.cluster.join import ENVIRONMENT
from infra.cluster.ray_private import read_environment_again


@contextmanager
def own_ray(**options: Any) -> Iterator[None]:
    """A Ray that asks for no token, whatever clusters this process has had before.

    Without a mode of its own Ray asks for a token, sets the mode in the environment for what it starts, and keeps what
    it has read: a cluster that is started later in another mode then loses its actors, because this process refuses to
    tell the cluster that it still holds them.

    Args:
        options: of `ray.init`.
    """
    defaults = {"address": "local", "include_dashboard": False, "logging_level": "error", "log_to_driver": False}
    if "address" in options:
        del defaults["include_dashboard"]
    with patch.dict(os.environ, {"RAY_AUTH_MODE": "disabled", **ENVIRONMENT}):
        read_environment_again()
        ray.init(**defaults | options)
        try:
            yield
        finally:
            ray.shutdown()
