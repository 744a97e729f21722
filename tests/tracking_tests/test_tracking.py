"""A sweep's record in MLflow: on a real server that is killed, frozen and started again while trials report."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path

import mlflow
import pytest
import requests
from mlflow.entities import Metric, Param, Run
from optuna.distributions import CategoricalDistribution, distribution_to_json

from data import storage
from infra.provenance.secrets import MASK, Redaction
from infra.record.folder import SweepStore
from infra.record.trials import COMPLETE, FAILED, PRUNED, TrialRecord
from infra.tracking import writer
from infra.tracking.contents import ERROR_TAG, PARENT_TAG, PROTOCOL_TAG, STATE_TAG, SWEEP_TAG, TRIAL_TAG, Progress
from infra.tracking.outbox import Outbox
from infra.tracking.tracker import SweepTracker
from infra.tracking.writer import Away, Limits, TokenBucket
from support.children import run_and_kill
from support.tracked_trials import EAGER, EXPERIMENT, end, new_record, report
from trainables.config import TrialConfig
from trainables.config.tree import to_flat
from trainables.training.reports import OBJECTIVE
from trainables.training.usage import Usage

# --- what is written, without a server --------------------------------------------------------------------------------


def test_secrets_are_what_their_variables_are_called() -> None:
    redaction = Redaction(
        {
            "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI",
            "RAY_AUTH_TOKEN": "0123456789abcdef",
            "RAY_AUTH_MODE": "token-of-a-mode",
            "RAY_AUTH_TOKEN_PATH": "/var/run/token",
            "SHORT_TOKEN": "token",
            "DATABASE": "postgresql://user:correcthorse@host/db",
            "HOME": "/home/somebody",
        }
    )
    said = "wJalrXUtnFEMI 0123456789abcdef correcthorse"
    assert redaction.text(said) == f"{MASK} {MASK} {MASK}"
    assert redaction.content(said.encode()) == f"{MASK} {MASK} {MASK}".encode()
    harmless = "token-of-a-mode /var/run/token token /home/somebody user host"
    assert redaction.text(harmless) == harmless


def test_batches_keep_order_and_limits() -> None:
    params = [Param(f"p{index}", "é" * 6000) for index in range(150)]
    metrics = [Metric(f"m{index}", float(index), 0, 0) for index in range(2500)]
    batches = list(writer._batches([*params, *metrics]))
    assert [p for batch in batches for p in batch.params] == params
    assert [m for batch in batches for m in batch.metrics] == metrics
    for batch in batches:
        assert len(batch.params) <= 100
        assert len(batch.params) + len(batch.metrics) <= 1000
        text = sum(len(p.value) * 6 for p in batch.params)  # as JSON escapes them
        assert text + 100 * len(batch.metrics) <= 1_000_000
    assert list(writer._batches([])) == []


class Clock:
    """Stands in for the module `time`: nothing takes any but sleeping."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def test_a_token_bucket_lets_through_no_more_and_no_less_than_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(writer, "time", clock)
    bucket, moments = TokenBucket(rate_per_s=100.0, burst=5), []

    def take(count: int) -> None:
        for _ in range(count):
            bucket.take()
            moments.append(clock.now_s - 100.0)

    take(8)
    assert moments == pytest.approx([0, 0, 0, 0, 0, 0.01, 0.02, 0.03])
    clock.now_s += 60.0  # a pause saves up a burst, and no more
    take(7)
    assert moments[8:] == pytest.approx([60.03] * 5 + [60.04, 60.05])


def test_an_outbox_keeps_order_and_outlives_its_process(tmp_path: Path) -> None:
    first = Outbox(str(tmp_path))
    for index in range(12):
        first.put({"index": index}, b"file" if index % 2 else None)
    first.remove(1)
    (tmp_path / "00000099.bin").write_bytes(b"of an entry that was never finished")
    second = Outbox(str(tmp_path))
    assert [second.read(number)[0]["index"] for number in second.numbers()] == list(range(1, 12))
    assert second.read(2) == ({"index": 1, "file": True}, b"file")
    assert not (tmp_path / "00000099.bin").exists()
    second.put({"index": 12})
    assert second.read(second.numbers()[-1])[0]["index"] == 12
    for number in second.numbers():
        second.remove(number)
    assert not list(tmp_path.iterdir())


