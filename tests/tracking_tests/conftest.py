"""What the tests of tracking on a real server share."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from support.mlflow_cluster import Cluster, running_cluster
from support.tracking_server import Server, before_each_request


@pytest.fixture(scope="module")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("mlflow"))
    yield server
    server.kill()


@pytest.fixture
def server(one_server: Server) -> Server:
    """The server, which runs, however the test before this one ended."""
    one_server.start()
    return one_server


@pytest.fixture
def moments(server: Server, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When each request to the server was made by this process."""
    made: list[float] = []
    before_each_request(server, monkeypatch, lambda: made.append(time.monotonic()))
    return made


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster
