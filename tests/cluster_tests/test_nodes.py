"""Sweeps on clusters of several nodes, submitted as from a laptop: nodes are lost, and the head is; secrets are kept.

Storage and tracking are the embedded S3 and MLflow, the nodes are real Ray nodes (`ray_nodes`). The laptop knows the
dashboard's address and the token, and nothing of storage.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
import requests

from data import storage
from data.scenes.synth import SynthSettings, synthesise
from infra.provenance.checkout import source_version
from infra.record.claim import read_driver
from infra.record.folder import SweepStore
from infra.record.trials import TrialRecord
from infra.stack import embedded
from infra.stack.home import STATE_NAME
from infra.stack.settings import load_settings
from infra.tracking.contents import PARENT_TAG, TRIAL_TAG
from support.children import REPOSITORY
from support.ray_nodes import Cluster, Node, bare_environment, cluster

pytestmark = pytest.mark.slow

ROOT = "s3://seldtune"
DATA = f"{ROOT}/data/tiny"
TOKEN = secrets.token_hex(16)
PASSWORD = secrets.token_hex(16)
"""Of an MLflow account. The server here asks for none, and is sent it all the same."""
TINY = SynthSettings(train_clips=4, val_clips=1, test_clips=1, clip_s=6.0, train_rooms=2, clips_per_task=1)
EPOCHS, TRIALS = 12, 2
# With so low a threshold what has hardly trained finds something, and is worth registering.
QUICK = (
    *("quickstart", "--data", DATA, "--stopper", "none", "--trials", str(TRIALS)),
    *("--set", "training.epoch_windows=16", "--set", f"training.epochs={EPOCHS}", "--set", "inference.threshold=0.02"),
)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What nodes have in their environment: storage, tracking and token. This process has the same, without a Ray."""
    patch = pytest.MonkeyPatch()
    for name in os.environ.keys() - bare_environment().keys():
        patch.delenv(name)
    patch.setenv("SELDTUNE_HOME", str(tmp_path_factory.mktemp("services") / ".seldtune"))
    patch.setenv("RAY_ADDRESS", "127.77.1.1:1")  # so that the stack starts none
    try:
        embedded.up()
        given = {n: v for n, v in load_settings(["s3", "mlflow"]).environment().items() if not n.startswith("RAY_")}
        for name, value in given.items():
            patch.setenv(name, value)
        synthesise(TINY, DATA)
        login = {"MLFLOW_TRACKING_USERNAME": "sweeps", "MLFLOW_TRACKING_PASSWORD": PASSWORD}
        yield {**given, **login, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    finally:
        embedded.down()
        patch.undo()


@pytest.fixture(scope="module")
def planted(environment: dict[str, str]) -> list[str]:
    """Secrets that no reader of anything but an environment may find."""
    return [TOKEN, PASSWORD, environment["AWS_SECRET_ACCESS_KEY"]]


@pytest.fixture(scope="module", autouse=True)
def exposed(planted: list[str]) -> Iterator[set[str]]:
    """Command lines with a secret in them, of all processes that there ever were while these tests ran."""
    found: set[str] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    line = path.read_bytes()
                    found.update(line.decode(errors="replace") for secret in planted if secret.encode() in line)

    thread = threading.Thread(target=watch)
    thread.start()
    yield found
    over.set()
    thread.join()


@pytest.fixture(scope="module")
def first(environment: dict[str, str]) -> Iterator[Cluster]:
    with cluster(1, 3, environment) as started:
        yield started


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder."""
    return tmp_path_factory.mktemp("laptop")


def start(laptop: Path, at: Cluster, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """`seldtune submit` with the address and the token, or what stands for it."""
    known = {"RAY_API_SERVER_ADDRESS": at.url, "RAY_AUTH_TOKEN": TOKEN, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(
        [sys.executable, "-m", "infra.cli", "submit", *arguments],
        env={**bare_environment(), **known, "SELDTUNE_HOME": str(laptop / "none"), **environment},
        cwd=laptop,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(laptop: Path, at: Cluster, *arguments: str, code: int = 0, **environment: str) -> tuple[str, str]:
    """What the command said on stdout and on stderr."""
    process = start(laptop, at, *arguments, **environment)
    try:
        out, err = process.communicate(timeout=500)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"{arguments} took too long\n{process.communicate()}") from None
    assert process.returncode == code, f"{arguments}: exit code {process.returncode}\n{out}\n{err}"
    return out, err


def trials(name: str) -> list[TrialRecord]:
    return SweepStore(ROOT, name).trials()


def wait_for(what: Callable[[], Any], timeout_s: float = 400.0) -> Any:
    """What it returns, once that is something."""
    deadline = time.monotonic() + timeout_s
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not come so far in time"
        time.sleep(0.2)
    return found


def assert_each_trial_once(name: str) -> None:
    """All ended well, in the record and in MLflow alike, no epoch twice."""
    records = trials(name)
    assert [record.number for record in records] == list(range(TRIALS))
    assert [record.state for record in records] == ["complete"] * TRIALS, [record.error for record in records]
    for record in records:
        assert [report["epoch"] for report in record.reports] == list(range(1, EPOCHS + 1))
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("seldtune")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], f"tags.`seldtune.sweep` = '{name}'")
    children = [run for run in runs if PARENT_TAG in run.data.tags]
    assert sorted(int(run.data.tags[TRIAL_TAG]) for run in children) == list(range(TRIALS))
    assert len(runs) == TRIALS + 1
    assert {run.info.status for run in runs} == {"FINISHED"}


def assert_goes_on(name: str, before: list[TrialRecord]) -> None:
    """What was there is there still: ended trials as they were, and reports of others."""
    after = {record.number: record for record in trials(name)}
    for record in before:
        if record.ended:
            assert after[record.number] == record, "a finished trial ran again"
        else:
            kept = after[record.number].reports[: len(record.reports)]
            assert kept == record.reports, "an interrupted trial began anew"


def test_without_the_token_nothing_is_submitted(laptop: Path, first: Cluster) -> None:
    _, err = run(laptop, first, *QUICK, code=2, RAY_AUTH_TOKEN="")
    assert "asks for a token: set RAY_AUTH_TOKEN" in err
    assert "Traceback" not in err


def test_a_submitted_sweep_loses_a_node_and_ends_with_a_registered_model(
    laptop: Path, first: Cluster, planted: list[str]
) -> None:
    following = start(laptop, first, *QUICK, "--code")

    def at_work() -> Node | None:
        """A node beside the head's on which a trial runs, once there are epochs."""
        begun = any(record.reports and not record.ended for record in trials("quickstart"))
        return next((node for node in first.nodes[1:] if node.trains()), None) if begun else None

    wait_for(at_work).kill()
    out, err = following.communicate(timeout=500)
    assert following.returncode == 0, out + err
    assert "(node lost: " in out
    assert_each_trial_once("quickstart")
    outcomes = [attempt.outcome for record in trials("quickstart") for attempt in record.attempts]
    assert outcomes.count("ended") == TRIALS
    assert set(outcomes) == {"ended", "node lost"}

    assert "model    models:/seld/1 is seld@challenger" in out
    assert " MB" in err
    assert "job seldtune-quickstart-1 succeeded" in err
    jobs = requests.get(f"{first.url}/api/jobs/", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10)
    assert "seldtune-quickstart-1" in jobs.text
    assert not [secret for secret in planted if secret in out + err + jobs.text]
    version = mlflow.MlflowClient().get_model_version_by_alias("seld", "challenger")
    # The code had no checkout around it, and yet it is known which it was.
    commit = mlflow.MlflowClient().get_run(str(version.run_id)).data.tags["git.commit"]
    assert commit == source_version()["git.commit"]
    assert list(laptop.iterdir()) == []


def test_a_sweep_is_stopped_loses_its_head_and_goes_on_on_another_cluster(
    laptop: Path, first: Cluster, environment: dict[str, str]
) -> None:
    command = (*QUICK, "--name", "moved", "--model", "moved")
    run(laptop, first, *command, "--detach")
    _, err = run(laptop, first, *command, "--detach")
    assert "is job seldtune-moved-1 on" in err
    assert "already" in err
    wait_for(lambda: any(record.reports for record in trials("moved")))
    out, _ = run(laptop, first, "--stop", "moved")
    assert "seldtune-moved-1  stopped" in out
    stopped = trials("moved")
    unfinished = [record for record in stopped if not record.ended]
    assert {record.attempts[-1].outcome for record in unfinished if record.attempts} == {"interrupted"}
    driver = read_driver(SweepStore(ROOT, "moved").uri)
    assert driver is not None
    assert driver.state == "interrupted"

    following = start(laptop, first, *command)
    reports = sum(len(record.reports) for record in stopped)
    wait_for(lambda: sum(len(record.reports) for record in trials("moved")) > reports)
    first.head.kill()
    killed = trials("moved")
    assert not all(record.ended for record in killed)
    assert_goes_on("moved", stopped)
    with cluster(2, 3, environment) as second:
        out, err = run(laptop, second, *command)
    assert "job seldtune-moved-1 succeeded" in err
    assert "is moved@challenger" in out
    assert_each_trial_once("moved")
    assert_goes_on("moved", killed)

    following.send_signal(signal.SIGINT)
    out, err = following.communicate(timeout=60)
    assert following.returncode == 130
    assert "is job seldtune-moved-2 on" in err
    assert "no connection to" in err
    assert "`seldtune submit --follow moved` follows it again" in err


def test_no_secret_is_anywhere_but_in_environments(
    first: Cluster, environment: dict[str, str], planted: list[str], exposed: set[str]
) -> None:
    """After all of the above: in storage, in MLflow, in logs of Ray and of services, in any process's arguments."""
    home = Path(os.environ["SELDTUNE_HOME"])
    stored = {name: storage.read_bytes(f"{ROOT}/{name}") for name in storage.list_files(ROOT)}
    files = [path for folder in (home, first.folder) for path in folder.rglob("*") if path.is_file()]
    written = {str(path): path.read_bytes() for path in files}
    assert [name for name in stored if name.startswith("sweeps/moved/")]
    assert [name for name in written if name.endswith("mlflow.db")]
    assert [name for name in written if "job-driver-seldtune-moved" in name]
    found = {
        name for name, content in {**stored, **written}.items() for secret in planted if secret.encode() in content
    }
    # The embedded stack makes its own keys and has to find them again.
    keys = home / STATE_NAME
    assert found == {str(keys)}
    assert keys.stat().st_mode & 0o077 == 0
    assert not exposed
    assert environment["MLFLOW_TRACKING_PASSWORD"] == PASSWORD