def test_progress_is_counted_in_the_order_in_which_trials_ended() -> None:
    records = [new_record(number) for number in range(4)]
    ends = ((COMPLETE, 40.0), (PRUNED, 10.0), (FAILED, 30.0), (COMPLETE, 20.0))
    for record, (state, spent_s) in zip(records, ends, strict=True):
        record.reports = [report(record.number, 1)]
        record.state, record.budget_spent_s = state, spent_s
    points = Progress().add(records)
    spent = [(m.step, m.value) for m in points if m.key == "budget/spent_s"]
    assert spent == [(1, 10.0), (2, 20.0), (3, 30.0), (4, 40.0)]
    best = [m.value for m in points if m.key == f"best/{OBJECTIVE}"]
    assert best == pytest.approx([0.61, 0.41, 0.41, 0.41])
    assert [m.value for m in points if m.key == "trials/failed"] == [0, 0, 1, 1]
    # What the run holds already is not made again; a record that comes twice counts once.
    going_on = Progress(written=3)
    assert {m.step for m in going_on.add(records)} == {4}
    assert going_on.add(records) == []


def test_usage_is_of_the_time_since_the_last_call() -> None:
    usage, started = Usage(), time.monotonic()
    deadline = time.process_time() + 0.3
    while time.process_time() < deadline:
        sum(range(1000))
    busy, seconds = usage(), time.monotonic() - started
    time.sleep(0.3)
    idle = usage()
    assert 0.25 < busy["system/cpu_percent"] / 100 * seconds < 0.6
    assert idle["system/cpu_percent"] < 0.5 * busy["system/cpu_percent"]
    assert 0.05 < idle["system/memory_gb"] < 100
    assert idle.keys() >= {"system/io_read_gb", "system/io_write_gb"}
    assert all(key.startswith("system/") and value >= 0 for key, value in idle.items())


# --- on a server ------------------------------------------------------------------------------------------------------


class Server:
    """An MLflow server on one port and one folder, which can be killed, frozen and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it unless it runs."""
        if self._process is not None:
            return
        environment = {n: v for n, v in os.environ.items() if not n.startswith("MLFLOW_")}
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        stores = [
            f"--backend-store-uri=sqlite:///{self.folder}/mlflow.db",
            f"--artifacts-destination={self.folder}/files",
        ]
        with open(self.folder / "server.log", "ab") as log:
            self._process = subprocess.Popen(
                [*command, *stores, "--workers=1"],
                env={**environment, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            with suppress(OSError, urllib.error.URLError), urllib.request.urlopen(f"{self.url}/health", timeout=2):
                return
            time.sleep(0.1)
        raise AssertionError((self.folder / "server.log").read_text())

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def runs(self, sweep: str) -> tuple[Run, list[Run]]:
        """The parent of a sweep and its trials, of which there may be one each."""
        client = mlflow.MlflowClient(self.url)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        assert experiment is not None
        found = client.search_runs([experiment.experiment_id], f"tags.`{SWEEP_TAG}` = '{sweep}'", max_results=1000)
        (parent,) = [run for run in found if PARENT_TAG not in run.data.tags]
        children = sorted((run for run in found if run is not parent), key=lambda run: int(run.data.tags[TRIAL_TAG]))
        assert [int(run.data.tags[TRIAL_TAG]) for run in children] == list(range(len(children)))
        assert {run.data.tags[PARENT_TAG] for run in children} <= {parent.info.run_id}
        return parent, children

    def assert_holds(self, sweep: str, records: list[TrialRecord]) -> tuple[Run, list[Run]]:
        """Every report of every trial, once, in order, at its own time; nothing open that has ended."""
        parent, children = self.runs(sweep)
        assert len(children) == len(records)
        client = mlflow.MlflowClient(self.url)
        for run, record in zip(children, records, strict=True):
            for key in (OBJECTIVE, "class/7/F", "lr_scale"):
                history = client.get_metric_history(run.info.run_id, key)
                expected = [(int(r["epoch"]), int(r["at"] * 1000), r[key]) for r in record.reports]
                assert [(m.step, m.timestamp, m.value) for m in history] == expected
            assert run.data.tags[STATE_TAG] == record.state
            assert (run.info.status == "RUNNING") == (not record.ended)
            assert run.data.params == {**{k: str(v) for k, v in to_flat(TrialConfig()).items()}, "space.lr": "0.001"}
            assert "config.json" in {item.path for item in client.list_artifacts(run.info.run_id)}
            assert record.run_id == run.info.run_id
        return parent, children


@pytest.fixture(scope="module")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("mlflow"))
    yield server
    server.kill()


@pytest.fixture
def server(one_server: Server) -> Server:
    """The server, which runs, however the test before this one ended."""
    one_server.start()
    return one_server


def before_each_request(server: Server, monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]) -> None:
    """Have it done whenever this process asks the server; Ray's threads may ask others meanwhile."""
    send = requests.adapters.HTTPAdapter.send

    def noted(
        self: requests.adapters.HTTPAdapter, request: requests.PreparedRequest, *arguments: object, **named: object
    ) -> requests.Response:
        if str(request.url).startswith(server.url):
            do()
        return send(self, request, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", noted)


@pytest.fixture
def moments(server: Server, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When each request to the server was made by this process."""
    made: list[float] = []
    before_each_request(server, monkeypatch, lambda: made.append(time.monotonic()))
    return made


def wait_for(condition: object, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def records_alive() -> int:
    gc.collect()
    return sum(type(one) is TrialRecord for one in gc.get_objects())


@pytest.mark.slow
def test_nothing_waits_for_a_request(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = SweepTracker(server.url, EXPERIMENT, "waits", {})
    record = new_record(0)
    asking, answer, answered = threading.Event(), threading.Event(), threading.Event()

    def hold() -> None:
        asking.set()
        answer.wait(60)
        answered.set()
        answer.set()  # to fail over one request, not to wait for each

    before_each_request(server, monkeypatch, hold)
    record.add_report(report(0, 1))
    tracker.update(record)
    assert asking.wait(60)
    record.add_report(report(0, 2))
    end(record)
    tracker.update(record)
    tracker.log_sweep({"space": "small"}, {"best/extra": 1.5}, {"best.trial": "0"})
    tracker.log_text("note.txt", "a note")
    tracker.watch(lambda: {"system/cpus": 2.0})
    assert tracker.unwritten() == "1 trials and 2 facts and files"
    assert not answered.is_set()
    answer.set()
    assert tracker.close("FINISHED")
    server.assert_holds("waits", [record])


@pytest.mark.slow
def test_a_server_that_dies_is_neither_noticed_nor_missed(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "seldtune.infra.tracking.background")
    outbox = str(tmp_path / "outbox")
    tracker = SweepTracker(server.url, EXPERIMENT, "dies", {"data": "abc"}, outbox=outbox, limits=EAGER)
    records = [new_record(number) for number in range(4)]

    def report_epoch(epoch: int) -> None:
        for record in records:
            record.add_report(report(record.number, epoch))
            tracker.update(record)

    for epoch in range(1, 4):
        report_epoch(epoch)
        time.sleep(0.2)
    server.kill()
    for epoch in range(4, 9):
        report_epoch(epoch)
        time.sleep(0.2)
    (tmp_path / "table.md").write_text("a table")
    tracker.log_file(tmp_path / "table.md")
    tracker.log_file(tmp_path / "table.md", folder="in/folder", number=2)
    tracker.log_text("note.txt", "a note")
    for record in records:
        end(record)
        tracker.update(record)
    tracker.log_sweep({"space": "small"}, {"best/extra": 1.5}, {"best.trial": "3"})
    assert not tracker.flush(1.0)
    assert tracker.unwritten() == "4 trials and 4 facts and files"
    with pytest.raises(Away, match="the same command completes it"):
        tracker.require_written(0.1)
    assert len(Outbox(outbox)) == 4

    # The queue is as long as there are trials, whatever they say.
    tracker.update(*records)
    kept = records_alive()
    for _ in range(10_000):
        tracker.update(records[0])
    assert records_alive() <= kept + 1  # the one that is being written
    assert tracker.unwritten() == "4 trials and 4 facts and files"

    server.start()
    assert tracker.flush(30.0)
    assert tracker.close("FINISHED")
    parent, children = server.assert_holds("dies", records)
    assert {run.info.status for run in [parent, *children]} == {"FINISHED"}
    assert children[2].info.end_time == int(records[2].reports[-1]["at"] * 1000)
    client = mlflow.MlflowClient(server.url)
    assert {item.path for item in client.list_artifacts(parent.info.run_id)} == {"table.md", "note.txt"}
    assert [item.path for item in client.list_artifacts(children[2].info.run_id, "in")] == ["in/folder"]
    assert parent.data.params == {"space": "small"}
    assert parent.data.tags["best.trial"] == "3"
    assert parent.data.tags[PROTOCOL_TAG] == "search: validation"
    assert {run.data.tags["data"] for run in [parent, *children]} == {"abc"}
    best = client.get_metric_history(parent.info.run_id, f"best/{OBJECTIVE}")
    assert [m.step for m in best] == [1, 2, 3, 4]
    assert [m.value for m in best] == pytest.approx([0.70125, 0.60125, 0.50125, 0.40125])
    assert [m.step for m in client.get_metric_history(parent.info.run_id, "best/extra")] == [4]
    assert not storage.list_files(outbox)
    said = [entry for entry in caplog.records if entry.name == "seldtune.infra.tracking.background"]
    assert [entry.levelname for entry in said] == ["WARNING", "INFO"]
    assert "training goes on" in said[0].getMessage()
    assert "4 facts and files" in said[1].getMessage()


@pytest.mark.slow
def test_what_is_found_of_a_trial_later_waits_for_its_run_and_is_one_request(
    server: Server, moments: list[float], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    tracker = SweepTracker(server.url, EXPERIMENT, "later", {}, outbox=str(tmp_path / "outbox"), limits=EAGER)
    metrics = {f"test/class/{index}": index / 100 for index in range(100)}
    tracker.log_trial(0, {}, {PROTOCOL_TAG: "test, once", "said": "wJalrXUtnFEMI"})
    assert not tracker.flush(1.0)  # the trial has no run yet
    assert tracker.unwritten() == "1 facts and files"
    record = new_record(0)
    record.add_report(report(0, 1))
    end(record)
    tracker.update(record)
    tracker.require_written()
    for _ in range(2):  # the same again is the same
        before = len(moments)
        tracker.log_trial(0, metrics, {})
        tracker.require_written()
        assert len(moments) - before == 1
    assert tracker.close("FINISHED")
    _, (child,) = server.assert_holds("later", [record])
    assert {key: value for key, value in child.data.metrics.items() if key.startswith("test/")} == metrics
    assert len(mlflow.MlflowClient(server.url).get_metric_history(child.info.run_id, "test/class/7")) == 1
    assert (child.data.tags[PROTOCOL_TAG], child.data.tags["said"]) == ("test, once", MASK)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("raised", "status"), [(None, "FINISHED"), (ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")]
)
def test_a_tracker_is_closed_whatever_happens(server: Server, raised: type[BaseException] | None, status: str) -> None:
    record = new_record(0)
    record.add_report(report(0, 1))
    with (
        nullcontext() if raised is None else pytest.raises(raised),
        SweepTracker(server.url, EXPERIMENT, f"ends-{status}", {}) as tracker,
    ):
        tracker.update(record)
        if raised is not None:
            raise raised
    parent, (child,) = server.runs(f"ends-{status}")
    assert (parent.info.status, child.info.status) == (status, "KILLED")
    assert not tracker._background._thread.is_alive()


@pytest.mark.slow
def test_a_frozen_server_makes_no_run_twice(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    tracker = SweepTracker(server.url, EXPERIMENT, "freezes", {}, limits=EAGER)
    records = [new_record(number) for number in range(3)]
    server.signal(signal.SIGSTOP)
    try:
        for record in records:
            record.add_report(report(record.number, 1))
        tracker.update(*records)
        # It takes several requests to make a run before it is found frozen; all of them are still in its queue.
        wait_for(lambda: any("training goes on" in entry.getMessage() for entry in caplog.records))
        time.sleep(2.5)
    finally:
        server.signal(signal.SIGCONT)
    assert tracker.flush(60.0)
    end(records[0], FAILED)
    records[0].error = "x" * 7000
    tracker.update(records[0])
    assert tracker.close("KILLED")
    parent, children = server.runs("freezes")
    assert parent.info.status == "KILLED"
    assert [run.info.status for run in children] == ["FAILED", "KILLED", "KILLED"]
    assert children[0].data.tags[ERROR_TAG].startswith("xxx")
    assert "[cut: 7000 characters]" in children[0].data.tags[ERROR_TAG]


CRASHING_SWEEP = """
import sys, time
from pathlib import Path
from infra.record.folder import SweepStore
from infra.tracking.tracker import SweepTracker
from support.tracked_trials import EAGER, EXPERIMENT, end, new_record, report
url, root = sys.argv[1:]
store = SweepStore(root, "crashes")
tracker = SweepTracker(url, EXPERIMENT, "crashes", {}, outbox=f"{store.uri}/outbox", limits=EAGER)
records = [new_record(number) for number in range(3)]
def report_epoch(epoch):
    for record in records:
        if not record.ended:
            record.add_report(report(record.number, epoch))
            if (record.number, epoch) == (0, 3):
                end(record)
            store.write(record)
            tracker.update(record)
for epoch in (1, 2, 3):
    report_epoch(epoch)
assert tracker.flush()
store.write(records[1])
Path(root, "written").touch()
print("written", flush=True)
deadline = time.monotonic() + 120
while Path(root, "up").exists() and time.monotonic() < deadline:
    time.sleep(0.05)
for epoch in (4, 5):
    report_epoch(epoch)
tracker.log_text("late.txt", "written while MLflow was away")
print("spooled", flush=True)
time.sleep(60)
"""


@pytest.mark.slow
def test_a_driver_that_dies_leaves_its_record_to_the_next(server: Server, tmp_path: Path, moments: list[float]) -> None:
    (tmp_path / "up").touch()
    killer = threading.Thread(
        target=run_and_kill, args=(CRASHING_SWEEP, server.url, tmp_path), kwargs={"after_lines": 2}
    )
    killer.start()
    store = SweepStore(str(tmp_path), "crashes")
    wait_for((tmp_path / "written").exists)
    server.kill()
    (tmp_path / "up").unlink()
    killer.join(60)
    assert not killer.is_alive()
    with pytest.raises(Away, match="does not answer"):
        SweepTracker(server.url, EXPERIMENT, "crashes", {}, outbox=f"{store.uri}/outbox", limits=EAGER)
    server.start()

    records = store.trials()
    assert [len(record.reports) for record in records] == [3, 5, 5]
    assert {run.info.status for run in server.runs("crashes")[1]} == {"RUNNING", "FINISHED"}
    moments.clear()
    tracker = SweepTracker(server.url, EXPERIMENT, "crashes", {}, outbox=f"{store.uri}/outbox", limits=EAGER)
    tracker.update(*records)
    assert tracker.flush(30.0)
    # Experiment, parent, its tags; a file (2); the trials in one search; two to be brought up to date.
    assert len(moments) == 8
    for record in records[1:]:
        record.add_report(report(record.number, 6))
        end(record, PRUNED)
        tracker.update(record)
    assert tracker.close("FINISHED")
    parent, _ = server.assert_holds("crashes", records)
    client = mlflow.MlflowClient(server.url)
    assert [item.path for item in client.list_artifacts(parent.info.run_id)] == ["late.txt"]
    ended = client.get_metric_history(parent.info.run_id, "trials/ended")
    assert [(m.step, m.value) for m in ended] == [(1, 1.0), (2, 2.0), (3, 3.0)]

    # Once more changes nothing.
    tracker = SweepTracker(server.url, EXPERIMENT, "crashes", {}, outbox=f"{store.uri}/outbox", limits=EAGER)
    tracker.update(*records)
    assert tracker.close("FINISHED")
    again, _ = server.assert_holds("crashes", records)
    assert client.get_metric_history(again.info.run_id, "trials/ended") == ended


@pytest.mark.slow
def test_many_trials_stay_below_the_rate(server: Server, moments: list[float]) -> None:
    limits = Limits(requests_per_s=60.0, burst=5)
    tracker = SweepTracker(server.url, EXPERIMENT, "many", {}, limits=limits)
    tracker.watch(lambda: {"system/cpus": 2.0}, every_s=1.0)
    records = [new_record(number) for number in range(200)]
    longest = 0
    started = time.monotonic()
    for epoch in range(1, 6):
        for record in records:
            record.add_report(report(record.number, epoch))
            if epoch == 5:
                end(record)
            tracker.update(record)
        time.sleep(1.0)
        longest = max(longest, int(tracker.unwritten().split()[0]))
    assert tracker.flush(120.0)
    seconds = time.monotonic() - started
    assert longest <= 200
    for index, moment in enumerate(moments):
        within = sum(moment <= other < moment + 1.0 for other in moments[index:])
        assert within <= limits.requests_per_s + limits.burst + 1  # a file's two requests may be apart
    print(f"{len(moments)} requests for 1000 reports of 200 trials in {seconds:.1f} s; {longest} trials waited at most")
    assert len(moments) < 1600
    assert tracker.close("FINISHED")
    _, children = server.runs("many")
    assert {run.info.status for run in children} == {"FINISHED"}
    assert {run.data.metrics["epoch"] for run in children} == {5.0}
    client = mlflow.MlflowClient(server.url)
    for run in children[::40]:
        assert [m.step for m in client.get_metric_history(run.info.run_id, OBJECTIVE)] == [1, 2, 3, 4, 5]
    seen = client.get_metric_history(tracker.parent_id, "system/trials_running")
    assert len(seen) >= 3
    assert [m.step for m in seen] == sorted(m.step for m in seen)
    # A sampler that fails ends nothing else.
    resting = SweepTracker(server.url, EXPERIMENT, "rests", {}, limits=limits)
    resting.watch(lambda: {"system/cpus": 1.0 / 0})
    resting.update(records[0])
    assert resting.close("FINISHED")
    assert len(server.runs("rests")[1]) == 1


@pytest.mark.slow
def test_no_secret_of_the_environment_reaches_the_server(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = {"AWS_SECRET_ACCESS_KEY": "planted-secret-one", "SOME_API_TOKEN": "planted-secret-two"}
    for name, value in planted.items():
        monkeypatch.setenv(name, value)
    said = " and ".join(planted.values())
    tracker = SweepTracker(server.url, EXPERIMENT, "secret", {"harmless": "visible-tag", "leaky": said})
    record = new_record(0)
    record.params["place"] = f"https://host/{said}"
    record.distributions["place"] = distribution_to_json(CategoricalDistribution([record.params["place"]]))
    record.add_report(report(0, 1))
    end(record, FAILED)
    record.error = f"visible-error: cannot sign with {said}"
    tracker.update(record)
    tracker.log_sweep({"leaky": said}, {}, {"leaky": said})
    (tmp_path / "leaky.txt").write_text(f"visible-file {said}")
    tracker.log_file(tmp_path / "leaky.txt")
    tracker.log_text("leaky.md", said)
    assert tracker.close("FINISHED")
    everything = b"".join(path.read_bytes() for path in server.folder.rglob("*") if path.is_file())
    for visible in ("visible-tag", "visible-error", "visible-file", MASK):
        assert visible.encode() in everything
    assert b"planted-secret" not in everything
