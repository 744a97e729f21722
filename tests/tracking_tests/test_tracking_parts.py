"""What is written of a sweep, without a server: batches, a rate, an outbox, no secret."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from mlflow.entities import Metric, Param

from infra.provenance.secrets import MASK, Redaction
from infra.record.trials import COMPLETE, FAILED, PRUNED
from infra.tracking import writer
from infra.tracking.contents import Progress
from infra.tracking.outbox import Outbox
from infra.tracking.writer import TokenBucket
from support.tracked_trials import new_record, report
from trainables.training.reports import OBJECTIVE
from trainables.training.usage import Usage


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
