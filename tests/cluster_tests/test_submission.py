"""Submitting a sweep: what is sent and what is not, who is asked for a token, and a log over broken connections."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from data.errors import UserError
from infra.cluster.job_api import Cluster, Versions, check_versions, find_cluster, versions_here
from infra.cluster.jobs import refuse_secrets
from infra.cluster.nodes import refuse_unseen
from infra.cluster.upload import stage
from infra.commands.options import SweepOptions, with_sweep_options
from infra.stack.settings import Settings
from support.dashboard import Dashboard
from support.forgotten_plugins import forgotten_plugins
from support.submitting import SECRET, refused, run

pytestmark = pytest.mark.usefixtures("laptop_alone")

EMBEDDED = Settings(
    root="s3://own", ray_dashboard_url="http://127.0.0.1:21004", ray_auth_mode="token", ray_auth_token="token-of-stack"
)
SPACE = """
name: mine
base: {preset: resnet-gru, size: small}
parameters:
  optimiser.lr: {low: 1e-4, high: 3e-3, log: true}
"""


# --- what is asked of the cluster -------------------------------------------------------------------------------------


def test_options_are_the_same_again_after_a_round_trip() -> None:
    asked = SweepOptions(
        space="fusion",
        name="a-b",
        data="s3://bucket/with space",
        trials=3,
        budget="90s",
        gpu_hours=1.5,
        cpu_hours=2.0,
        least_gain=0.002,
        retries="2,diverged=0",
        workers=2,
        cpus=3,
        gpus=0.5,
        concurrency=4,
        data_memory="20GB",
        sampler="gp",
        stopper="none",
        by="schedule",
        against=["parameters", "latency"],
        warm_start=["one", "two"],
        seed=-7,
        fix=["training.epochs=4", 'fusion.name="gru"'],
        plugin=["parts.py", "more.py"],
    )
    seen: list[SweepOptions] = []
    application = typer.Typer()
    application.command()(with_sweep_options(lambda options: seen.append(options)))
    for options in (asked, SweepOptions(space="quickstart")):
        assert CliRunner().invoke(application, options.arguments()).exit_code == 0
        assert seen.pop() == options
    assert SweepOptions(space="quickstart").arguments() == ["quickstart"]
    changed = {name for name, value in vars(asked).items() if value != getattr(SweepOptions(space=""), name)}
    assert changed == set(vars(asked)), "a field that the round trip does not try"


def test_the_job_is_the_sweep_and_holds_no_secret(
    dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(SPACE)
    monkeypatch.setenv("SELDTUNE_ROOT", "s3://bucket/prefix")
    sized = ("--trials", "3", "--set", "training.epochs=2", "--model", "other")
    answer = json.loads(run(dashboard, str(tmp_path / "mine.yaml"), *sized, "--detach", "--json").stdout)
    (job,) = answer["jobs"]
    assert (job["id"], job["state"], answer["address"]) == ("seldtune-mine-1", "RUNNING", dashboard.url)
    (sent,) = dashboard.submitted
    words = shlex.split(sent["entrypoint"])
    assert words[:4] == ["exec", "python", "-m", "infra.cli"]
    assert words[4:] == [
        *("sweep", "mine.yaml", "--name", "mine", "--trials", "3"),
        *("--set", "training.epochs=2", "--model", "other"),
    ]
    assert sent["runtime_env"]["env_vars"] == {"RAY_JOB_STOP_WAIT_TIME_S": "60", "SELDTUNE_ROOT": "s3://bucket/prefix"}
    assert "token-of-cluster" not in json.dumps(sent)
    assert SECRET not in json.dumps(sent)
    (package,) = dashboard.packages.values()
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        assert archive.namelist() == ["mine.yaml"]


OTHER_FUSION = """
@FUSIONS.register
class Other(Fusion):
    name = "other"
    needs = ("audio",)
    depth = 1
    def build(self, audio_width, visual_width): ...
