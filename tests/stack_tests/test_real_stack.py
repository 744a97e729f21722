"""The embedded stack with its real services, from the first answer to `down`."""

from __future__ import annotations

import ast
import ipaddress
import json
import os
import re
import signal
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
from data.object_stores import Access
from infra.stack import embedded, services
from infra.stack.home import read_state
from infra.stack.processes import memory_bytes
from infra.stack.settings import Settings, load_settings
from support.stack_processes import clear_environment, pids, processes_naming, run_cli, settled


@pytest.fixture(scope="module")
def sockets_before() -> set[Path]:
    """What object stores of others, ended without a chance to tidy, have left in /tmp."""
    return set(Path("/tmp").glob("seaweedfs-*"))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, sockets_before: set[Path]) -> Iterator[Path]:
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
    # SeaweedFS's own log names the keys that it takes, and stays where nobody else reads.
    kept = real / "s3" / "logs"
    assert list(kept.glob("weed*"))
    assert (kept.stat().st_mode & 0o077) == 0


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
def test_real_down_leaves_nothing_but_data(real: Path, settings: Settings, sockets_before: set[Path]) -> None:
    state = read_state(real)
    assert state is not None
    assert state.run_dir is not None
    all_ports = [port for record in state.services.values() for port in record.ports.values()]
    s3_ports = state.services["s3"].ports.values()
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
    sockets = set(Path("/tmp").glob("seaweedfs-*")) - sockets_before
    assert not [path for path in sockets if any(f"-{port}.sock" in path.name for port in s3_ports)]
    assert (real / "logs" / "ray-session" / "raylet.out").exists()
    assert (real / "mlflow" / "mlflow.db").exists()
    again = run_cli("status", home=real)
    assert again.returncode == 0
    assert "stopped" in again.stdout
