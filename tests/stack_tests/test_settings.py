"""Settings: what comes from where, what is never shown, and what is refused."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from data.errors import UserError
from data.object_stores import split_uri
from infra.stack import home as home_module
from infra.stack.answers import mlflow_answers, ray_answers, require_answers, s3_answers
from infra.stack.home import ServiceRecord, StackState, create_home, find_home, read_state, write_private, write_state
from infra.stack.settings import Settings, check_root_uri, load_settings

SECRETS = {
    "s3_access_key": "key-of-the-stack",
    "s3_secret_key": "secret-of-the-stack",
    "s3_signing_key": "signing-key",
    "ray_token": "token-of-the-stack",
}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("AWS_", "MLFLOW_", "RAY_", "SELDTUNE_")) or name.lower() == "no_proxy":
            monkeypatch.delenv(name)
    monkeypatch.setenv("SELDTUNE_HOME", str(tmp_path / "home"))


@pytest.fixture
def stack(tmp_path: Path) -> StackState:
    """A stack's private file; this test's own process stands for the three services."""
    own = psutil.Process()
    ports = {
        "s3": {"http": 21001},
        "mlflow": {"http": 21002},
        "ray": {"gcs": 21003, "dashboard": 21004},
    }
    services = {
        name: ServiceRecord(ports=of, inputs="", pid=own.pid, created=own.create_time()) for name, of in ports.items()
    }
    state = StackState(root="s3://seldtune", secrets=dict(SECRETS), services=services)
    create_home(tmp_path / "home")
    write_state(tmp_path / "home", state)
    return state


def test_stack_gives_all_services(stack: StackState) -> None:
    settings = load_settings()
    assert settings.root == "s3://seldtune"
    assert settings.s3_endpoint_url == "http://127.0.0.1:21001"
    assert (settings.s3_access_key, settings.s3_secret_key) == ("key-of-the-stack", "secret-of-the-stack")
    assert settings.mlflow_tracking_uri == "http://127.0.0.1:21002"
    assert settings.ray_address == "127.0.0.1:21003"
    assert settings.ray_dashboard_url == "http://127.0.0.1:21004"
    assert (settings.ray_auth_mode, settings.ray_auth_token) == ("token", "token-of-the-stack")
    assert set(settings.sources.values()) == {"embedded"}


def test_environment_wins_service_by_service(stack: StackState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.org")
    settings = load_settings()
    assert settings.mlflow_tracking_uri == "https://mlflow.example.org"
    assert settings.sources == {"s3": "embedded", "mlflow": "environment", "ray": "embedded"}

    monkeypatch.setenv("RAY_ADDRESS", "ray://head.example.org:10001")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "their-token")
    settings = load_settings()
    assert settings.ray_address == "ray://head.example.org:10001"
    assert (settings.ray_auth_mode, settings.ray_auth_token) == ("token", "their-token")
    assert settings.ray_dashboard_url is None


def test_endpoint_and_keys_are_never_mixed(stack: StackState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "theirs")
    settings = load_settings()
    assert settings.sources["s3"] == "environment"
    assert settings.s3_access_key == "theirs"
    assert settings.s3_endpoint_url is None
    assert settings.s3_secret_key is None


@pytest.mark.parametrize(
    ("given", "told"),
    [({"AWS_PROFILE": "work"}, True), ({"AWS_PROFILE": "work", "AWS_ENDPOINT_URL": "http://x"}, False)],
)
def test_a_profile_alone_that_leads_away_from_the_stack_is_told(
    stack: StackState,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    given: dict[str, str],
    told: bool,
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert load_settings().sources["s3"] == "environment"
    assert ("AWS_PROFILE is set: S3 is Amazon's, not that of `seldtune up`" in caplog.text) == told


def test_own_settings_in_the_environment_are_not_foreign(stack: StackState, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in load_settings().environment().items():
        monkeypatch.setenv(name, value)
    assert set(load_settings().sources.values()) == {"embedded"}


def test_everything_from_the_environment_needs_no_stack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SELDTUNE_ROOT", str(tmp_path / "data") + "/")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////tmp/runs.db")
    monkeypatch.setenv("RAY_ADDRESS", "local")
    settings = load_settings()
    assert settings.root == str(tmp_path / "data")
    assert settings.sources["s3"] == "unused"
    assert settings.home is None
    assert not (tmp_path / "home").exists()


def test_missing_services_are_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "local")
    with pytest.raises(UserError, match=r"no stack here for s3, mlflow: run `seldtune up`, or set AWS_ENDPOINT_URL"):
        load_settings()
    assert load_settings(need=("ray",)).sources["mlflow"] == "missing"


def test_a_dead_service_is_missing(stack: StackState, tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    stack.services["mlflow"].pid = ended.pid
    # The same number, another process: as when a pid has come round again.
    assert stack.services["ray"].created is not None
    stack.services["ray"].created -= 1000
    write_state(tmp_path / "home", stack)
    with pytest.raises(UserError, match=r"does not run mlflow or ray: run `seldtune up`"):
        load_settings()
    assert load_settings(need=("s3",)).sources["s3"] == "embedded"


def test_secrets_are_not_shown(stack: StackState, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    for secret in SECRETS.values():
        assert secret not in repr(settings)
        assert secret not in repr(read_state(find_home()))
    environment = settings.environment()
    assert environment["AWS_SECRET_ACCESS_KEY"] == "secret-of-the-stack"
    assert environment["RAY_AUTH_TOKEN"] == "token-of-the-stack"


def test_export_sets_what_libraries_read(stack: StackState, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    for name in settings.environment():
        monkeypatch.setenv(name, "old")  # so that it is put back afterwards
        monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "intranet.example.org")
    monkeypatch.delitem(sys.modules, "ray._raylet", raising=False)
    settings.export()
    assert os.environ["AWS_ENDPOINT_URL"] == "http://127.0.0.1:21001"
    assert os.environ["AWS_ACCESS_KEY_ID"] == "key-of-the-stack"
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:21002"
    assert os.environ["RAY_ADDRESS"] == "127.0.0.1:21003"
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert os.environ["NO_PROXY"] == "intranet.example.org,127.0.0.1,localhost"


@pytest.mark.parametrize("root", ["ftp://bucket", "s3://", "gs://", "s3://Big", "s3:///x", "http://127.0.0.1/bucket"])
def test_roots_of_other_kinds_are_refused(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELDTUNE_ROOT", root)
    with pytest.raises(UserError, match="SELDTUNE_ROOT"):
        load_settings(need=())


def test_roots_have_one_spelling(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert check_root_uri("s3://bucket/a/b/") == "s3://bucket/a/b"
    assert split_uri("s3://bucket/a/b")[0] == "bucket"
    assert check_root_uri("gs://bucket_of_ours/a/") == "gs://bucket_of_ours/a"
    assert check_root_uri("sub/folder/") == str(tmp_path / "sub/folder")
    assert check_root_uri("file:///srv/data") == "/srv/data"
    monkeypatch.setenv("HOME", "/home/of/mine")
    assert check_root_uri("file://~/data") == check_root_uri("~/data") == "/home/of/mine/data"


def test_home_is_the_nearest_of_ones_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SELDTUNE_HOME")
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / ".seldtune").mkdir()
    monkeypatch.chdir(inner)
    assert find_home() == tmp_path / ".seldtune"
    (tmp_path / "a" / ".seldtune").mkdir()
    assert find_home() == tmp_path / "a" / ".seldtune"
    monkeypatch.setattr(home_module.os, "getuid", lambda: os.geteuid() + 1)
    assert find_home() == inner / ".seldtune"


def test_private_file_is_private(stack: StackState, tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "settings.json").stat().st_mode) == 0o600
    assert read_state(home) == stack


def test_private_file_is_replaced_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.json"
    texts = [json.dumps(["x" * 200_000] * (number + 1)) for number in range(2)]
    write_private(path, texts[0])
    seen, done = set(), threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(50):
        write_private(path, texts[number % 2])
    done.set()
    reader.join()
    assert seen <= set(texts)

    def fail(*_: object) -> None:
        raise OSError("disk full")

    before = path.read_text()
    monkeypatch.setattr(home_module.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_private(path, "other")
    assert path.read_text() == before
    assert [one.name for one in tmp_path.iterdir()] == ["file.json"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"version": 1}',
        '{"version": 1, "services": {"s3": {"color": 1}}}',
        '{"version": 1, "services": {"s3": 3}}',
        '{"version": 1, "services": {"s3": {"ports": 3}}}',
        '{"version": 1, "services": {"s3": {"ports": {"http": "x"}}}}',
        '{"version": 1, "services": {"s3": {"pid": "x"}}}',
        '{"version": 1, "services": {"s3": {"pid": 1, "created": "x"}}}',
        '{"version": 1, "services": {}, "root": 3}',
        '{"version": 1, "services": {}, "secrets": []}',
        '{"version": 1, "services": {}, "buckets": {"a": 1}}',
        '{"version": 1, "services": {}, "run_dir": ["/tmp"]}',
    ],
)
def test_a_foreign_settings_file_is_refused(text: str, tmp_path: Path) -> None:
    create_home(tmp_path / "home")
    (tmp_path / "home" / "settings.json").write_text(text)
    with pytest.raises(UserError, match=r"settings\.json is not a settings file"):
        load_settings()


def test_a_newer_settings_file_is_refused(tmp_path: Path) -> None:
    create_home(tmp_path / "home")
    (tmp_path / "home" / "settings.json").write_text('{"version": 99}')
    with pytest.raises(UserError, match="version 99"):
        load_settings()


def test_a_home_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="set SELDTUNE_HOME to a folder"):
        create_home(tmp_path / "file")
    with pytest.raises(UserError, match="set SELDTUNE_HOME to a folder"):
        create_home(tmp_path / "file" / "home")


def test_services_that_do_not_answer_are_refused() -> None:
    closed = "127.0.0.1:9"  # the discard service: nobody listens there
    assert mlflow_answers(f"http://{closed}") is False
    assert s3_answers(f"http://{closed}") is False
    assert ray_answers(closed) is False
    assert mlflow_answers("sqlite:////tmp/x.db") is None
    assert ray_answers("auto") is None
    with pytest.raises(UserError, match=f"MLflow does not answer at http://{closed}"):
        require_answers(Settings(root="/x", mlflow_tracking_uri=f"http://{closed}"))
    with pytest.raises(UserError, match=f"Ray does not answer at {closed}"):
        require_answers(Settings(root="/x", ray_address=closed))
    with pytest.raises(UserError, match="dashboard's URL"):
        require_answers(Settings(root="/x", ray_address=f"http://{closed}"))
    require_answers(Settings(root="/x", ray_address="local", mlflow_tracking_uri="sqlite:////tmp/x.db"))
