"""Commands that are refused with one line, before anything is written; published systems; imported weights."""

from __future__ import annotations

import json
import os
from pathlib import Path

import mlflow
import pytest
import torch

from data import storage
from data.stores.chunks import open_store, read_shard
from support.sweeps_on_the_stack import (
    DATA,
    QUICK,
    SweepStack,
    assert_complete,
    refused,
    runs_of,
)
from trainables.layers.resnet import ResNetBackbone
from trainables.weights.kinds import read_weights

pytestmark = pytest.mark.slow


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


def test_published_systems_side_by_side(stack: SweepStack, tmp_path: Path) -> None:
    """Two groups of inputs, one of them with boxes from csv; scored on the test split, once."""
    store = open_store(DATA)
    for split in ("train", "val", "test"):
        for shard in store.split(split).shards:
            for row in read_shard(store, shard, ["recording"]):
                (tmp_path / f"{row['recording']}.csv").write_text("0,0.1,0.2,0.3,0.6,0.9\n7,0.5,0.2,0.6,0.6\n")
    systems = ("audio_only", "dcase2023-audio_visual", "dcase2024-audio")
    command = ["table1", "--data", DATA, "--size", "small", "--name", "beside", "--boxes", str(tmp_path), "--json"]
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
    table = storage.read_bytes("s3://seldtune/sweeps/beside/table1.md").decode()
    assert table.count("\n| ") >= len(systems)
    assert "| - | audio only |" in table
    assert_complete("beside-0-0", 2)
    assert_complete("beside-1-0", 1)
    parent, children = runs_of("beside-0-0")
    assert [run.info.run_name for run in children] == [
        "beside-0-0-000-audio_only",
        "beside-0-0-001-dcase2023-audio_visual",
    ]
    artifacts = {file.path for file in mlflow.MlflowClient().list_artifacts(parent.info.run_id)}
    assert {"table1.md", "table1.json"} <= artifacts
    counts = "s3://seldtune/sweeps/beside-0-0/test/00000.npy"
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