"""


def test_plugins_are_sent_and_named_where_they_arrive(dashboard: Dashboard, tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "parts.py"
    other = tmp_path / "more_parts.py"
    other.write_text("from trainables.parts.fusions.contract import FUSIONS, Fusion\n" + OTHER_FUSION)
    with forgotten_plugins():
        run(dashboard, "quickstart", "--plugin", str(example), "--plugin", str(other), "--detach")
    (sent,) = dashboard.submitted
    words = shlex.split(sent["entrypoint"])
    assert words[4:] == [
        *("sweep", "quickstart", "--name", "quickstart"),
        *("--plugin", "parts.py", "--plugin", "more_parts.py"),
    ]
    (package,) = dashboard.packages.values()
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        assert sorted(archive.namelist()) == ["more_parts.py", "parts.py"]


def test_two_files_of_one_name_are_not_sent(tmp_path: Path) -> None:
    files = [tmp_path / "parts.py", tmp_path / "other" / "parts.py"]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.touch()
    folder = tmp_path / "sent"
    folder.mkdir()
    with pytest.raises(UserError, match=r"two of the files to send are called parts\.py: give one another name"):
        stage(folder, files=[str(file) for file in files], code=False, limit_bytes=10**6, environment={})


def test_the_code_that_is_sent_runs_by_itself(tmp_path: Path) -> None:
    folder = tmp_path / "sent"
    folder.mkdir()
    size = stage(folder, files=[], code=True, limit_bytes=20_000_000, environment={})
    names = {path.name for path in folder.rglob("*")}
    assert {path.name for path in folder.iterdir()} == {"data", "trainables", "search_spaces", "infra", "seldtune"}
    assert 500_000 < size < 20_000_000
    assert not [name for name in names if name.startswith(".") or name.endswith(".pyc") or name == "__pycache__"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    where = "import infra.cli, trainables, data; print(infra.cli.__file__, trainables.__file__, data.__file__)"
    command = [sys.executable, "-c", where]
    seen = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout
    assert seen.split() == [
        str(folder / part) for part in ("infra/cli.py", "trainables/__init__.py", "data/__init__.py")
    ]


def test_too_much_is_not_sent(dashboard: Dashboard, tmp_path: Path) -> None:
    space = tmp_path / "mine.yaml"
    space.write_text(SPACE + "# " + "long " * 300_000)
    folder = tmp_path / "sent"
    folder.mkdir()
    with pytest.raises(UserError, match=r"1\.5 MB would be sent, more than 1 MB; the largest: mine\.yaml \(1\.5 MB\)"):
        stage(folder, files=[str(space)], code=False, limit_bytes=10**6, environment={})
    with pytest.raises(AssertionError):
        run(dashboard, str(space), "--max-upload", "1MB")
    assert not dashboard.submitted
    assert not dashboard.packages


@pytest.mark.parametrize(
    "arguments",
    [("--set", f"visual.weights=s3://x/{SECRET}"), ("--data", f"s3://bucket/{SECRET}")],
)
def test_secrets_among_the_options_are_refused(arguments: tuple[str, str]) -> None:
    options = SweepOptions(space="quickstart", **{"fix": [arguments[1]]} if arguments[0] == "--set" else {"data": ""})
    with pytest.raises(UserError, match="would show a secret") as caught:
        refuse_secrets([*options.arguments(), arguments[1]], os.environ)
    assert SECRET not in str(caught.value)


def test_secrets_in_a_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "space.py").write_text(f"KEY = {SECRET!r}")
    folder = tmp_path / "sent"
    folder.mkdir()
    with pytest.raises(UserError, match=r"space\.py holds a secret") as caught:
        stage(folder, files=[str(tmp_path / "space.py")], code=False, limit_bytes=10**6, environment=dict(os.environ))
    assert SECRET not in str(caught.value)


SENT_SPACE = """
import dataclasses
from search_spaces.quickstart import QUICKSTART
SPACE = dataclasses.replace(QUICKSTART, name="mine")
"""


@pytest.mark.parametrize("name", ["data", "trainables", "search_spaces", "infra", "seldtune", "random", "torch", "ray"])
@pytest.mark.parametrize("code", [(), ("--code",)])
def test_a_space_with_the_name_of_a_module_is_refused(
    dashboard: Dashboard, tmp_path: Path, name: str, code: tuple[str, ...]
) -> None:
    space = tmp_path / f"{name}.py"
    space.write_text(SENT_SPACE)
    with pytest.raises(AssertionError, match=f"would hide the module '{name}' from the job: give it another name"):
        run(dashboard, str(space), "--name", "mine", "--detach", *code)
    assert not dashboard.submitted


@pytest.mark.parametrize("name", ["mine.py", "data.yaml"])
def test_any_other_name_leaves_the_job_its_modules(dashboard: Dashboard, tmp_path: Path, name: str) -> None:
    space = tmp_path / name
    space.write_text(SENT_SPACE if name.endswith(".py") else SPACE)
    run(dashboard, str(space), "--name", "mine", "--detach")
    (sent,), (package,) = dashboard.submitted, dashboard.packages.values()
    folder = tmp_path / "job"
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        archive.extractall(folder)
    # As Ray starts a job: from its working directory, which is first on the path.
    words = [*shlex.split(sent["entrypoint"])[1:4], "sweep", "--help"]
    words[0] = sys.executable
    environment = {**os.environ, "PYTHONPATH": f"{folder}:{Path(__file__).parents[2]}"}
    ended = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_folders_of_the_laptop_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    address = ("--address", "http://127.0.0.1:9")
    assert "--data is /data/mine, a folder" in refused("quickstart", "--data", "/data/mine", *address)
    monkeypatch.setenv("SELDTUNE_ROOT", "/data")
    assert "SELDTUNE_ROOT is /data, a folder" in refused("quickstart", *address)


def test_a_node_that_does_not_see_the_root_is_named() -> None:
    nodes = [("a", "10.0.0.1"), ("b", "10.0.0.2")]
    refuse_unseen("/data/.probe", nodes, [])
    with pytest.raises(UserError, match=r"/data is a folder that 1 of the cluster's 2 nodes .*10\.0\.0\.2"):
        refuse_unseen("/data/.probe", nodes, ["10.0.0.2"])


# --- the cluster ------------------------------------------------------------------------------------------------------


def test_a_cluster_wants_its_token(dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = ("quickstart", "--address", dashboard.url)
    assert "asks for a token: set RAY_AUTH_TOKEN to it, or RAY_AUTH_TOKEN_PATH" in refused(*sweep)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another-token")
    message = refused(*sweep)
    assert "takes another token" in message
    assert "another-token" not in message
    assert not dashboard.submitted


def test_a_token_comes_from_where_ray_looks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("of-the-file\n")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    found = find_cluster("head:8265", EMBEDDED)
    assert (found.url, found.token) == ("http://head:8265", "of-the-file")
    assert "of-the-file" not in repr(found)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "nothing"))
    with pytest.raises(UserError, match="RAY_AUTH_TOKEN_PATH names"):
        find_cluster("head:8265", EMBEDDED)


def test_the_token_of_the_stack_is_for_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_cluster(None, EMBEDDED) == Cluster(url="http://127.0.0.1:21004", token="token-of-stack", embedded=True)
    assert find_cluster("http://elsewhere:8265", EMBEDDED).token is None
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "https://env:8265/")
    assert find_cluster(None, EMBEDDED) == Cluster(url="https://env:8265")
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS")
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")  # no dashboard
    with pytest.raises(UserError, match="no Ray cluster to submit to"):
        find_cluster(None, replace(EMBEDDED, ray_dashboard_url=None))


def test_what_is_written_wrongly_is_refused_here(monkeypatch: pytest.MonkeyPatch) -> None:
    address = ("--address", "http://127.0.0.1:9")
    assert "choose one of quickstart" in refused("quickstat", "--name", "a", *address)
    assert "use letters, digits" in refused("quickstart", "--name", "a/b", *address)
    assert "--model 'a/b': use" in refused("quickstart", "--model", "a/b", *address)
    assert "write <field>=<value>" in refused("quickstart", "--set", "training.epochs", *address)
    assert "no amount of memory" in refused("quickstart", "--data-memory", "plenty", *address)


def test_nothing_is_imported_that_a_laptop_does_not_use() -> None:
    code = """
