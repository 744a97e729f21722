"""What the tests of submitted sweeps share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.cluster import jobs
from support.dashboard import Dashboard, served
from support.submitting import SECRET


@pytest.fixture
def laptop_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No service in the environment, one secret, and connections that are soon tried again."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "MLFLOW_", "RAY_", "SELDTUNE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SELDTUNE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")  # so that it is restored
    monkeypatch.setattr(jobs, "RETRY_S", 0.02)


@pytest.fixture
def dashboard() -> Iterator[Dashboard]:
    with served(Dashboard(token="token-of-cluster")) as one:
        yield one
