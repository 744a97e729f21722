"""The processes of an embedded stack, and its command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from infra.stack.home import read_state
from infra.stack.processes import service_processes


def clear_environment(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("AWS_", "MLFLOW_", "RAY_", "SELDTUNE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SELDTUNE_HOME", str(home))


def processes_naming(text: str) -> list[str]:
    """Command lines of the live processes whose arguments or environment contain `text`; not this one."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            line = " ".join(process.cmdline())
            if text in line or any(text in value for value in process.environ().values()):
                found.append(line)
        except (psutil.Error, OSError):
            continue
    return found


def pids(home: Path) -> dict[str, int | None]:
    state = read_state(home)
    assert state is not None
    return {name: record.pid for name, record in state.services.items()}


def settled(home: Path, name: str) -> list[psutil.Process]:
    state = read_state(home)
    assert state is not None
    return service_processes(home, name, state.services[name])


def run_cli(*arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "infra.cli", *arguments],
        env={**os.environ, "SELDTUNE_HOME": str(home), "NO_COLOR": "1", **environment},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=180,
    )
