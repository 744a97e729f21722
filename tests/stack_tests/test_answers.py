"""What is made of a tracking server that answers, and refuses."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from infra.stack.answers import mlflow_login_refused

REFUSAL = b"Invalid Host header - possible DNS rebinding attack detected"


class Refusing(BaseHTTPRequestHandler):
    """Stands for an MLflow server under a name that it does not allow; the words are those of 3.17."""

    says = REFUSAL

    def do_GET(self) -> None:
        self.send_response(403)
        self.end_headers()
        self.wfile.write(self.says)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def refusing() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_refused_host_name_is_no_login(refusing: str) -> None:
    said = mlflow_login_refused(refusing) or ""
    assert "takes no requests for the host name 127.0.0.1: start the server with --allowed-hosts 127.0.0.1" in said


@pytest.mark.parametrize("says", [b"Permission denied", b"<html>\n<h1>Not from\nthis network</h1></html>"])
def test_another_refusal_is_passed_on(refusing: str, monkeypatch: pytest.MonkeyPatch, says: bytes) -> None:
    monkeypatch.setattr(Refusing, "says", says)
    said = mlflow_login_refused(refusing) or ""
    assert f"takes no requests from here (403: {' '.join(says.decode().split())}): set MLFLOW_TRACKING_USERNAME" in said
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "own")
    assert "correct MLFLOW_TRACKING_TOKEN, or ask" in (mlflow_login_refused(refusing) or "")
