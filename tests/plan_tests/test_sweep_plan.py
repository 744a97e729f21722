"""`seldtune plan` on the embedded stack, against a sweep that then runs; and what it refuses."""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data import storage
from infra.record.folder import SweepStore
from support.embedded_stack import SELDTUNE, Stack
from support.ray_nodes import bare_environment

pytestmark = pytest.mark.slow

ROOT = "s3://seldtune/planning"
"""Of its own, on a stack that other tests use too: all that is written lies there."""
TINY = ("quickstart", "--data", f"{ROOT}/data/tiny")
QUICK = (*TINY, "--set", "training.epoch_windows=64")
SWEEP = (*QUICK, "--name", "planned", "--trials", "2", "--concurrency", "1", "--stopper", "none")
SWEEP += ("--set", "training.epochs=3")


class Plans:
    """The command line on the stack, in this process."""

    def __init__(self, stack: Plans) -> None:
        self._stack = stack

    def run(self, *arguments: str, code: int = 0) -> str:
        return self._stack.run(*arguments, code=code, SELDTUNE_ROOT=ROOT)

    def plan(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        self.run("plan", *arguments, "--samples", "12", "--json", code=code)
        return json.loads(self._stack.printed)


def plan_apart(folder: Path, environment: dict[str, str], *arguments: str) -> dict[str, Any]:
    """A plan of what is refused, in a process of its own."""
    command = [SELDTUNE, "plan", *arguments, "--samples", "12", "--json"]
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 2, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def stack(embedded_stack: Plans) -> Iterator[Plans]:
    with embedded_stack.active():
        plans = Plans(embedded_stack)
        plans.run("data", "synth", "tiny", "--train-clips", "2", "--val-clips", "1", "--test-clips", "1")
        yield plans


@pytest.fixture(scope="module")
def planned(stack: Plans) -> dict[str, Any]:
    return stack.plan(*SWEEP)


def refusals(plan: dict[str, Any]) -> dict[str, str]:
    assert not plan["possible"]
    return {check["name"]: check["text"] for check in plan["checks"] if check["state"] == "refused"}


def test_a_sweep_that_can_run_is_forecast_and_nothing_of_it_is_written(stack: Plans, planned: dict[str, Any]) -> None:
    assert planned["possible"]
    assert {check["state"] for check in planned["checks"]} == {"ok"}
    names = [check["name"] for check in planned["checks"]]
    assert names[:7] == ["budget", "trial", "storage", "data", "labels", "MLflow", "Ray"]
    assert names[7:] == ["space", "memory", "room", "sweep", "models", "time"]
    assert planned["feasible"] == planned["samples"] == 12
    assert {variant["fusion"] for variant in planned["variants"]} == {"audio_only", "gru", "av_conformer", "cmaf"}
    assert planned["forecast"]["trials"] == 2
    assert planned["forecast"]["epochs"] == 3.0
    assert planned["forecast"]["concurrency"] == 1
    assert planned["worker_memory_bytes"] > 1e8
    assert not storage.list_files(f"{ROOT}/sweeps")
    assert not [path for path in storage.list_files(ROOT) if "probe" in path]
    # What was measured of the machine is there for the next one.
    assert len(storage.list_files(f"{ROOT}/calibration")) == 1


def test_the_forecast_is_within_a_factor_of_two(stack: Plans, planned: dict[str, Any]) -> None:
    kept = storage.list_versions(f"{ROOT}/calibration")
    stack.run("sweep", *SWEEP, "--json")
    forecast = {variant["fusion"]: variant["epoch_s"]["mean"] for variant in planned["variants"]}
    records = SweepStore(ROOT, "planned").trials()
    for record in records:
        measured = statistics.median(report["epoch_s"] for report in record.reports)
        assert 0.5 < forecast[record.label] / measured < 2, (record.label, forecast[record.label], measured)
    # From here on the sweep's own reports say more.
    again = stack.plan(*SWEEP, "--trials", "4")
    assert again["calibration"]["source"] == "reports of 2 trials of this sweep"
    assert again["forecast"]["trials"] == 2
    assert storage.list_versions(f"{ROOT}/calibration") == kept
    # The name is taken.
    other = refusals(stack.plan(*SWEEP, "--seed", "7", code=2))
    assert other.keys() == {"sweep"}
    assert "seed: was 0, now 7" in other["sweep"]


def test_every_reason_is_told_and_not_the_first_alone(embedded_stack: Stack, tmp_path: Path) -> None:
    elsewhere = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "SELDTUNE_ROOT": "s3://nowhere"}
    found = refusals(
        plan_apart(
            tmp_path,
            embedded_stack.environment | elsewhere,
            *QUICK,
            *("--name", "no way", "--trials", "0", "--stopper", "luck", "--workers", "64", "--concurrency", "0"),
            *("--set", "audio.conformer.heads=5", "--data", "s3://seldtune/data/none"),
        )
    )
    assert found.keys() == {"name", "budget", "stopper", "storage", "data", "MLflow", "space"}
    assert found["space"].startswith("12 of 12: audio.conformer.heads = 5")
    assert "no bucket 'nowhere'" in found["storage"]
    assert "MLFLOW_TRACKING_URI" in found["MLflow"]
    assert "data synth" in found["data"]


def test_what_the_cluster_has_no_room_for_is_refused(stack: Plans) -> None:
    crowded = refusals(stack.plan(*QUICK, "--workers", "16", "--no-calibrate", code=2))
    assert "lower --workers" in crowded["room"]
    huge = stack.plan(
        *TINY, "--no-calibrate", "--set", "training.batch_size=65536", "--set", "training.epoch_windows=65536", code=2
    )
    assert "lower training.batch_size" in refusals(huge)["models"]
    assert huge["calibration"]["source"].startswith("assumed")


def test_a_person_reads_a_table(stack: Plans) -> None:
    text = stack.run("plan", *QUICK, "--samples", "8", "--no-calibrate")
    for word in ("av_conformer", "GFLOPs/step", "h/trial", "at a time", "CPU-hours", "assumed"):
        assert word in text


def test_without_any_service_it_says_what_is_missing(tmp_path: Path) -> None:
    found = refusals(plan_apart(tmp_path, bare_environment() | {"SELDTUNE_HOME": str(tmp_path / ".seldtune")}, *QUICK))
    assert found.keys() == {"storage", "MLflow", "Ray"}
    assert all("seldtune up" in text for text in found.values())
