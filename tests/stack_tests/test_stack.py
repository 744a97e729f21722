"""The embedded stack: its life cycle with small stand-in services, then with the real ones (slow)."""

from __future__ import annotations

import ast
import ipaddress
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from data import object_stores
from data.errors import UserError
from data.object_stores import Access
from infra.stack import answers, embedded, processes, services
from infra.stack.embedded import StackError
from infra.stack.home import StackState, read_state
from infra.stack.processes import MARKER, end_service, memory_bytes, recorded_process, service_processes
from infra.stack.services import Launch, Service, choose_ports
from infra.stack.settings import Settings, load_settings

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
    os.kill(before["mlflow"], signal.SIGKILL)
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
    assert ports["admin_grpc"] == ports["admin"] + services.GRPC_OFFSET
    assert len(set(ports.values())) == 3
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


def run_cli(*arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "infra.cli", *arguments],
        env={**os.environ, "SELDTUNE_HOME": str(home), "NO_COLOR": "1", **environment},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=180,
    )


def test_command_line_without_a_stack(home: Path) -> None:
    shown = run_cli("status", home=home)
    assert shown.returncode == 0
    assert "`seldtune up` starts what is missing" in shown.stdout
    document = json.loads(run_cli("status", "--json", home=home).stdout)
    assert [one["state"] for one in document["services"]] == ["stopped"] * 3
    assert run_cli("down", home=home).stdout == "nothing was running\n"
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


# --- the real services ---


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One whole stack for the tests below, brought up by the command line, which is gone afterwards."""
    home = tmp_path_factory.mktemp("stack") / "home"
    with pytest.MonkeyPatch.context() as patch:
        clear_environment(patch, home)
        brought_up = run_cli("up", home=home)
        try:
            assert brought_up.returncode == 0, brought_up.stderr
            yield home
        finally:
            embedded.down()


@pytest.fixture
def settings(real: Path) -> Settings:
    return load_settings()


def http_status(url: str, **headers: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def s3_files(settings: Settings, access_key: str | None, secret_key: str | None):
    assert settings.s3_endpoint_url
    assert access_key
    assert secret_key
    return object_stores.filesystem("s3://seldtune", Access(settings.s3_endpoint_url, access_key, secret_key))


def python(
    code: str, settings: Settings, *, without: tuple[str, ...] = (), **more: str
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **settings.environment(), **more}
    for name in without:
        environment.pop(name)
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)


ASK_RAY = """
import os, ray  # before the settings are exported, as may happen in a process that does other things first
from infra.cluster.join import connect
from infra.stack.settings import load_settings
if "RAY_AUTH_MODE" not in os.environ:
    settings = load_settings()
    settings.export()
    connect(settings)
else:
    ray.init(address=os.environ["RAY_ADDRESS"], logging_level="error", log_to_driver=False)


@ray.remote
def told(given):
    import psutil
    listening = {one.laddr.ip for one in psutil.Process().net_connections("inet") if one.status == "LISTEN"}
    return [os.environ.get(name) == value for name, value in given.items()], sorted(listening)

names = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_URI")
print(ray.get(told.remote({name: os.environ[name] for name in names})), flush=True)
"""


@pytest.mark.slow
def test_real_services_answer(real: Path, settings: Settings) -> None:
    shown = run_cli("status", "--json", home=real)
    document = json.loads(shown.stdout)
    assert [one["state"] for one in document["services"]] == ["running"] * 3
    assert http_status(f"{settings.mlflow_tracking_uri}/health") == 200
    assert http_status(f"{settings.ray_dashboard_url}/") == 200
    assert settings.ray_auth_token is not None
    version = f"{settings.ray_dashboard_url}/api/version"
    assert http_status(version) == 401
    assert http_status(version, Authorization=f"Bearer {settings.ray_auth_token}") == 200
    state = read_state(real)
    assert state is not None
    for secret in state.secrets.values():
        assert secret not in shown.stdout
        assert not any(secret in line for line in command_lines(real))
        assert not any(secret in path.read_text(errors="replace") for path in (real / "logs").glob("*.log"))


def command_lines(home: Path) -> list[str]:
    return [" ".join(one.cmdline()) for name in services.SERVICES for one in settled(home, name)]


@pytest.mark.slow
def test_real_private_files(real: Path) -> None:
    assert stat.S_IMODE(real.stat().st_mode) == 0o700
    for name in ("settings.json", "ray_token"):
        assert stat.S_IMODE((real / name).stat().st_mode) == 0o600


@pytest.mark.slow
def test_real_memory_is_low(real: Path) -> None:
    memory = {name: memory_bytes(settled(real, name)) / 2**20 for name in services.SERVICES}
    assert memory["s3"] < 400, memory
    assert memory["mlflow"] < 900, memory
    assert sum(memory.values()) < 2500, memory


@pytest.mark.slow
def test_real_object_store_wants_its_keys(real: Path, settings: Settings) -> None:
    files = s3_files(settings, settings.s3_access_key, settings.s3_secret_key)
    files.pipe_file("seldtune/a/b", b"content")
    assert files.cat_file("seldtune/a/b") == b"content"
    for access_key, secret_key in ((settings.s3_access_key, "wrong"), ("nobody", "wrong")):
        with pytest.raises(PermissionError) as refused:
            s3_files(settings, access_key, secret_key).cat_file("seldtune/a/b")
        assert re.search(r"SignatureDoesNotMatch|InvalidAccessKeyId", str(refused.value.__cause__))
    with pytest.raises(FileNotFoundError) as missing:
        files.pipe_file("no-such-bucket/a", b"")
    assert "NoSuchBucket" in str(missing.value.__cause__)
    # Nor is there a way round the gate.
    state = read_state(real)
    assert state is not None
    assert http_status(f"{settings.s3_endpoint_url}/seldtune/a/b") == 403
    assert http_status(f"http://127.0.0.1:{state.services['s3'].ports['filer']}/buckets/seldtune/a/b") == 401


@pytest.mark.slow
def test_real_artifacts_go_through_mlflow_into_the_bucket(real: Path, settings: Settings) -> None:
    code = """
