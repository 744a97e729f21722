"""What the driver of a sweep says when its Ray cluster goes: a real one, of a head alone, killed as by a power cut."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from infra.record.claim import read_driver
from support.children import REPOSITORY
from support.ray_nodes import bare_environment, cluster

pytestmark = pytest.mark.slow

DRIVER = """
import sys, time
import ray
from infra.record import claim

address, folder = sys.argv[1:]
claim.BEAT_S = 0.5
ray.init(address=address, log_to_driver=False, logging_level="error")
with claim.SweepClaim(folder, "deep", address, address) as held:
    held.announce(ray.cluster_resources)
    print("announced", flush=True)
    time.sleep(120)
"""


def test_a_cluster_that_is_gone_is_said_with_what_to_do(tmp_path: Path) -> None:
    open_to_all = {"RAY_AUTH_MODE": "disabled"}
    with cluster(3, 1, open_to_all) as only_head:
        driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER, only_head.address, str(tmp_path)],
            env={**bare_environment(), **open_to_all, "PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert driver.stdout is not None
            assert driver.stderr is not None
            assert driver.stdout.readline() == "announced\n"
            only_head.head.kill()
            said = next(line for line in driver.stderr if "does not answer" in line)
        finally:
            driver.kill()
            driver.communicate()
    assert f"Ray at {only_head.address} does not answer" in said
    assert "command goes on with sweep 'deep'" in said
    left = read_driver(str(tmp_path))
    assert left is not None
    assert not left.lives
