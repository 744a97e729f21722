"""The steps of k8s/rotation.md, from the page's own text, on real servers: what runs with the old secret goes on."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import boto3
import mlflow
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from mlflow.exceptions import MlflowException
from mlflow.server import get_app_client

from infra.record.trials import COMPLETE, TrialRecord
from infra.stack.answers import mlflow_login_refused
from infra.tracking.tracker import SweepTracker
from support.kubectl_stand_in import REAL, page_commands
from support.mlflow_cluster import POSTGRES, Cluster, Login
from support.mlflow_manifests import COMPONENTS
from support.tracked_trials import EAGER, end, new_record, report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(REAL is None, reason="there is no kubectl to print and patch Secrets with"),
]

EXPERIMENT = "seldtune"
Run = Callable[[str], str]


@pytest.fixture
def run(cluster: Cluster, tmp_path: Path) -> Iterator[Run]:
    with page_commands(cluster, tmp_path) as commands:
        yield commands


def steps(heading: str) -> list[str]:
    """The blocks of commands below a heading of the page."""
    page = (COMPONENTS.parent / "rotation.md").read_text()
    (section,) = re.findall(rf"^## {heading}$(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    return re.findall(r"^```bash\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


def account_of_sweeps(cluster: Cluster) -> tuple[str, str]:
    held = cluster.secrets["seldtune-mlflow"]
    return held["MLFLOW_TRACKING_USERNAME"], held["MLFLOW_TRACKING_PASSWORD"]


def with_account_of_sweeps(cluster: Cluster) -> tuple[str, str]:
    """The account, made as it is made in an empty cluster."""
    ended = cluster.run_account_job()
    assert ended.returncode == 0, ended.stderr
    return account_of_sweeps(cluster)


def report_while(tracker: SweepTracker, record: TrialRecord, run: Run, step: str) -> None:
    """Trial by trial epoch, as long as a step takes, and one epoch after it."""
    with ThreadPoolExecutor(1) as beside:
        done = beside.submit(run, step)
        while True:
            last = done.done()
            record.add_report(report(record.number, len(record.reports) + 1))
            tracker.update(record)
            if last:
                break
            wait([done], timeout=0.5)
        done.result()


def steps_written(run_id: str) -> list[int]:
    return sorted(m.step for m in mlflow.MlflowClient().get_metric_history(run_id, "present/SELD"))


def register(name: str, experiment_id: str) -> str:
    """A further version of a model, from a run of this account; its number."""
    client = mlflow.MlflowClient()
    run_id = client.create_run(experiment_id).info.run_id
    return str(client.create_model_version(name, f"runs:/{run_id}/model", run_id, await_creation_for=0).version)


def test_a_second_account_goes_on_with_what_the_first_began(cluster: Cluster, run: Run, tmp_path: Path) -> None:
    old = with_account_of_sweeps(cluster)
    stranger = cluster.account("stranger")
    with Login(stranger):
        mlflow.MlflowClient().create_registered_model("the stranger's")
    make, give, delete = steps("The account of sweeps in MLflow")
    tags, outbox, record = {"data": "abc"}, str(tmp_path / "outbox"), new_record(0)
    with Login(old):
        client = mlflow.MlflowClient()
        tracker = SweepTracker(cluster.url, EXPERIMENT, "rotated", tags, outbox=outbox)
        experiment_id = tracker.parent.info.experiment_id
        client.create_registered_model("seld")
        assert register("seld", experiment_id) == "1"
        report_while(tracker, record, run, make)
        assert tracker.flush()
        run_id, while_made = tracker.run_id(0), len(record.reports)
        assert while_made > 3
        assert steps_written(run_id) == list(range(1, while_made + 1))
        later = client.create_experiment("made after the second account")
    assert "seldtune-mlflow-next" not in cluster.secrets
    new = account_of_sweeps(cluster)
    assert new[0] == "sweeps-2"
    with Login(new):
        # As in a head that is made anew: the same command finds the runs and goes on with them.
        with SweepTracker(cluster.url, EXPERIMENT, "rotated", tags, outbox=outbox) as tracker:
            assert tracker.parent_id == client.get_run(run_id).data.tags["mlflow.parentRunId"]
            record.add_report(report(0, while_made + 1))
            end(record, COMPLETE)
            tracker.update(record)
            assert tracker.flush()
            assert tracker.run_id(0) == run_id
        assert steps_written(run_id) == list(range(1, while_made + 2))
        assert client.get_run(run_id).info.status == "FINISHED"
        assert register("seld", experiment_id) == "2"
        with pytest.raises(MlflowException, match=r"403|ermission"):
            client.create_run(later)
    assert "1 of it is new" in run(give)
    with Login(new):
        client.create_run(later)
    # The first goes on until it is deleted, and what it made last is not lost with it.
    with Login(old):
        last = client.create_experiment("made last")
    assert run(delete).splitlines()[-1] == "account sweeps is deleted"
    with Login(cluster.admin), pytest.raises(MlflowException, match="not found"):
        get_app_client("basic-auth", cluster.url).get_user("sweeps")
    with Login(new):
        client.log_metric(client.create_run(last).info.run_id, "SELD", 0.4)
        client.set_tag(client.create_run(experiment_id).info.run_id, "after", "deletion")
        assert register("seld", experiment_id) == "3"
        client.set_registered_model_alias("seld", "champion", "3")
        with pytest.raises(MlflowException, match=r"403|ermission"):
            client.set_registered_model_tag("the stranger's", "a", "b")
    # Once more, as any later apply does.
    assert with_account_of_sweeps(cluster) == new


def test_a_running_account_is_given_no_other_password(cluster: Cluster) -> None:
    name, _ = with_account_of_sweeps(cluster)
    cluster.secrets["seldtune-mlflow-next"] = {
        "MLFLOW_TRACKING_USERNAME": name,
        "MLFLOW_TRACKING_PASSWORD": "another one",
    }
    ended = cluster.run_account_job()
    del cluster.secrets["seldtune-mlflow-next"]
    assert ended.returncode == 1
    assert f"the next account is {name!r}, as the one that is there: give it another name" in ended.stderr.decode()


def s3_client(cluster: Cluster, keys: dict[str, str]) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=cluster.s3_url,
        region_name="us-east-1",
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        config=Config(retries={"total_max_attempts": 5}),
    )


@pytest.mark.dear
def test_two_pairs_of_keys_are_valid_until_the_last_step(cluster: Cluster, run: Run) -> None:
    sweeps = with_account_of_sweeps(cluster)
    old = dict(cluster.s3_keys)
    before = s3_client(cluster, old)
    before.create_bucket(Bucket="rotated")
    before.put_object(Bucket="rotated", Key="checkpoint", Body=b"old")
    second, last = steps("Keys of SeaweedFS")
    run(second)
    new = dict(cluster.s3_keys)
    assert new["AWS_ACCESS_KEY_ID"] == "seldtune-2"
    assert not set(new.values()) & set(old.values())
    assert "seldtune-storage-next" not in cluster.secrets
    for restarted in (False, True):
        if restarted:  # by a node that is lost, say
            cluster.stop("seaweedfs", timeout_s=0)
            cluster.start("seaweedfs")
        for keys, body in ((old, b"old"), (new, b"new")):
            client = s3_client(cluster, keys)
            client.put_object(Bucket="rotated", Key="checkpoint", Body=body)
            for reader in (old, new):
                read = s3_client(cluster, reader).get_object(Bucket="rotated", Key="checkpoint")
                assert read["Body"].read() == body
    run(last)
    with pytest.raises(ClientError, match="InvalidAccessKeyId"):
        before.get_object(Bucket="rotated", Key="checkpoint")
    assert s3_client(cluster, new).get_object(Bucket="rotated", Key="checkpoint")["Body"].read() == b"new"
    # MLflow, which was restarted at the first step, keeps artifacts with the new pair.
    with Login(sweeps):
        client = mlflow.MlflowClient()
        run_id = client.create_run(client.create_experiment("artifacts")).info.run_id
        client.log_text(run_id, "kept", "note.txt")
        assert [file.path for file in client.list_artifacts(run_id)] == ["note.txt"]


def logs_in(cluster: Cluster, account: tuple[str, str]) -> bool:
    with Login(account):
        return mlflow_login_refused(cluster.url) is None


def enters_postgres(how: dict[str, str]) -> bool:
    command = [str(POSTGRES / "psql"), "--no-password", "-c", "SELECT 1"]
    return subprocess.run(command, env=how, capture_output=True, check=False).returncode == 0


@pytest.mark.dear
@pytest.mark.parametrize("heading", ["Postgres", "MLflow's admin and session key"])
def test_a_sweep_tells_later_what_mlflow_missed(cluster: Cluster, run: Run, tmp_path: Path, heading: str) -> None:
    sweeps, postgres, admin = with_account_of_sweeps(cluster), cluster.postgres, cluster.admin
    key = cluster.secrets["mlflow-server"]["MLFLOW_FLASK_SERVER_SECRET_KEY"]
    (step,) = steps(heading)
    with Login(sweeps):
        tracker = SweepTracker(
            cluster.url,
            EXPERIMENT,
            re.sub(r"\W+", "-", heading),
            {"data": "abc"},
            outbox=str(tmp_path / "outbox"),
            limits=EAGER,
        )
        record = new_record(0)
        record.add_report(report(0, 1))
        tracker.update(record)
        assert tracker.flush()
        report_while(tracker, record, run, step)
        assert tracker.flush(timeout_s=120)
        assert len(record.reports) > 3
        assert steps_written(tracker.run_id(0)) == list(range(1, len(record.reports) + 1))
        end(record, COMPLETE)
        tracker.update(record)
        assert tracker.close("FINISHED")
    admins = [logs_in(cluster, admin), logs_in(cluster, cluster.admin)]
    passwords = [enters_postgres(postgres), enters_postgres(cluster.postgres)]
    if heading == "Postgres":
        assert (admins, passwords) == ([True, True], [False, True])
    else:
        assert (admins, passwords) == ([False, True], [True, True])
        assert cluster.secrets["mlflow-server"]["MLFLOW_FLASK_SERVER_SECRET_KEY"] != key