import mlflow
with mlflow.start_run() as run:
    mlflow.log_text("hello", "notes/hello.txt")
print(mlflow.get_run(run.info.run_id).info.artifact_uri)
print(mlflow.artifacts.load_text(run.info.artifact_uri + "/notes/hello.txt"))
"""
    # The client needs no keys to the object store.
    done = python(code, settings, without=("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"))
    assert done.returncode == 0, done.stderr
    assert "mlflow-artifacts:/" in done.stdout
    assert done.stdout.split()[-1] == "hello"
    keys = s3_files(settings, settings.s3_access_key, settings.s3_secret_key).find("seldtune/mlflow")
    assert [key for key in keys if key.endswith("notes/hello.txt")]


@pytest.mark.slow
def test_real_ray_with_and_without_its_token(real: Path, settings: Settings) -> None:
    done = subprocess.run([sys.executable, "-c", ASK_RAY], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told, addresses = ast.literal_eval(done.stdout)
    assert told == [True] * 4, "workers know the object store and MLflow"
    assert all(ipaddress.ip_address(one.removeprefix("::ffff:")).is_loopback for one in addresses), addresses
    # Not through the token of the person who runs this test either.
    done = python(
        ASK_RAY, settings, without=("RAY_AUTH_TOKEN",), RAY_AUTH_TOKEN_PATH="/dev/null", RAY_NUM_REDIS_GET_RETRIES="1"
    )
    assert done.returncode != 0
    done = python(ASK_RAY, settings, RAY_AUTH_TOKEN="0" * 64, RAY_NUM_REDIS_GET_RETRIES="1")
    assert done.returncode != 0


@pytest.mark.slow
def test_real_sockets_are_on_loopback(real: Path) -> None:
    listening = [
        (one.laddr.ip, one.laddr.port, process.name())
        for name in services.SERVICES
        for process in settled(real, name)
        for one in process.net_connections("inet")
        if one.status == psutil.CONN_LISTEN
    ]
    assert len(listening) > 15
    outside = [one for one in listening if not ipaddress.ip_address(one[0].removeprefix("::ffff:")).is_loopback]
    assert outside == []


@pytest.mark.slow
def test_real_second_up_and_replacement(real: Path, settings: Settings) -> None:
    before = pids(real)
    assert run_cli("up", home=real).returncode == 0
    assert pids(real) == before
    assert before["mlflow"] is not None
    os.kill(before["mlflow"], signal.SIGKILL)
    done = run_cli("up", home=real)
    assert done.returncode == 0, done.stderr
    after = pids(real)
    assert after["mlflow"] != before["mlflow"]
    assert (after["s3"], after["ray"]) == (before["s3"], before["ray"])
    assert load_settings().environment() == settings.environment()
    assert len(settled(real, "mlflow")) == 2, "the killed one's worker is gone"


@pytest.mark.slow
def test_real_down_leaves_nothing_but_data(real: Path, settings: Settings) -> None:
    state = read_state(real)
    assert state is not None
    assert state.run_dir is not None
    all_ports = [port for record in state.services.values() for port in record.ports.values()]
    worker = subprocess.Popen(  # a driver with a busy worker
        [sys.executable, "-c", ASK_RAY + "\nray.get(ray.remote(lambda: __import__('time').sleep(600)).remote())"],
        env={**os.environ, **settings.environment()},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert worker.stdout is not None
        worker.stdout.readline()
        pid = state.services["ray"].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)  # its children are on their own now
        begin = time.monotonic()
        done = run_cli("down", home=real)
        assert done.returncode == 0, done.stderr
        assert time.monotonic() - begin < 40
    finally:
        worker.kill()
        worker.wait()
    assert processes_naming(str(real)) == []
    assert processes_naming(state.run_dir) == []
    listening = {one.laddr.port for one in psutil.net_connections("inet") if one.status == psutil.CONN_LISTEN}
    assert not listening & set(all_ports)
    assert not Path(state.run_dir).exists()
    assert not [path for path in Path("/tmp").glob("seaweedfs-*") if any(str(port) in path.name for port in all_ports)]
    assert (real / "logs" / "ray-session" / "raylet.out").exists()
    assert (real / "mlflow" / "mlflow.db").exists()
    again = run_cli("status", home=real)
    assert again.returncode == 0
    assert "stopped" in again.stdout
