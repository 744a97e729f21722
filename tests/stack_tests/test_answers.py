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

    def do_GET(self) -> None:
        self.send_response(403)
        self.end_headers()
        self.wfile.write(REFUSAL)

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
