"""A stack of a drill's own: an object store, MLflow and Ray, with a relay before each of the first two."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

import psutil

from data.object_stores import Access
from infra.drills.relay import Relay
from infra.stack.home import StackState, read_state
from infra.stack.processes import service_processes
from infra.stack.services import FOREIGN_PREFIXES
from infra.stack.settings import REGION, embedded_urls

FOREIGN = ("AWS_", *FOREIGN_PREFIXES)
NOWHERE = "127.0.0.1:1"
DATA = "s3://seldtune/data/drills"
RECORDINGS = ("--train-clips", "2", "--val-clips", "1", "--test-clips", "1", "--clip-s", "9")
COMMAND_TIMEOUT_S = 1800.0


class Place:
    """The stack, while its context lasts; nothing of it is left afterwards but the folder.

    Args:
        folder: for all that is kept, also logs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._opened = ExitStack()
        # Two homes, so that a relay can stand between the store and everybody else.
        self._store_home, self._home = folder / "store", folder / "stack"
        self._bare = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        self.environment: dict[str, str] = {}
        """Of commands on it."""

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            self._on_store = self._bare | {"MLFLOW_TRACKING_URI": f"http://{NOWHERE}", "RAY_ADDRESS": NOWHERE}
            self._on_store |= {"SELDTUNE_HOME": str(self._store_home)}
            opening.callback(self._down)
            self._command(self._on_store, "up")
            state = self._state(self._store_home)
            self.s3_url = embedded_urls(state)["s3"]
            self.s3 = opening.enter_context(Relay(self.s3_url))
            keys = state.secrets["s3_access_key"], state.secrets["s3_secret_key"]
            self.access = Access(self.s3_url, *keys)
            self.environment = self._bare | {
                "SELDTUNE_HOME": str(self._home),
                "SELDTUNE_ROOT": "s3://seldtune",
                "AWS_ENDPOINT_URL": self.s3.url,
                "AWS_ACCESS_KEY_ID": keys[0],
                "AWS_SECRET_ACCESS_KEY": keys[1],
                "AWS_DEFAULT_REGION": REGION,
            }
            self._command(self.environment, "up")
            self.mlflow_url = embedded_urls(self._state(self._home))["mlflow"]
            self.mlflow = opening.enter_context(Relay(self.mlflow_url))
            self._up_again = dict(self.environment)
            self.environment["MLFLOW_TRACKING_URI"] = self.mlflow.url
            self._command(self.environment, "data", "synth", DATA.rpartition("/")[2], *RECORDINGS)
            self._opened = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    @contextmanager
    def looked_at(self) -> Iterator[None]:
        """This process reads the store and MLflow, past the relays."""
        before = dict(os.environ)
        os.environ.update(self.environment)
        os.environ.update({"AWS_ENDPOINT_URL": self.s3_url, "MLFLOW_TRACKING_URI": self.mlflow_url})
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)

    def start(self, *arguments: str, log: Path, **environment: str) -> subprocess.Popen[bytes]:
        """A command of seldtune, with what it says in `log`."""
        with log.open("ab") as said:
            return subprocess.Popen(
                [sys.executable, "-m", "infra.cli", *arguments],
                env=self.environment | environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def processes(self, service: str) -> list[psutil.Process]:
        """Of "s3", "mlflow" or "ray"."""
        home = self._store_home if service == "s3" else self._home
        return service_processes(home, service, self._state(home).services.get(service))

    def kill(self, service: str) -> None:
        """All of its processes, at once."""
        there = self.processes(service)
        for process in there:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(there, timeout=10)

    def start_again(self, service: str) -> None:
        """What was killed, at its old place with what it had kept."""
        if service == "s3":
            self._command(self._on_store, "up")
        else:
            self._command(self._up_again, "up")

    @contextmanager
    def frozen(self, service: str) -> Iterator[None]:
        """A block in which the service has its connections and does nothing."""
        there = self.processes(service)
        for process in there:
            process.suspend()
        try:
            yield
        finally:
            for process in there:
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    @property
    def mlflow_database(self) -> Path:
        return self._home / "mlflow" / "mlflow.db"

    @staticmethod
    def _state(home: Path) -> StackState:
        state = read_state(home)
        if state is None:
            raise RuntimeError(f"no stack in {home}")
        return state

    def _command(self, environment: Mapping[str, str], *arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "infra.cli", *arguments],
            env=dict(environment),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
        )
        if done.returncode:
            raise RuntimeError(f"seldtune {' '.join(arguments)}: exit code {done.returncode}\n{done.stderr}")

    def _down(self) -> None:
        if self.environment and self._home.exists():
            self._command(self.environment, "down")
        if self._store_home.exists():
            self._command(self._on_store, "down")


def own_folder() -> Path:
    """A new folder for a place, with a short path: sockets lie below it."""
    return Path(tempfile.mkdtemp(prefix="seldtune-drill-", dir="/tmp"))
