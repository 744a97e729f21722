"""A sweep's record in MLflow: on a real server that is killed, frozen and started again while trials report."""

from __future__ import annotations

import gc
import logging
import signal
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import mlflow
import pytest

from data import storage
from data.errors import WaitedInVain
from data.patience import patient
from infra.provenance.secrets import MASK
from infra.record.folder import SweepStore
from infra.record.trials import FAILED, PRUNED, TrialRecord
from infra.tracking.contents import ERROR_TAG, PROTOCOL_TAG
from infra.tracking.outbox import Outbox
from infra.tracking.tracker import SweepTracker
from infra.tracking.writer import Away
from support.children import run_and_kill
from support.tracked_trials import EAGER, EXPERIMENT, end, new_record, report
from support.tracking_server import Server, before_each_request, wait_for
from trainables.training.reports import OBJECTIVE

# --- on a server ------------------------------------------------------------------------------------------------------


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
    with patient(0.1), pytest.raises(WaitedInVain, match="the same command completes it"):
        tracker.require_written()
    assert len(Outbox(outbox)) == 4

    # The queue is as long as there are trials, whatever they say.
    tracker.update(*records)
    kept = records_alive()
    for _ in range(10_000):
        tracker.update(records[0])
    assert records_alive() <= kept + 1  # the one that is being written
    assert tracker.unwritten() == "4 trials and 4 facts and files"

    server.start()
    assert tracker.flush(300.0)
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
    tracker.log_trial(1, {}, {PROTOCOL_TAG: "test, once", "said": "wJalrXUtnFEMI"})
    assert not tracker.flush(1.0)  # the trial has no run yet
    assert tracker.unwritten() == "1 facts and files"
    records = [new_record(number) for number in range(2)]
    for record in records:
        record.add_report(report(record.number, 1))
        end(record)
    tracker.update(*records)  # and has none either once the first of them is written
    tracker.require_written()
    for _ in range(2):  # the same again is the same
        before = len(moments)
        tracker.log_trial(1, metrics, {})
        tracker.require_written()
        assert len(moments) - before == 1
    assert tracker.close("FINISHED")
    _, (_, child) = server.assert_holds("later", records)
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
    assert tracker.flush(300.0)
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
    assert tracker.flush(300.0)
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
