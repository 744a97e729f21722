"""A sweep on a cluster that is a head without CPUs at first: Ray's autoscaler brings a node for each trial that waits.

It is the autoscaler v2 that clusters on Kubernetes have, with Ray's own stand-in for a cloud: nodes are processes.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID, FAKE_HEAD_NODE_TYPE

from data.errors import UserError
from infra.bench.search.own_ray import own_ray
from infra.cluster.growth import GROWS_TO_VARIABLE
from infra.record.trials import COMPLETE
from infra.stack.ports import choose_ports
from infra.sweep.room import trials_at_a_time
from support.divided_data import HELD
from support.ray_nodes import START_TIMEOUT_S, STORE_BYTES, Node, bare_environment
from support.small_searches import search
from trainables.training.resources import TrialResources

pytestmark = pytest.mark.slow


@pytest.fixture
def head() -> Iterator[str]:
    """Address of a cluster of no CPU that may grow by two nodes of one."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    ports = choose_ports(("gcs", "client", "agent", "autoscaler"), {}, set())
    address = f"{ray.util.get_node_ip_address()}:{ports['gcs']}"
    node_types = {
        FAKE_HEAD_NODE_TYPE: {"resources": {}, "node_config": {}, "max_workers": 0},
        "trainers": {
            "resources": {"CPU": 1, "object_store_memory": STORE_BYTES},
            "node_config": {},
            "min_workers": 0,
            "max_workers": 2,
        },
    }
    config = {
        "cluster_name": "growing",
        "max_workers": 2,
        "provider": {
            # By its type it would look for a file that Ray does not install.
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "gcs_address": address,
            "launch_multiple": True,
            "head_node_id": FAKE_HEAD_NODE_ID,
        },
        "available_node_types": node_types,
        "head_node_type": FAKE_HEAD_NODE_TYPE,
        # What Ray fills in by itself for clouds that it knows.
        "auth": {},
        "file_mounts": {},
        **{name: [] for name in ("setup_commands", "head_setup_commands", "worker_setup_commands")},
        **{name: [] for name in ("initialization_commands", "cluster_synced_files", "rsync_exclude", "rsync_filter")},
    }
    (folder / "config.json").write_text(json.dumps(config))
    environment = {
        **bare_environment(),
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "AUTOSCALER_METRIC_PORT": str(ports["autoscaler"]),
        "RAY_AUTH_MODE": "disabled",
        "OMP_NUM_THREADS": "1",
    }
    arguments = ["--head", f"--port={ports['gcs']}", "--num-cpus=0", "--num-gpus=0", "--include-dashboard=false"]
    arguments += [f"--autoscaling-config={folder / 'config.json'}", f"--object-store-memory={STORE_BYTES}"]
    arguments += [f"--temp-dir={folder}", f"--ray-client-server-port={ports['client']}", "--disable-usage-stats"]
    arguments += [f"--dashboard-agent-listen-port={ports['agent']}", "--min-worker-port=0", "--max-worker-port=0"]
    node = Node(folder, arguments, environment)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while "Ray runtime started" not in node.log.read_text():
            assert node.process.poll() is None, node.log.read_text()
            assert time.monotonic() < deadline, node.log.read_text()
            time.sleep(0.2)
        yield address
    finally:
        node.kill()
        shutil.rmtree(folder, ignore_errors=True)


def test_nodes_come_for_the_trials_that_wait(head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with own_ray(address=head):
        monkeypatch.chdir(tmp_path)  # MLflow puts a folder there
        assert "CPU" not in ray.cluster_resources()
        with pytest.raises(UserError, match="0 CPU"):
            trials_at_a_time(None, TrialResources(), HELD)
        monkeypatch.setenv(GROWS_TO_VARIABLE, "CPU=2,GPU=0")
        assert trials_at_a_time(None, TrialResources(), HELD) == 2
        records = search(tmp_path, [], 2)
        assert [record.state for record in records] == [COMPLETE, COMPLETE]
        assert sum(node["Resources"].get("CPU", 0) for node in ray.nodes()) == 2
