"""A sweep in the middle, as whoever watches it finds it."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import asdict

import psutil

from infra.record.claim import Driver
from infra.record.trials import COMPLETE, FAILED, PRUNED, RUNNING, Attempt, TrialRecord
from infra.watch.overview import Overseer, Overview, SweepFacts
from trainables.training.reports import REPORT_KEYS

NOW = time.time()


def report(epoch: int, seld: float) -> dict[str, float]:
    return {**dict.fromkeys(REPORT_KEYS, 0.5), "epoch": epoch, "present/SELD": seld}


def record(
    number: int, state: str, selds: list[float], attempts: list[Attempt], error: str | None = None
) -> TrialRecord:
    config = {"training": {"epochs": 4}, "fusion": {"name": "av_conformer"}}
    params = {"fusion": "av_conformer", "depth": 2, "schedule": "warmup_cosine", "lr": 0.00123456}
    reports = [report(i + 1, seld) for i, seld in enumerate(selds)]
    return TrialRecord(number, params, {}, config, state=state, reports=reports, attempts=attempts, error=error)


def attempt(ago_s: float, seconds: float, outcome: str | None, error: str | None = None) -> Attempt:
    return Attempt(started_at=NOW - ago_s, cpus=2, gpus=1, seconds=seconds, outcome=outcome, error=error)


FACTS = SweepFacts(
    space="quickstart",
    data="s3://seldtune/data/quickstart",
    concurrency=2,
    trials=10,
    wall_s=43_200,
    cpu_hours=None,
    gpu_hours=40,
    spent_wall_s=3600,
    mlflow="http://127.0.0.1:27147/#/experiments/1/runs/16cdeb78c6aa4db0a6047621cfd73474",
    rss_bytes=812_000_000,
    cluster={"CPU": (2, 2), "GPU": (1, 4), "object_store_memory": (1e9, 4e9)},
)
DRIVER = Driver(
    id="a",
    host=socket.gethostname(),
    pid=os.getpid(),
    born=psutil.Process().create_time(),
    cluster="head:6379",
    since=NOW - 3600,
    beat=NOW,
    state=RUNNING,
    facts=asdict(FACTS),
)


RECORDS = [
    record(0, COMPLETE, [0.9, 0.5, 0.4, 0.45], [attempt(3600, 1200, "ended")]),
    record(1, PRUNED, [0.9], [attempt(3500, 600, "node lost", "The node died"), attempt(2800, 300, "ended")]),
    record(2, FAILED, [0.1], [attempt(2500, 60, "diverged", "loss is nan")], "diverged: loss is nan\nTraceback ..."),
    record(3, RUNNING, [0.8, 0.7], [attempt(2400, 100, "raised", "no space left"), attempt(1800, 1700, None)]),
    record(4, RUNNING, [], [attempt(60, 60, "node lost", "x" * 500)]),
]


def look(driver: Driver = DRIVER) -> Overview:
    return Overseer("deep").look(RECORDS, driver, NOW)
