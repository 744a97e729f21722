"""Trials that budgets end, that diverge, that several workers train, and whose data does not fit into memory."""

from __future__ import annotations

import pytest

from data import storage
from data.scenes.synth import SynthSettings, synthesise
from data.stores.chunks import Store
from infra.record.folder import SweepStore
from support.sweeps_on_the_stack import (
    EPOCHS,
    QUICK,
    SweepStack,
    assert_complete,
    refused,
    runs_of,
    wait_for_reports,
    what_it_found,
)

pytestmark = pytest.mark.slow


def test_hours_and_time_end_the_sweep_with_its_best_and_more_of_them_go_on(stack: SweepStack) -> None:
    sized = ("--trials", "50", "--set", "training.batch_size=16")
    result = stack.sweep("brief", *sized, "--cpu-hours", "0.001")
    assert result["used_up"] == "0.001 CPU-hours"
    records = SweepStore("s3://seldtune", "brief").trials()
    assert sum(attempt.cpus * attempt.seconds for record in records for attempt in record.attempts) >= 0.001 * 3600
    assert 1 <= len(result["trials"]) < 50
    assert result["model"]
    assert_complete("brief", len(records))

    more = stack.sweep("brief", *sized, "--cpu-hours", "1", "--budget", f"{result['seconds'] + 5}s")
    assert len(records) < len(more["trials"]) < 50
    assert more["used_up"].endswith(" s")
    assert_complete("brief", len(more["trials"]))


def test_a_trial_that_diverges_is_tried_again_and_then_failed_with_its_reason(stack: SweepStack) -> None:
    wild = ("--set", "optimiser.lr=1e15", "--retries", "1", "--concurrency", "1")
    said = stack.run(
        "sweep", "quickstart", "--name", "wild", "--model", "wild", *QUICK, *EPOCHS, "--trials", "2", *wild, code=1
    )
    assert "it is tried again" in said
    records = SweepStore("s3://seldtune", "wild").trials()
    assert [record.state for record in records] == ["failed", "failed"]
    assert all([a.outcome for a in record.attempts] == ["diverged", "diverged"] for record in records)
    assert all((record.reason or "").startswith("diverged: ") for record in records), records[0].error
    assert all("loss is" in (record.error or "") for record in records), records[0].error
    parent, children = runs_of("wild")
    assert {run.info.status for run in [parent, *children]} == {"FAILED"}


def test_two_workers_train_a_trial_together(stack: SweepStack) -> None:
    result = stack.sweep("pair", "--trials", "2", "--workers", "2", "--stopper", "none")
    assert [row["state"] for row in result["trials"]] == ["complete", "complete"]
    assert_complete("pair", 2)


def test_a_sweep_by_forecast_ends_when_it_has_enough(stack: SweepStack) -> None:
    asked = ("--trials", "12", "--sampler", "forecast", "--stopper", "forecast", "--least-gain", "0.9")
    result = stack.sweep("enough", *asked)
    assert 5 <= len(result["trials"]) < 12, "four first points, and what a model of them proposes"
    assert "10 more trials are expected to better" in result["enough"]
    assert result["enough"].endswith("less than 0.9")
    assert_complete("enough", len(result["trials"]))
    again = stack.sweep("enough", *asked)
    assert len(again["trials"]) == len(result["trials"])


LARGE = "s3://seldtune/data/large"
LITTLE_MEMORY = ("--data-memory", "4MB")


@pytest.fixture(scope="module")
def large(stack: SweepStack) -> Store:
    """Twice what `LITTLE_MEMORY` holds."""
    settings = SynthSettings(train_clips=16, val_clips=2, test_clips=1, clip_s=6.0, train_rooms=4, clips_per_task=4)
    return synthesise(settings, LARGE)


def streamed_sweep(name: str) -> tuple[str, ...]:
    sized = (*LITTLE_MEMORY, *EPOCHS, "--set", "training.epoch_windows=64", "--trials", "2", "--model", "streamed")
    return ("sweep", "quickstart", "--name", name, "--data", LARGE, *sized)


def test_a_streamed_sweep_goes_on_as_if_it_had_not_been_stopped(stack: SweepStack, large: Store) -> None:
    stack.run(*streamed_sweep("straight"), "--stopper", "none")
    assert "train streamed to each trial, val shared" in stack.said
    measured = storage.list_versions("s3://seldtune/statistics")

    process = stack.start(*streamed_sweep("broken"), "--stopper", "none")
    wait_for_reports("broken", 1)
    process.kill()
    process.communicate(timeout=60)
    stack.run(*streamed_sweep("broken"), "--stopper", "none")
    assert_complete("broken", 2)
    assert what_it_found("straight") == what_it_found("broken")
    # What features are normalised by was measured once.
    assert storage.list_versions("s3://seldtune/statistics") == measured


def test_streaming_needs_a_cpu_and_some_memory(stack: SweepStack, large: Store) -> None:
    streamed = ("sweep", "quickstart", "--name", "r", "--data", LARGE)
    assert "leaves none to decode" in refused(stack, *streamed, *LITTLE_MEMORY, "--workers", "2")
    assert "too little even to stream" in refused(stack, *streamed, "--data-memory", "1MB")
    assert "no amount of memory" in refused(stack, *streamed, "--data-memory", "plenty")
