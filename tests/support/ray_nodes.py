"""Ray clusters of several nodes on this machine, each node as if on a host of its own, so that any can be killed.

Nodes have loopback addresses of their own (127.77.x.y), folders, ports, object stores and a CPU each. They ask for a
token, and have every secret in their environment alone, as nodes of a real cluster do.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil

from infra.stack.answers import http_status
from infra.stack.ports import choose_ports
from support.children import REPOSITORY

START_TIMEOUT_S = 90.0
STORE_BYTES = 100_000_000
FOREIGN = ("AWS_", "MLFLOW_", "RAY_", "SELDTUNE_", "PYTHONPATH")


def bare_environment() -> dict[str, str]:
    """This process's, without anything that says where services are."""
    return {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}


class Node:
    """One `ray start`, its folder, and all processes below it."""

    def __init__(self, folder: Path, arguments: list[str], environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.log = folder / "start.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *arguments],
                env=dict(environment),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def processes(self) -> list[psutil.Process]:
        """Those that live, the one that started them first."""
        with contextlib.suppress(psutil.NoSuchProcess):
            own = psutil.Process(self.process.pid)
            return [own, *own.children(recursive=True)]
        return []

    def trains(self) -> bool:
        """Whether a trial of a sweep is at work here."""
        return any("ResourceTrainable.train" in _title(process) for process in self.processes())

    def kill(self) -> None:
        """As a power cut: kill -9 of every process, the raylet before its workers can say anything."""
        processes = self.processes()
        for process in sorted(processes, key=lambda one: "raylet" not in _title(one)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        psutil.wait_procs(processes, timeout=10)


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


class Cluster:
    """A head with a dashboard, and further nodes.

    Args:
        number: sets its addresses apart from those of other clusters.
        nodes: in all.
        environment: of its nodes: where everything is, secrets and token.
    """

    def __init__(self, number: int, nodes: int, environment: Mapping[str, str]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
        """Everything that the nodes write, logs among it."""
        names = ("gcs", "dashboard", "client", "autoscaler", "metrics", *(f"agent{n}" for n in range(nodes)))
        ports = choose_ports(names, {}, set())
        own = {
            **bare_environment(),
            **environment,
            # What a job calls `python` is this one, and `infra` this repository's.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(REPOSITORY),
            "OMP_NUM_THREADS": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "AUTOSCALER_METRIC_PORT": str(ports["autoscaler"]),
            "DASHBOARD_METRIC_PORT": str(ports["metrics"]),
        }
        head = f"127.77.{number}.1"
        self.address = f"{head}:{ports['gcs']}"
        self.url = f"http://{head}:{ports['dashboard']}"
        self.nodes: list[Node] = []
        for index in range(nodes):
            folder = self.folder / str(index)
            folder.mkdir()
            arguments = [
                "--disable-usage-stats",
                "--num-cpus=1",
                f"--node-ip-address=127.77.{number}.{index + 1}",
                f"--temp-dir={folder}",
                f"--object-store-memory={STORE_BYTES}",
                f"--dashboard-agent-listen-port={ports[f'agent{index}']}",
                "--min-worker-port=0",
                "--max-worker-port=0",
                "--include-log-monitor=false",
            ]
            if index == 0:
                arguments += ["--head", f"--port={ports['gcs']}", f"--ray-client-server-port={ports['client']}"]
                arguments += ["--include-dashboard=true", f"--dashboard-host={head}"]
                arguments += [f"--dashboard-port={ports['dashboard']}"]
            else:
                arguments.append(f"--address={self.address}")
            self.nodes.append(Node(folder, arguments, own))
            if index == 0:
                self._wait(lambda: http_status(f"{self.url}/api/gcs_healthz", proxied=False) == 200)
        self._wait(lambda: all("Ray runtime started" in node.log.read_text() for node in self.nodes))

    def _wait(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not ready():
            ended = [node for node in self.nodes if node.process.poll() is not None]
            assert not ended, ended[0].log.read_text()
            assert time.monotonic() < deadline, self.nodes[-1].log.read_text()
            time.sleep(0.2)

    @property
    def head(self) -> Node:
        return self.nodes[0]

    def close(self) -> None:
        for node in reversed(self.nodes):
            node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def cluster(number: int, nodes: int, environment: Mapping[str, str]) -> Iterator[Cluster]:
    """A cluster for as long as the context lasts."""
    started = Cluster(number, nodes, environment)
    try:
        yield started
    finally:
        started.close()
