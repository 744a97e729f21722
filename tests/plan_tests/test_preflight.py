"""Checks before a sweep, each against something real that stands or fails."""

from __future__ import annotations

import importlib.metadata
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from data.errors import UserError
from infra.plan.preflight import (
    OK,
    REFUSED,
    Preflight,
    check_data,
    check_mlflow,
    check_ray,
    check_services,
    check_storage,
    grouped,
)
from infra.stack.settings import Settings
from support.stores import publish


def only(preflight: Preflight) -> tuple[str, str]:
    (check,) = preflight.checks
    return check.state, check.text


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """An HTTP server that says the first of a list where it is asked for its version."""
    version = ["0.0.0"]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write((version[0] if self.path == "/version" else "OK").encode())

        def log_message(self, format: str, *args: object) -> None: ...

    http = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}", version
    http.shutdown()
    thread.join()
    http.server_close()


def test_mlflow_has_to_be_as_new_as_ours(server: tuple[str, list[str]]) -> None:
    uri, version = server
    ours = importlib.metadata.version("mlflow")
    for theirs, state in ((ours, OK), ("99.1.0", OK), ("2.22.0", REFUSED), ("<html>a login</html>", OK)):
        version[0] = theirs
        preflight = Preflight()
        check_mlflow(preflight, uri)
        found, text = only(preflight)
        assert found == state, text
        assert (theirs if theirs[0].isdigit() else "not told") in text
    preflight = Preflight()
    check_mlflow(preflight, "http://127.0.0.1:9")
    assert only(preflight)[0] == REFUSED


def test_storage_is_written_and_left_as_it_was(tmp_path: Path) -> None:
    preflight = Preflight()
    check_storage(preflight, str(tmp_path))
    assert [(check.name, check.state) for check in preflight.checks] == [("storage", OK), ("disk", OK)]
    assert not list(tmp_path.iterdir())
    file = tmp_path / "file"
    file.touch()
    preflight = Preflight()
    check_storage(preflight, str(file))
    assert only(preflight) == (REFUSED, f"{file} is a file; a folder is needed")


def test_data_has_to_be_whole(tmp_path: Path) -> None:
    preflight = Preflight()
    assert check_data(preflight, str(tmp_path / "none"), str(tmp_path)) is None
    assert only(preflight)[0] == REFUSED
    assert only(preflight)[1].endswith(f"name another with --data: there is none below {tmp_path}/data")
    publish(tmp_path, {"train": []})
    preflight = Preflight()
    assert check_data(preflight, str(tmp_path), str(tmp_path)) is None
    assert "has no split 'val'" in only(preflight)[1]
    publish(tmp_path, {"train": [], "val": []})
    preflight = Preflight()
    assert check_data(preflight, str(tmp_path), str(tmp_path)) is not None
    assert only(preflight)[0] == OK
    next(tmp_path.glob("index*")).unlink()
    preflight = Preflight()
    assert check_data(preflight, str(tmp_path), str(tmp_path)) is None


def test_of_data_that_is_not_there_the_others_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("quickstart", "mine"):
        publish(tmp_path / "data" / name, {"train": [], "val": []})
    monkeypatch.chdir(tmp_path)  # the place is named thrice in a text of limited length
    preflight = Preflight()
    assert check_data(preflight, "data/myspace", ".") is None
    assert "or name another with --data: ./data holds mine, quickstart" in only(preflight)[1]


def test_services_that_nobody_gives_are_named_with_how_to_give_them() -> None:
    preflight = Preflight()
    sources = {"s3": "unused", "mlflow": "missing", "ray": "environment"}
    assert check_services(preflight, Settings(root="/data", sources=sources)) == {"s3", "ray"}
    assert "MLFLOW_TRACKING_URI" in only(preflight)[1]


def test_ray_that_does_not_answer_is_refused_in_seconds() -> None:
    for address, reason in (("127.0.0.1:9", "does not answer"), ("http://127.0.0.1:8265", "a dashboard's URL")):
        preflight = Preflight()
        assert not check_ray(preflight, Settings(root="/data", ray_address=address))
        state, text = only(preflight)
        assert state == REFUSED
        assert reason in text


def test_a_refusal_is_one_line_and_what_is_refused_is_nothing() -> None:
    def refuse() -> int:
        raise UserError("no\n  way " + "x" * 400)

    preflight = Preflight()
    assert preflight.attempt("a", refuse, str) is None
    assert preflight.attempt("b", lambda: 3, str) == 3
    assert preflight.attempt("c", lambda: 4) == 4
    assert [(check.name, check.state) for check in preflight.checks] == [("a", REFUSED), ("b", OK)]
    assert preflight.refused == preflight.checks[:1]
    assert preflight.checks[0].text.startswith("no way xxx")
    assert len(preflight.checks[0].text) == 300


def test_reasons_are_counted() -> None:
    assert grouped(["a", "b", "b"], 5) == ["2 of 5: b", "1 of 5: a"]
    assert grouped(["lr 1.5e-05 is too low", "no", "lr 3 is too low"], 4) == [
        "2 of 4, such as: lr 1.5e-05 is too low",
        "1 of 4: no",
    ]
