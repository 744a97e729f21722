"""Sweeps whose driver or whose trial is killed, interrupted or fails at the end, and go on."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from typing import Any

import pytest

from data.errors import UserError
from infra.record.folder import SweepStore
from support.sweeps_on_the_stack import (
    CLIPS,
    DATA,
    QUICK,
    SweepStack,
    assert_complete,
    refused,
    runs_of,
    wait_for_reports,
    what_it_found,
)

pytestmark = pytest.mark.slow


@pytest.mark.dear
def test_two_kills_at_random_moments_change_nothing(stack: SweepStack) -> None:
    """One trial at a time, so that what the sampler and the early stopping know follows from the seed alone."""
    trials, epochs, moments = 3, 3, random.Random(20)
    sized = ("--trials", str(trials), "--set", f"training.epochs={epochs}", "--concurrency", "1")
    stack.sweep("whole", *sized)
    in_all = sum(len(reports) for _, _, reports in what_it_found("whole"))
    for reports in sorted(moments.sample(range(1, in_all - 1), 2)):
        process = stack.start("sweep", "quickstart", "--name", "killed", "--model", "killed", *QUICK, *sized)
        wait_for_reports("killed", reports)
        time.sleep(moments.random())
        process.kill()
        process.communicate(timeout=60)
        assert json.loads(stack.run("status", "killed", "--json"))["state"] == "gone"
    # A killed driver does not block the next, which may come at once.
    stack.sweep("killed", *sized)
    assert_complete("killed", trials)
    assert what_it_found("killed") == what_it_found("whole")
    outcomes = [a.outcome for record in SweepStore("s3://seldtune", "killed").trials() for a in record.attempts]
    assert outcomes.count("ended") <= trials
    assert set(outcomes) == {"ended", "interrupted"}


def test_an_interrupted_sweep_says_how_it_goes_on(stack: SweepStack) -> None:
    command = ("sweep", "quickstart", "--name", "hit", "--model", "hit", *QUICK, "--trials", "2", "--stopper", "none")
    command += ("--set", "training.epochs=8")
    process = stack.start(*command)
    wait_for_reports("hit", 1)
    process.send_signal(signal.SIGINT)
    assert "the same command goes on from here" in stack.finish(process, code=130)
    before = {record.number: record for record in SweepStore("s3://seldtune", "hit").trials()}
    assert all(run.info.status != "RUNNING" for run in [*runs_of("hit")[1], runs_of("hit")[0]])
    assert "interrupted" in stack.run("status", "hit")

    stack.run(*command)
    assert_complete("hit", 2)
    for record in SweepStore("s3://seldtune", "hit").trials():
        if record.number in before and before[record.number].ended:
            assert record == before[record.number], "a finished trial ran again"
        elif record.number in before:
            kept = before[record.number].reports
            assert record.reports[: len(kept)] == kept, "an interrupted trial began anew"


def test_a_sweep_that_fails_at_its_end_leaves_no_run_open_and_concludes_on_the_next_start(
    stack: SweepStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("sweep", "quickstart", "--name", "late", *QUICK, "--trials", "1", "--set", "training.epochs=1")
    before = {thread for thread in threading.enumerate() if thread.name == "mlflow-writer"}

    def fail(*_: Any, **__: Any) -> None:
        raise UserError("the registry does not answer")

    with monkeypatch.context() as patch:
        patch.setattr("infra.sweep.conclude.register_best", fail)
        assert "the registry does not answer" in stack.run(*command, "--model", "late", code=2)
    parent, (child,) = runs_of("late")
    assert (parent.info.status, child.info.status) == ("FAILED", "FINISHED")
    assert not [t for t in threading.enumerate() if t.name == "mlflow-writer" and t.is_alive() and t not in before]

    stack.run(*command, "--model", "late")
    assert_complete("late", 1)
    assert runs_of("late")[0].data.tags["best.model"] == "models:/late/1"


def trial_process() -> int:
    """Pid of the one trial that is at work on the cluster."""
    from ray.util.state import list_actors

    alive = list_actors(filters=[("state", "=", "ALIVE")])
    (pid,) = [int(actor["pid"]) for actor in alive if actor["class_name"].endswith("ResourceTrainable")]
    return pid


def test_a_lost_process_goes_on_from_its_last_epoch_while_a_second_driver_is_refused(stack: SweepStack) -> None:
    sized = ("--trials", "1", "--stopper", "none", "--set", "training.epochs=20", "--retries", "0", "--model", "lost")
    command = ("sweep", "quickstart", "--name", "lost", *QUICK, *sized)
    process = stack.start(*command)
    wait_for_reports("lost", 1)
    os.kill(trial_process(), signal.SIGKILL)

    assert f"is being run by pid {process.pid} on host" in refused(stack, *command)
    other_data = ("data", "synth", DATA.rpartition("/")[2], *CLIPS, "--seed", "9", "--replace")
    assert f"sweep 'lost' is being run on it by pid {process.pid}" in refused(stack, *other_data)
    seen = json.loads(stack.run("status", "lost", "--json"))
    assert (seen["state"], seen["facts"]["trials"], seen["driver"]["pid"]) == ("running", 1, process.pid)

    said = stack.finish(process)
    assert "trial 0 failed (node lost: " in said
    assert_complete("lost", 1)
    (record,) = SweepStore("s3://seldtune", "lost").trials()
    assert [attempt.outcome for attempt in record.attempts] == ["node lost", "ended"]
    assert all(attempt.seconds > 0 and attempt.cpus == 1 for attempt in record.attempts)
    seen = json.loads(stack.run("status", "lost", "--json"))
    assert (seen["state"], seen["counts"]["complete"], seen["best"]["number"]) == ("finished", 1, 0)
    assert [event["text"].split(":")[0] for event in seen["events"]] == ["tried again, node lost"]
