"""Whole sweeps on the embedded stack: a real S3 server, MLflow server and Ray cluster, real recordings, tiny models."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from mlflow.entities import Run

from data import storage
from data.errors import UserError
from data.files.audio import write_foa_wav
from data.files.dcase_csv import read_events_csv
from data.scenes.synth import SynthSettings, synthesise
from data.stores.chunks import Store, open_store, read_shard
from infra.record.folder import SweepStore
from infra.record.trials import TrialRecord
from infra.tracking.contents import PARENT_TAG, STATE_TAG, TRIAL_TAG
from support.embedded_stack import Stack
from trainables.layers.resnet import ResNetBackbone
from trainables.training.reports import LATENCY, OBJECTIVE
from trainables.weights.kinds import read_weights

pytestmark = pytest.mark.slow

DATA = "s3://seldtune/data/tiny"
EPOCHS = ("--set", "training.epochs=2")
QUICK = ("--data", DATA, "--set", "training.epoch_windows=32")


class SweepStack(Stack):
    """A stack of this module's own, which it stops and starts."""

    def sweep(self, name: str, *arguments: str) -> dict[str, Any]:
        epochs = () if any("training.epochs" in argument for argument in arguments) else EPOCHS
        return json.loads(self.run("sweep", "quickstart", "--name", name, *QUICK, *epochs, *arguments, "--json"))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SweepStack]:
    stack = SweepStack(tmp_path_factory.mktemp("stack") / ".seldtune")
    try:
        stack.finish(stack.start("up"))
        with stack.active():
            stack.run("data", "synth", "tiny", "--train-clips", "2", "--val-clips", "1", "--test-clips", "1")
            yield stack
    finally:
        stack.finish(stack.start("down"))


@pytest.fixture(scope="module")
def finished(stack: SweepStack) -> dict[str, Any]:
    """A sweep of one trial per fusion."""
    return stack.sweep("all", "--trials", "4", "--stopper", "none")


def runs_of(name: str) -> tuple[Run, list[Run]]:
    """Parent and children of a sweep, as MLflow has them."""
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("seldtune")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], f"tags.`seldtune.sweep` = '{name}'", max_results=1000)
    parents = [run for run in found if PARENT_TAG not in run.data.tags]
    assert len(parents) == 1
    children = [run for run in found if run.data.tags.get(PARENT_TAG) == parents[0].info.run_id]
    assert len(children) == len(found) - 1
    return parents[0], sorted(children, key=lambda run: int(run.data.tags[TRIAL_TAG]))


def assert_complete(name: str, trials: int) -> None:
    """Every trial is there once, ended, in the record and in MLflow alike."""
    records = SweepStore("s3://seldtune", name).trials()
    assert [record.number for record in records] == list(range(trials))
    assert all(record.ended for record in records)
    assert not [record.error for record in records if record.error]
    parent, children = runs_of(name)
    assert parent.info.status == "FINISHED"
    assert [int(run.data.tags[TRIAL_TAG]) for run in children] == list(range(trials))
    assert {run.info.status for run in children} == {"FINISHED"}
    assert [run.data.tags[STATE_TAG] for run in children] == [record.state for record in records]
    client = mlflow.MlflowClient()
    for run, record in zip(children, records, strict=True):
        steps = [point.step for point in client.get_metric_history(run.info.run_id, OBJECTIVE)]
        assert steps == [int(report["epoch"]) for report in record.reports]
        assert steps == list(range(1, len(steps) + 1))


# --- a sweep and its traces -------------------------------------------------------------------------------------------


def test_every_fusion_is_compared(finished: dict[str, Any]) -> None:
    trials = finished["trials"]
    assert {row["fusion"] for row in trials} == {"audio_only", "gru", "av_conformer", "cmaf"}
    assert [row["SELD"] for row in trials] == sorted(row["SELD"] for row in trials)
    assert all(row["parameters"] > 1000 and row["seconds"] > 0 and row["epochs"] == 2 for row in trials)
    assert finished["best"]["trial"] == trials[0]["trial"]
    assert finished["best"]["validation"][OBJECTIVE] == trials[0]["SELD"]
    assert finished["untrained"].keys() >= {OBJECTIVE}


