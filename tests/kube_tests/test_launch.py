"""Runs of a recurring sweep, created from inside a cluster."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.kube.launch import launch, run_of
from infra.kube.rayjob import rayjob
from support.kube_requests import request

AT = time.gmtime(1_800_000_000)


def test_a_run_is_a_sweep_of_its_own() -> None:
    template = rayjob(request())
    run = run_of(template, AT)
    assert run["metadata"]["name"] == "sweep-quickstart-2701150800"
    assert run["spec"]["entrypoint"] == "seldtune sweep quickstart --name quickstart-2701150800"
    assert template == rayjob(request())


CONFLICT = {
    "kind": "Status",
    "status": "Failure",
    "reason": "Conflict",
    "message": 'Operation cannot be fulfilled on resourcequotas "seldtune": the object has been modified',
    "details": {"name": "seldtune", "kind": "resourcequotas"},
    "code": 409,
}
"""As kube-apiserver 1.36 answers to a create while the quota's controller writes."""


class ApiServer(http.server.BaseHTTPRequestHandler):
    """The three calls of the Kubernetes API that are made: a stand-in, for there is no cluster here."""

    jobs: list[dict[str, Any]]
    quota_is_written = False

    def do_GET(self) -> None:
        assert self.headers["Authorization"] == "Bearer account-token"
        assert "labelSelector=seldtune.dev%2Fsweep%3Dsweep-quickstart" in self.path
        self._answer(200, {"items": self.jobs})

    def do_DELETE(self) -> None:
        name = self.path.rpartition("/")[2]
        self.jobs[:] = [job for job in self.jobs if job["metadata"]["name"] != name]
        self._answer(200, {"kind": "Status", "status": "Success"})

    def do_POST(self) -> None:
        job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.quota_is_written:
            self._answer(409, CONFLICT)
        elif any(other["metadata"]["name"] == job["metadata"]["name"] for other in self.jobs):
            self._answer(409, {"reason": "AlreadyExists"})
        elif job["spec"]["backoffLimit"] < 0:
            self._answer(422, {"message": "backoffLimit is invalid"})
        else:
            self.jobs.append(job)
            self._answer(201, job)

    def _answer(self, code: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def api_server() -> Iterator[str]:
    ApiServer.jobs, ApiServer.quota_is_written = [], False
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), ApiServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_run_is_created_unless_one_runs(api_server: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("account-token\n")
    template = rayjob(request())
    assert "sweep-quickstart-2701150800 is created" in launch(template, api_server, tmp_path, AT)
    later = time.gmtime(1_800_086_400)
    assert "still runs" in launch(template, api_server, tmp_path, later)
    ApiServer.jobs[0]["status"] = {"jobDeploymentStatus": "Complete"}
    assert "is there already" in launch(template, api_server, tmp_path, AT)
    assert "is created" in launch(template, api_server, tmp_path, later)
    assert len(ApiServer.jobs) == 2
    ApiServer.jobs[1]["status"] = {"jobDeploymentStatus": "Failed"}
    template["spec"]["backoffLimit"] = -1
    with pytest.raises(OSError, match="backoffLimit is invalid"):
        launch(template, api_server, tmp_path, time.gmtime(1_800_172_800))


def test_a_run_that_meets_a_conflict_is_not_taken_for_there(api_server: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("account-token\n")
    ApiServer.quota_is_written = True
    # The Job tries again: only AlreadyExists means that the run is there.
    with pytest.raises(OSError, match="Operation cannot be fulfilled on resourcequotas"):
        launch(rayjob(request()), api_server, tmp_path, AT)
    assert not ApiServer.jobs
    ApiServer.quota_is_written = False
    assert "is created" in launch(rayjob(request()), api_server, tmp_path, AT)


def test_runs_that_ended_a_week_ago_make_room(api_server: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("account-token\n")
    template, day_s = rayjob(request(overlay="kueue")), 24 * 3600
    start = 1_800_000_000
    for day in range(200):  # a schedule of every night: what has ended never fills the quota of 200
        assert "is created" in launch(template, api_server, tmp_path, time.gmtime(start + day * day_s))
        ended = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(start + day * day_s + 3600))
        ApiServer.jobs[-1]["status"] = {"jobDeploymentStatus": "Complete", "endTime": ended}
        assert len(ApiServer.jobs) <= 8
    # By when it was created, where it ended before it began.
    ApiServer.jobs[:] = [{"metadata": {"name": "old", "creationTimestamp": "2026-01-01T00:00:00Z"}, "status": REFUSED}]
    assert "is created" in launch(template, api_server, tmp_path, AT)
    assert [job["metadata"]["name"] for job in ApiServer.jobs] == ["sweep-quickstart-2701150800"]


REFUSED = {"jobDeploymentStatus": "ValidationFailed"}
