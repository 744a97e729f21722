"""What is taken of Ray behind its public face is there, in the release that was looked into."""

from __future__ import annotations

import subprocess
import sys

import pytest
import ray
from ray.tune.execution import class_cache

from infra.cluster.ray_private import RAY, keep_from_trials
from support.ray_nodes import bare_environment

READ_AGAIN = """
import os
import ray
from ray._private import ray_constants
from infra.cluster.ray_private import read_environment_again

modes, mode = ray._raylet.AuthenticationMode, ray._raylet.get_authentication_mode
os.environ.update({"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "the-token"})
assert ray_constants.ENABLE_RAY_CLUSTER and mode() == modes.DISABLED, "Ray reads them by itself"
read_environment_again()
assert not ray_constants.ENABLE_RAY_CLUSTER and mode() == modes.TOKEN
assert ray._raylet.AuthenticationTokenLoader.instance().has_token()
"""


def test_this_is_the_release_that_was_looked_into() -> None:
    assert ray.__version__ == RAY, "look at every use in ray_private anew, then name the release there"


def test_ray_reads_variables_that_came_after_its_import() -> None:
    environment = bare_environment()
    done = subprocess.run(
        [sys.executable, "-c", READ_AGAIN], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_tune_hands_on_what_is_not_picked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_cache, "ENV_VARS_TO_PROPAGATE", {"A_KEY", "A_REGION"})
    keep_from_trials(lambda names: [name for name in names if name.endswith("KEY")])
    assert set(class_cache.ENV_VARS_TO_PROPAGATE) == {"A_REGION"}