def test_mlflow_holds_the_sweep(finished: dict[str, Any]) -> None:
    assert_complete("all", 4)
    parent, children = runs_of("all")
    data = open_store(DATA).manifest.sha256
    assert parent.data.tags["data"] == data
    assert {run.data.tags["data"] for run in children} == {data}
    assert len({run.data.tags["fusion"] for run in children}) == 4
    client = mlflow.MlflowClient()
    files = {item.path for item in client.list_artifacts(parent.info.run_id)}
    assert {"trials.md", "trials.csv", "trials.png", "validation.png", "manifest.json"} <= files
    compared = {item.path for item in client.list_artifacts(parent.info.run_id, "comparison")}
    assert {"comparison/comparison.html", "comparison/variants.csv"} <= compared
    assert client.list_artifacts(children[0].info.run_id)[0].path == "config.json"
    assert children[0].data.params["audio.name"] == "cnn_conformer"
    # Artifacts went through the server to the object store.
    assert any(path.endswith("trials.png") for path in storage.list_files("s3://seldtune/mlflow"))


def test_the_registered_model_predicts_in_a_fresh_process_what_the_trainer_predicted(
    stack: SweepStack, finished: dict[str, Any], tmp_path: Path
) -> None:
    version = mlflow.MlflowClient().get_model_version_by_alias("seld", "challenger")
    assert finished["model"] == f"models:/seld/{version.version}"
    best = finished["best"]
    example = SweepStore("s3://seldtune", "all").trial_store(best["trial"]).best(int(best["validation"]["epoch"]))
    (tmp_path / "example.npz").write_bytes(storage.read_bytes(f"{example}/example.npz"))
    code = f"""
import io, sys, mlflow, numpy as np
from data.stores.chunks import Store, open_store, read_shard
from data.scenes.synth import SynthSettings, synthesise
from data.stores.rows import decode_flac
from trainables.inputs.prepare import PrepareRow
from trainables.config.tree import from_dict
example = np.load({str(tmp_path / "example.npz")!r})
store = open_store({DATA!r})
rows = [row for shard in store.split("val").shards for row in read_shard(store, shard)]
row = next(r for r in rows if r["recording"] == str(example["recording"]))
info = mlflow.models.get_model_info({finished["model"]!r})
config = from_dict(info.metadata["config"])
inputs = {{"audio": decode_flac(row["audio"])[None].astype(np.float32) / 32768}}
if config.sees:
    inputs["frames"] = PrepareRow(config.inputs, ["frames"])(row)["frames"][None]
output = mlflow.pyfunc.load_model({finished["model"]!r}).predict(inputs)[0]
print(float(np.abs(output[: len(example["output"])] - example["output"]).max()), len(example["output"]))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    difference, labels = result.stdout.split()
    assert float(difference) < 1e-5
    assert int(labels) == 600


def test_the_model_on_the_server_holds_no_pickle(finished: dict[str, Any]) -> None:
    client = mlflow.MlflowClient()
    version = client.get_model_version_by_alias("seld", "challenger")
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/seld/{version.version}"))
    suffixes = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert ".safetensors" in suffixes
    assert not suffixes & {".pkl", ".pickle", ".pt", ".pth", ".bin"}


def test_the_same_command_again_changes_nothing(stack: SweepStack, finished: dict[str, Any]) -> None:
    again = stack.sweep("all", "--trials", "4", "--stopper", "none")
    assert again["trials"] == finished["trials"]
    assert again["model"] == finished["model"]
    assert_complete("all", 4)


def test_more_trials_are_added_to_a_finished_sweep(stack: SweepStack, finished: dict[str, Any]) -> None:
    more = stack.sweep("all", "--trials", "5", "--stopper", "none")
    assert len(more["trials"]) == 5
    assert_complete("all", 5)


# --- interruptions ----------------------------------------------------------------------------------------------------


def wait_until(name: str, there: Callable[[list[TrialRecord]], bool]) -> list[TrialRecord]:
    """The records of a sweep once they are so."""
    store = SweepStore("s3://seldtune", name)
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        records = store.trials()
        if there(records):
            return records
        time.sleep(0.2)
    raise AssertionError(f"{name} did not come so far in time")


def wait_for_reports(name: str, reports: int) -> None:
    wait_until(name, lambda records: sum(len(record.reports) for record in records) >= reports)


MEASURED = ("windows_per_s", "epoch_s", LATENCY, "at")


def what_it_found(name: str) -> list[tuple[dict[str, Any], str, list[dict[str, float]]]]:
    """Parameters, state and scores of every trial: all that does not depend on the clock."""
    return [
        (
            record.params,
            record.state,
            [{k: v for k, v in r.items() if k not in MEASURED and not k.startswith("system/")} for r in record.reports],
        )
        for record in SweepStore("s3://seldtune", name).trials()
    ]


def test_three_kills_at_random_moments_change_nothing(stack: SweepStack) -> None:
    """One trial at a time, so that what the sampler and the early stopping know follows from the seed alone."""
    trials, epochs, moments = 5, 4, random.Random(20)
    sized = ("--trials", str(trials), "--set", f"training.epochs={epochs}", "--concurrency", "1", "--model", "killed")
    stack.sweep("whole", *sized)
    in_all = sum(len(reports) for _, _, reports in what_it_found("whole"))
    for reports in sorted(moments.sample(range(1, in_all - 1), 3)):
        process = stack.start("sweep", "quickstart", "--name", "killed", *QUICK, *sized)
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
    command = ("sweep", "quickstart", "--name", "hit", *QUICK, "--trials", "3", "--stopper", "none")
    command += ("--set", "training.epochs=8")
    process = stack.start(*command)
    wait_for_reports("hit", 1)
    process.send_signal(signal.SIGINT)
    assert "the same command goes on from here" in stack.finish(process, code=130)
    before = {record.number: record for record in SweepStore("s3://seldtune", "hit").trials()}
    assert all(run.info.status != "RUNNING" for run in [*runs_of("hit")[1], runs_of("hit")[0]])
    assert "interrupted" in stack.run("status", "hit")

    stack.run(*command)
    assert_complete("hit", 3)
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
    sized = ("--trials", "1", "--stopper", "none", "--set", "training.epochs=8", "--retries", "0", "--model", "lost")
    command = ("sweep", "quickstart", "--name", "lost", *QUICK, *sized)
    process = stack.start(*command)
    wait_for_reports("lost", 1)
    os.kill(trial_process(), signal.SIGKILL)

    assert f"is being run by pid {process.pid} on host" in refused(stack, *command)
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


# --- early stopping, budgets, failures, worker groups -----------------------------------------------------------------


def test_hours_and_time_end_the_sweep_with_its_best_and_more_of_them_go_on(stack: SweepStack) -> None:
    sized = ("--trials", "50", "--set", "training.batch_size=16")
    result = stack.sweep("brief", *sized, "--cpu-hours", "0.003")
    assert result["used_up"] == "0.003 CPU-hours"
    records = SweepStore("s3://seldtune", "brief").trials()
    assert sum(attempt.cpus * attempt.seconds for record in records for attempt in record.attempts) >= 0.003 * 3600
    assert 1 <= len(result["trials"]) < 50
    assert result["model"]
    assert_complete("brief", len(records))

    more = stack.sweep("brief", *sized, "--cpu-hours", "1", "--budget", f"{result['seconds'] + 5}s")
    assert len(records) < len(more["trials"]) < 50
    assert more["used_up"].endswith(" s")
    assert_complete("brief", len(more["trials"]))


def test_a_trial_that_diverges_is_tried_again_and_then_failed_with_its_reason(stack: SweepStack) -> None:
    wild = ("--set", "optimiser.lr=1e15", "--retries", "1", "--concurrency", "1")
    said = stack.run("sweep", "quickstart", "--name", "wild", *QUICK, *EPOCHS, "--trials", "2", *wild, code=1)
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


# --- data that does not fit -------------------------------------------------------------------------------------------


LARGE = "s3://seldtune/data/large"
LITTLE_MEMORY = ("--data-memory", "4MB")


@pytest.fixture(scope="module")
def large(stack: SweepStack) -> Store:
    """Twice what `LITTLE_MEMORY` holds."""
    settings = SynthSettings(train_clips=16, val_clips=2, test_clips=1, clip_s=6.0, train_rooms=4, clips_per_task=4)
    return synthesise(settings, LARGE)


def streamed_sweep(name: str) -> tuple[str, ...]:
    sized = (*LITTLE_MEMORY, *EPOCHS, "--trials", "2", "--model", "streamed")
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


# --- prediction -------------------------------------------------------------------------------------------------------


def test_prediction_of_a_recording_with_video_and_truth(
    stack: SweepStack, finished: dict[str, Any], tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    stack.run("data", "synth", "--train-clips", "1", "--val-clips", "0", "--test-clips", "0", "--tree", str(tree))
    wav, csv, mp4 = (next(tree.rglob(pattern)) for pattern in ("*.wav", "*.csv", "*.mp4"))
    for row in finished["trials"][:1]:
        model = finished["model"]
        out = tmp_path / str(row["trial"])
        text = stack.run(
            "predict", "--model", model, str(wav), str(mp4), "--truth", str(csv), "--out", str(out), "--json"
        )
        result = json.loads(text)
        assert result["seconds"] == 60.0
        assert len(read_events_csv(result["csv"])) == result["rows"]
        assert Path(result["picture"]).stat().st_size > 10_000


# --- refusals ---------------------------------------------------------------------------------------------------------


def refused(stack: SweepStack, *arguments: str, **environment: str) -> str:
    """The one line that a refusal prints, after checking that nothing was written."""
    before = storage.list_files("s3://seldtune/sweeps").keys()
    err = stack.run(*arguments, code=2, **environment)
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, err
    assert "Traceback" not in err
    assert storage.list_files("s3://seldtune/sweeps").keys() == before
    return lines[0]


def test_published_systems_side_by_side(stack: SweepStack, tmp_path: Path) -> None:
    """Two groups of inputs, one of them with boxes from csv; scored on the test split, once."""
    store = open_store(DATA)
    for split in ("train", "val", "test"):
        for shard in store.split(split).shards:
            for row in read_shard(store, shard, ["recording"]):
                (tmp_path / f"{row['recording']}.csv").write_text("0,0.1,0.2,0.3,0.6,0.9\n7,0.5,0.2,0.6,0.6\n")
    systems = ("audio_only", "dcase2023-audio_visual", "dcase2024-audio")
    command = ["table1", "--data", DATA, "--size", "small", "--name", "published", "--boxes", str(tmp_path), "--json"]
    command += [part for name in systems for part in ("--only", name)]
    command += ["--set", "training.epochs=1", "--set", "training.epoch_windows=32"]
    rows = json.loads(stack.run(*command))
    assert [row["preset"] for row in rows] == list(systems)
    for row in rows:
        assert set(row["macro"]) == set(row["micro"]) == {"ER", "F", "LE", "LR", "SELD"}
        assert row["parameters"] > 10_000
        # One recording has no interval.
        assert row["intervals"] == {}
    assert rows[0]["published"]["F"] == 50.2
    assert rows[2]["published"] is None
    table = storage.read_bytes("s3://seldtune/sweeps/published/table1.md").decode()
    assert table.count("\n| ") >= len(systems)
    assert "| - | audio only |" in table
    assert_complete("published-0-0", 2)
    assert_complete("published-1-0", 1)
    parent, children = runs_of("published-0-0")
    assert [run.info.run_name for run in children] == [
        "published-0-0-000-audio_only",
        "published-0-0-001-dcase2023-audio_visual",
    ]
    artifacts = {file.path for file in mlflow.MlflowClient().list_artifacts(parent.info.run_id)}
    assert {"table1.md", "table1.json"} <= artifacts
    counts = "s3://seldtune/sweeps/published-0-0/test/00000.npy"
    counted = storage.read_bytes(counts)
    assert json.loads(stack.run(*command)) == rows
    assert storage.read_bytes(counts) == counted


def test_weights_are_imported_and_used(stack: SweepStack, tmp_path: Path) -> None:
    source = tmp_path / "resnet18.pth"
    torch.save(ResNetBackbone("basic", (2, 2, 2, 2), 64).state_dict(), source)
    result = json.loads(stack.run("weights", "import", str(source), "--as", "resnet18", "--json"))
    assert result["uri"] == "s3://seldtune/weights/resnet18.safetensors"
    kind, state = read_weights(result["uri"], "visual.weights")
    assert (kind.name, len(state)) == ("resnet", 120)
    source.write_bytes(source.read_bytes()[:1000])
    message = stack.run("weights", "import", str(source), "--as", "other", code=2)
    assert message.startswith("error: ")
    assert "truncated" in message or "no state dict" in message
    assert not storage.exists("s3://seldtune/weights/other.safetensors")


def test_wrong_names_and_sizes(stack: SweepStack) -> None:
    assert "quickstart, fusion" in refused(stack, "sweep", "quickstat")
    quickstart = ("sweep", "quickstart", *QUICK, "--name", "r")
    assert "trials use no GPU" in refused(stack, *quickstart, "--gpu-hours", "40")
    assert "MLflow has no sweep 'nothing'" in refused(stack, *quickstart, "--warm-start", "nothing")
    assert "sampler 'best' is not known" in refused(stack, *quickstart, "--sampler", "best")
    assert "no sweep 'nothing'" in refused(stack, "status", "nothing")
    heads = refused(stack, "sweep", "quickstart", *QUICK, "--name", "r", "--set", "audio.conformer.heads=5")
    assert "audio.conformer.heads = 5" in heads
    name = refused(stack, "sweep", "quickstart", *QUICK, "--name", "r", "--set", "fusion.name=transformer")
    assert "av_conformer" in name
    assert "nobody" in refused(stack, "promote", "nobody", "--reason", "x")


def test_places_that_are_not_there(stack: SweepStack) -> None:
    sweep = ("sweep", "quickstart", "--name", "r")
    assert "no bucket 'nowhere'" in refused(stack, *sweep, "--data", "s3://nowhere/data")
    assert "no data at" in refused(stack, *sweep, "--data", "s3://seldtune/data/nothing")
    url = refused(stack, *sweep, "--data", DATA, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert "MLflow does not answer at http://127.0.0.1:9" in url
    keys = refused(
        stack,
        *sweep,
        "--data",
        DATA,
        AWS_ENDPOINT_URL=os.environ["AWS_ENDPOINT_URL"].replace("127.0.0.1", "localhost"),
        AWS_ACCESS_KEY_ID=os.environ["AWS_ACCESS_KEY_ID"],
        AWS_SECRET_ACCESS_KEY="wrong",
    )
    assert "refuses the credentials" in keys


def copy_store(root: str) -> list[str]:
    """A copy of the tiny store; returns its shards."""
    for path in storage.list_files(DATA):
        storage.write_bytes(f"{root}/{path}", storage.read_bytes(f"{DATA}/{path}"))
    return [shard.path for shard in open_store(root).split("train").shards]


def test_damaged_stores(stack: SweepStack) -> None:
    sweep = ("sweep", "quickstart", "--name", "r", "--set", "training.epoch_windows=32", "--data")
    shard = copy_store("s3://seldtune/data/missing")[0]
    storage.delete(f"s3://seldtune/data/missing/{shard}")
    assert f"{shard} is missing" in refused(stack, *sweep, "s3://seldtune/data/missing")

    shard = copy_store("s3://seldtune/data/broken")[0]
    content = bytearray(storage.read_bytes(f"s3://seldtune/data/broken/{shard}"))
    content[len(content) // 2] ^= 1
    storage.write_bytes(f"s3://seldtune/data/broken/{shard}", bytes(content))
    assert f"{shard} is corrupted" in refused(stack, *sweep, "s3://seldtune/data/broken")


def test_files_that_do_not_fit(stack: SweepStack, finished: dict[str, Any], tmp_path: Path) -> None:
    import soundfile

    good = tmp_path / "good.wav"
    write_foa_wav(good, np.zeros((4, 24_000), np.int16))
    soundfile.write(tmp_path / "stereo.wav", np.zeros((100, 2)), 24_000)
    soundfile.write(tmp_path / "fast.wav", np.zeros((4410, 4)), 44_100)
    (tmp_path / "class13.csv").write_text("0,1,0,10,0\n1,13,0,10,0\n")
    out = ("--model", finished["model"], "--out", str(tmp_path / "out"))
    assert "2 channels" in refused(stack, "predict", *out, str(tmp_path / "stereo.wav"))
    assert "44100 Hz" in refused(stack, "predict", *out, str(tmp_path / "fast.wav"))
    csv = refused(stack, "predict", *out, str(good), "--truth", str(tmp_path / "class13.csv"))
    assert "class13.csv:2" in csv
    assert "models:/seld@nobody" in refused(stack, "predict", "--model", "models:/seld@nobody", str(good))
    assert not (tmp_path / "out").exists()
    stack.run("predict", *out, str(tmp_path / "fast.wav"), "--resample")
    assert (tmp_path / "out" / "fast.prediction.csv").exists()


def test_a_sweep_is_not_continued_with_other_settings(stack: SweepStack, finished: dict[str, Any]) -> None:
    other = refused(stack, "sweep", "quickstart", "--name", "all", *QUICK, *EPOCHS, "--stopper", "none", "--seed", "7")
    assert "seed: was 0, now 7" in other
