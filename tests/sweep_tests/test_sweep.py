"""A whole sweep on the embedded stack, what it leaves, and what its model predicts: a real S3 server, MLflow server and
Ray cluster, real recordings, tiny models."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

from data import storage
from data.files.audio import write_foa_wav
from data.files.dcase_csv import read_events_csv
from data.stores.chunks import open_store
from infra.record.folder import SweepStore
from support.sweeps_on_the_stack import (
    CLIP_S,
    DATA,
    EPOCHS,
    QUICK,
    SweepStack,
    assert_complete,
    refused,
    runs_of,
)
from trainables.training.reports import OBJECTIVE

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(stack: SweepStack) -> dict[str, Any]:
    """A sweep of one trial per fusion."""
    return stack.sweep("all", "--trials", "4", "--stopper", "none", "--concurrency", "2")


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
    version = mlflow.MlflowClient().get_model_version_by_alias("all", "challenger")
    assert finished["model"] == f"models:/all/{version.version}"
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
    assert int(labels) == 10 * CLIP_S


def test_the_model_on_the_server_holds_no_pickle(finished: dict[str, Any]) -> None:
    client = mlflow.MlflowClient()
    version = client.get_model_version_by_alias("all", "challenger")
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/all/{version.version}"))
    suffixes = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert ".safetensors" in suffixes
    assert not suffixes & {".pkl", ".pickle", ".pt", ".pth", ".bin"}


def test_the_same_command_again_changes_nothing(stack: SweepStack, finished: dict[str, Any]) -> None:
    again = stack.sweep("all", "--trials", "4", "--stopper", "none", "--concurrency", "2")
    assert again["trials"] == finished["trials"]
    assert again["model"] == finished["model"]
    assert_complete("all", 4)


def test_more_trials_are_added_to_a_finished_sweep(stack: SweepStack, finished: dict[str, Any]) -> None:
    more = stack.sweep("all", "--trials", "5", "--stopper", "none", "--concurrency", "2")
    assert len(more["trials"]) == 5
    assert_complete("all", 5)


# --- prediction -------------------------------------------------------------------------------------------------------


def test_prediction_of_a_recording_with_video_and_truth(
    stack: SweepStack, finished: dict[str, Any], tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    clips = ("--train-clips", "1", "--val-clips", "0", "--test-clips", "0", "--clip-s", str(CLIP_S))
    stack.run("data", "synth", *clips, "--tree", str(tree))
    wav, csv, mp4 = (next(tree.rglob(pattern)) for pattern in ("*.wav", "*.csv", "*.mp4"))
    for row in finished["trials"][:1]:
        model = finished["model"]
        out = tmp_path / str(row["trial"])
        text = stack.run(
            "predict", "--model", model, str(wav), str(mp4), "--truth", str(csv), "--out", str(out), "--json"
        )
        result = json.loads(text)
        assert result["seconds"] == CLIP_S
        assert len(read_events_csv(result["csv"])) == result["rows"]
        assert Path(result["picture"]).stat().st_size > 10_000


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
    write_foa_wav(tmp_path / "short.wav", np.zeros((4, 2_399), np.int16))
    assert "short.wav holds 2399 samples" in refused(stack, "predict", *out, str(tmp_path / "short.wav"))
    nobody = refused(stack, "predict", "--model", "models:/all@nobody", str(good))
    assert "no 'nobody' of model 'all', whose aliases are: challenger" in nobody
    assert not (tmp_path / "out").exists()
    stack.run("predict", *out, str(tmp_path / "fast.wav"), "--resample")
    assert (tmp_path / "out" / "fast.prediction.csv").exists()


def test_a_sweep_is_not_continued_with_other_settings(stack: SweepStack, finished: dict[str, Any]) -> None:
    other = refused(stack, "sweep", "quickstart", "--name", "all", *QUICK, *EPOCHS, "--stopper", "none", "--seed", "7")
    assert "seed: was 0, now 7" in other