import sys
from infra.cli import app
try:
    app(["submit", "quickstart", "--address", "http://127.0.0.1:9"])
except Exception as error:
    print(error)
print(sorted({"torch", "mlflow", "optuna"} & sys.modules.keys()))
"""
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert seen.startswith("nothing answers")
    assert seen.splitlines()[-1] == "[]"


def test_nothing_there() -> None:
    assert "nothing answers at http://127.0.0.1:9: give --address" in refused(
        "quickstart", "--address", "http://127.0.0.1:9"
    )


@pytest.mark.parametrize(
    "theirs",
    [Versions("2.59.0", versions_here().python), Versions(versions_here().ray, "3.12.1"), Versions("2.59.0", None)],
)
def test_other_versions_are_refused_naming_both(dashboard: Dashboard, theirs: Versions) -> None:
    ours = versions_here()
    with pytest.raises(UserError) as caught:
        check_versions(theirs, ours, "http://head")
    assert f"Ray {theirs.ray} on Python {theirs.python or '(not told)'}" in str(caught.value)
    assert f"Ray {ours.ray} on Python {ours.python}" in str(caught.value)
    dashboard.versions = theirs
    with pytest.raises(AssertionError, match="submit from an environment like"):
        run(dashboard, "quickstart")
    assert not dashboard.submitted


def test_a_patch_of_python_or_an_untold_one_is_no_other_version() -> None:
    check_versions(Versions("2.60.0", "3.11.1"), Versions("2.60.0", "3.11.7"), "")
    check_versions(Versions("2.60.0", None), Versions("2.60.0", "3.11.7"), "")
