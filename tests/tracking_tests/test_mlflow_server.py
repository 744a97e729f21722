"""The tracking server of k8s/components/mlflow, run for real: with accounts, on a real Postgres, and its artifacts in
the object store of k8s/components/seaweedfs.
"""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import mlflow
import pytest
import requests
import yaml
from mlflow.exceptions import MlflowException
from mlflow.server import get_app_client

from data.errors import UserError
from infra.models.history import PROMOTE, AliasLog, Move
from infra.record.trials import COMPLETE
from infra.stack.answers import mlflow_login_refused
from infra.tracking.contents import SWEEP_TAG, TRIAL_TAG
from infra.tracking.tracker import SweepTracker
from support.mlflow_cluster import POSTGRES, Cluster, Login
from support.mlflow_manifests import COMPONENTS
from support.tracked_trials import end, new_record, report

pytestmark = pytest.mark.slow


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
    for password in ("the first password", "the first password", "the second password"):
        cluster.secrets["seldtune-mlflow"]["MLFLOW_TRACKING_PASSWORD"] = password
        ended = cluster.run_account_job()
        assert ended.returncode == 0, ended.stderr
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
