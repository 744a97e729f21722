"""A real MLflow server that is killed, frozen and started again, and what this process asks of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import mlflow
import pytest
import requests
from mlflow.entities import Run

from infra.record.trials import TrialRecord
from infra.tracking.contents import PARENT_TAG, STATE_TAG, SWEEP_TAG, TRIAL_TAG
from support.tracked_trials import EXPERIMENT
from trainables.config import TrialConfig
from trainables.config.tree import to_flat
from trainables.training.reports import OBJECTIVE


class Server:
    """An MLflow server on one port and one folder, which can be killed, frozen and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it unless it runs."""
        if self._process is not None:
            return
        environment = {n: v for n, v in os.environ.items() if not n.startswith("MLFLOW_")}
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        stores = [
            f"--backend-store-uri=sqlite:///{self.folder}/mlflow.db",
            f"--artifacts-destination={self.folder}/files",
        ]
        with open(self.folder / "server.log", "ab") as log:
            self._process = subprocess.Popen(
                [*command, *stores, "--workers=1"],
                env={**environment, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            with suppress(OSError, urllib.error.URLError), urllib.request.urlopen(f"{self.url}/health", timeout=2):
                return
            time.sleep(0.1)
        raise AssertionError((self.folder / "server.log").read_text())

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def runs(self, sweep: str) -> tuple[Run, list[Run]]:
        """The parent of a sweep and its trials, of which there may be one each."""
        client = mlflow.MlflowClient(self.url)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        assert experiment is not None
        found = client.search_runs([experiment.experiment_id], f"tags.`{SWEEP_TAG}` = '{sweep}'", max_results=1000)
        (parent,) = [run for run in found if PARENT_TAG not in run.data.tags]
        children = sorted((run for run in found if run is not parent), key=lambda run: int(run.data.tags[TRIAL_TAG]))
        assert [int(run.data.tags[TRIAL_TAG]) for run in children] == list(range(len(children)))
        assert {run.data.tags[PARENT_TAG] for run in children} <= {parent.info.run_id}
        return parent, children

    def assert_holds(self, sweep: str, records: list[TrialRecord]) -> tuple[Run, list[Run]]:
        """Every report of every trial, once, in order, at its own time; nothing open that has ended."""
        parent, children = self.runs(sweep)
        assert len(children) == len(records)
        client = mlflow.MlflowClient(self.url)
        for run, record in zip(children, records, strict=True):
            for key in (OBJECTIVE, "class/7/F", "lr_scale"):
                history = client.get_metric_history(run.info.run_id, key)
                expected = [(int(r["epoch"]), int(r["at"] * 1000), r[key]) for r in record.reports]
                assert [(m.step, m.timestamp, m.value) for m in history] == expected
            assert run.data.tags[STATE_TAG] == record.state
            assert (run.info.status == "RUNNING") == (not record.ended)
            assert run.data.params == {**{k: str(v) for k, v in to_flat(TrialConfig()).items()}, "space.lr": "0.001"}
            assert "config.json" in {item.path for item in client.list_artifacts(run.info.run_id)}
            assert record.run_id == run.info.run_id
        return parent, children


def before_each_request(server: Server, monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]) -> None:
    """Have it done whenever this process asks the server; Ray's threads may ask others meanwhile."""
    send = requests.adapters.HTTPAdapter.send

    def noted(
        self: requests.adapters.HTTPAdapter, request: requests.PreparedRequest, *arguments: object, **named: object
    ) -> requests.Response:
        if str(request.url).startswith(server.url):
            do()
        return send(self, request, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", noted)


def wait_for(condition: object, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
