"""The embedded stack: its life cycle with small stand-in services, then with the real ones (slow)."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from data.errors import UserError
from infra.stack import answers, embedded, processes, services
from infra.stack.embedded import StackError
from infra.stack.home import StackState, read_state
from infra.stack.ports import GRPC_OFFSET, choose_ports
from infra.stack.processes import MARKER, end_service, recorded_process
from infra.stack.services import Launch, Service
from infra.stack.settings import Settings, load_settings
from support.stack_processes import clear_environment, pids, processes_naming, run_cli, settled

# Answers every GET with 200. "parent" has a child that ignores SIGTERM and outlives it; "fail" ends with a message.
STAND_IN = """
import http.server, os, signal, subprocess, sys
port, what = int(sys.argv[1]), sys.argv[2]
if what == "fail":
    print("cannot open the database with", os.environ["STAND_IN_SECRET"])
    sys.exit(3)
code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
if what == "parent":
    subprocess.Popen([sys.executable, "-c", code])
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *args):
        pass
http.server.HTTPServer(("127.0.0.1", port), Answer).serve_forever()
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home whose three services are stand-ins; nothing of it outlives the test."""
    home = tmp_path / "home"
    clear_environment(monkeypatch, home)
    for name in services.SERVICES:
        monkeypatch.setitem(services.SERVICES, name, stand_in(name))
    monkeypatch.setattr(processes, "LEADER_PATIENCE_S", 2.0)
    monkeypatch.setattr(processes, "STRAGGLER_PATIENCE_S", 0.3)
    monkeypatch.setattr(embedded, "_ensure_bucket", lambda *_: None)
    monkeypatch.setattr(embedded, "ANSWER_PATIENCE_S", 1.0)
    yield home
    embedded.down()
    assert processes_naming(str(home)) == []


def stand_in(name: str, what: str = "serve") -> Service:
    port_names = {"s3": ("http",), "mlflow": ("http",), "ray": ("gcs", "dashboard")}[name]

    def launch(home: Path, state: StackState, settings: Settings) -> Launch:
        environment = {
            **services.base_environment(home, name, settings),
            **(services.told(settings, "AWS_") if name != "s3" else {}),
            "STAND_IN_SECRET": state.secrets["ray_token"],
        }
        port = state.services[name].ports[port_names[-1]]
        return Launch([sys.executable, "-c", STAND_IN, str(port), what], environment, home)

    def healthy(state: StackState) -> bool:
        url = f"http://127.0.0.1:{state.services[name].ports[port_names[-1]]}/"
        return answers.http_status(url, timeout_s=0.5, proxied=False) == 200

    return Service(
        name=name, title=name.upper(), port_names=port_names, start_timeout_s=20.0, launch=launch, healthy=healthy
    )


def test_up_starts_once_and_down_ends_all(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(services.SERVICES, "mlflow", stand_in("mlflow", "parent"))
    first = embedded.up()
    assert [one.state for one in first.services] == ["running"] * 3
    assert all((one.memory_bytes or 0) > 2**20 for one in first.services)
    before = pids(home)
    assert None not in before.values()
    second = embedded.up()
    assert pids(home) == before
    assert [one.url for one in second.services] == [one.url for one in first.services]
    assert embedded.down() == 4
    assert processes_naming(str(home)) == []
    assert embedded.down() == 0
    assert [one.state for one in embedded.status().services] == ["stopped"] * 3
    third = embedded.up()
    assert [one.url for one in third.services] == [one.url for one in first.services], "ports are kept"


def test_only_the_killed_service_is_replaced(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(services.SERVICES, "mlflow", stand_in("mlflow", "parent"))
    urls = [one.url for one in embedded.up().services]
    before = pids(home)
    assert before["mlflow"] is not None
    killed = psutil.Process(before["mlflow"])
    killed.kill()
    # A loaded machine takes its time over it.
    with contextlib.suppress(psutil.NoSuchProcess):
        while killed.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
    orphans = [process for process in settled(home, "mlflow") if process.pid != before["mlflow"]]
    assert orphans, "the stand-in's child lives on and is found"
    with pytest.raises(UserError, match="does not run mlflow"):
        load_settings()
    after_status = embedded.up()
    after = pids(home)
    assert after["mlflow"] != before["mlflow"]
    assert (after["s3"], after["ray"]) == (before["s3"], before["ray"])
    assert [one.url for one in after_status.services] == urls
    assert not any(process.is_running() for process in orphans)


def test_a_disk_too_full_for_the_object_store_is_said(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    full = SimpleNamespace(total=250e9, used=248e9, free=2e9)
    monkeypatch.setattr(services.shutil, "disk_usage", lambda path: full)
    with caplog.at_level("WARNING"):
        started = embedded.up()
    assert "2.0 of 250 GB are free" in caplog.text
    assert [one.state for one in started.services] == ["disk full", "running", "running"]


def test_a_hanging_service_is_replaced(home: Path) -> None:
    embedded.up()
    before = pids(home)
    assert before["s3"] is not None
    os.kill(before["s3"], signal.SIGSTOP)
    assert next(one.state for one in embedded.status().services) == "not answering"
    embedded.up()
    after = pids(home)
    assert after["s3"] != before["s3"]
    assert (after["mlflow"], after["ray"]) == (before["mlflow"], before["ray"])


def test_a_taken_port_moves_the_service_and_those_that_use_it(home: Path) -> None:
    embedded.up()
    before = pids(home)
    state = read_state(home)
    assert state is not None
    assert before["s3"] is not None
    end_service(home, "s3", state.services["s3"])
    with socket.socket() as foreign:
        foreign.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        foreign.bind(("127.0.0.1", state.services["s3"].ports["http"]))
        foreign.listen()
        embedded.up()
    after_state = read_state(home)
    assert after_state is not None
    assert after_state.services["s3"].ports != state.services["s3"].ports
    after = pids(home)
    assert after["mlflow"] != before["mlflow"], "it was told the old address of S3"
    assert after["ray"] != before["ray"]


def test_a_failing_service_leaves_nothing_of_this_call(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(services.SERVICES, "ray", stand_in("ray", "fail"))
    with pytest.raises(StackError) as caught:
        embedded.up()
    message = str(caught.value)
    assert message.startswith(f"RAY ended instead of starting; the end of {home}/logs/ray.log:\ncannot open")
    state = read_state(home)
    assert state is not None
    assert state.secrets["ray_token"] not in message
    assert processes_naming(str(home)) == []
    # What ran before this call goes on.
    monkeypatch.setitem(services.SERVICES, "ray", stand_in("ray"))
    embedded.up()
    before = pids(home)
    assert before["ray"] is not None
    os.kill(before["ray"], signal.SIGKILL)
    monkeypatch.setitem(services.SERVICES, "ray", stand_in("ray", "fail"))
    with pytest.raises(StackError):
        embedded.up()
    after = pids(home)
    assert (after["s3"], after["mlflow"], after["ray"]) == (before["s3"], before["mlflow"], None)


def test_other_settings_do_not_touch_what_runs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded.up()
    before = pids(home)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="embedded S3, which this call does not use"):
        embedded.up()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"RAY of .* runs with other settings"):
        embedded.up()
    assert pids(home) == before
    assert all(recorded_process(record) for record in (read_state(home) or StackState()).services.values())


def test_only_what_the_environment_lacks_is_started(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELDTUNE_ROOT", str(home.parent / "data"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert not home.exists()
    states = {one.service: (one.state, one.source) for one in embedded.up().services}
    assert states == {
        "s3": ("not needed", ""),
        "mlflow": ("unreachable", "environment"),
        "ray": ("running", "embedded"),
    }
    assert set(pids(home)) == {"ray"}
    assert (read_state(home) or StackState()).artifacts == {}, "MLflow's are not ours to place"


def test_purge_deletes_only_a_stack(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded.up()
    assert embedded.purge() == home
    assert not home.exists()
    assert embedded.purge() is None
    home.mkdir()
    (home / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="holds no stack"):
        embedded.purge()
    assert (home / "thesis.tex").exists()


def test_down_finds_processes_without_the_settings_file(home: Path) -> None:
    embedded.up()
    state = read_state(home)
    assert state is not None
    assert state.run_dir is not None
    (home / "settings.json").unlink()
    assert embedded.down() == 3
    shutil.rmtree(state.run_dir)


def test_ports_are_kept_while_free_and_apart_otherwise() -> None:
    names = ("http", "admin", "admin_grpc")
    ports = choose_ports(names, {}, set())
    assert ports["admin_grpc"] == ports["admin"] + GRPC_OFFSET
    assert len(set(ports.values())) == 3
    # The kernel may give any port above to an outgoing connection, between the choice and the server's start.
    assert all(max(choose_ports(names, {}, set()).values()) < 32_768 for _ in range(50))
    assert choose_ports(names, ports, set()) == ports
    with socket.socket() as foreign:
        foreign.bind(("127.0.0.1", ports["http"]))
        foreign.listen()
        other = choose_ports(names, ports, set(ports.values()))
    assert not set(other.values()) & set(ports.values())


def test_inherited_environment_points_nowhere_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_SESSION_TOKEN", "RAY_ADDRESS", "MLFLOW_REGISTRY_URI", "OMP_NUM_THREADS", "AWS_CA_BUNDLE"):
        monkeypatch.setenv(name, "theirs")
    embedded = services.base_environment(tmp_path, "ray", Settings(root="s3://x", sources={"s3": "embedded"}))
    assert "theirs" not in embedded.values()
    assert embedded[MARKER] == f"ray@{tmp_path}"
    given = services.base_environment(tmp_path, "ray", Settings(root="s3://x", sources={"s3": "environment"}))
    assert given["AWS_SESSION_TOKEN"] == given["AWS_CA_BUNDLE"] == "theirs"


def test_command_line_without_a_stack(home: Path) -> None:
    shown = run_cli("status", home=home)
    assert shown.returncode == 0
    assert "`seldtune up` starts what is missing" in shown.stdout
    document = json.loads(run_cli("status", "--json", home=home).stdout)
    assert [one["state"] for one in document["services"]] == ["stopped"] * 3
    assert run_cli("down", home=home).stdout == f"nothing was running in {home}\n"
    assert not home.exists(), "asking creates nothing"


def test_command_line_errors_are_one_line(home: Path) -> None:
    wrong = run_cli("status", home=home, SELDTUNE_ROOT="ftp://x")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("error: SELDTUNE_ROOT is 'ftp://x'")
    assert wrong.stderr.count("\n") == 1
    debugged = run_cli("--debug", "status", home=home, SELDTUNE_ROOT="ftp://x")
    assert debugged.returncode == 2
    assert "Traceback" in debugged.stderr
    assert run_cli("status", "--nonsense", home=home).returncode == 2
    assert run_cli("no-such-command", home=home).returncode == 2
    home.mkdir()
    refused = run_cli("down", "--purge", home=home)
    assert refused.returncode == 2
    assert "say --yes" in refused.stderr


def test_command_line_imports_nothing_heavy() -> None:
    heavy = {"ray", "torch", "mlflow", "s3fs", "fsspec", "optuna", "pandas"}
    code = f"import sys, infra.cli; print({heavy} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"
