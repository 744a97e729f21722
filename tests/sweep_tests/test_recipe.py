"""The paper's recipe on synthetic stand-ins for both stores: from end to end, and killed in its stages."""

from __future__ import annotations

import json

import pytest

from data import storage
from data.stores.chunks import open_store
from infra.finals.recipe import SYNTHETIC_CLIPS
from infra.record.folder import SweepStore
from infra.record.trials import TrialRecord
from support.sweeps_on_the_stack import DATA, SweepStack, assert_complete, runs_of, wait_for_reports

pytestmark = pytest.mark.slow

SYNTHETIC = "s3://seldtune/data/simulated"
TINY = ("--size", "small", "--set", "training.epoch_windows=16", "--set", "training.epochs=3")


def trials(name: str) -> list[TrialRecord]:
    return SweepStore("s3://seldtune", name).trials()


def test_it_is_killed_while_it_trains_goes_on_and_says_which_data_trained_what(stack: SweepStack) -> None:
    made = ("--train-clips", "3", "--val-clips", "1", "--test-clips", "0", "--clip-s", "6", "--no-video")
    stack.run("data", "synth", "simulated", *made)
    command = ("recipe", "paper", "--data", DATA, "--synthetic", SYNTHETIC, "--name", "again", *TINY)
    command += ("--added-share", "0.25", "--only", "resnet-gru")
    for sweep in ("again-pretraining", "again-table1-0-0"):
        process = stack.start(*command)
        wait_for_reports(sweep, 1)
        process.kill()
        process.communicate(timeout=60)
        kept = trials(sweep)[0]
        assert kept.reports
    rows = json.loads(stack.run(*command, "--json"))

    assert [row["preset"] for row in rows] == ["resnet-gru"]
    assert_complete("again-pretraining", 1)
    assert_complete("again-table1-0-0", 1)
    (pretraining,), tuned = trials("again-pretraining"), trials("again-table1-0-0")
    assert tuned[0].reports[: len(kept.reports)] == kept.reports
    weights = SweepStore("s3://seldtune", "again-pretraining").trial_store(0).best(int(pretraining.best["epoch"]))
    for record in tuned:
        assert record.config["audio"]["weights"] == f"{weights}/model.safetensors"
        assert record.config["training"]["added_share"] == 0.25
    target, synthetic, mixed = map(open_store, (DATA, SYNTHETIC, "s3://seldtune/data/again-mixed"))
    assert mixed.split("val").shards == target.split("val").shards
    encoder, fine_tuning = rows[0]["trained_on"]
    assert encoder.startswith(f"audio encoder: {weights}/model.safetensors, validation SELD ")
    assert encoder.endswith(f" on 18 s of synthetic {synthetic.manifest.sha256[:12]}")
    parts = f"target: 18 s of synthetic {target.manifest.sha256[:12]}; synthetic: 18 s of synthetic"
    assert fine_tuning.startswith(f"fine-tuning: {parts} {synthetic.manifest.sha256[:12]}; 0.25 of the windows")
    table = storage.read_bytes("s3://seldtune/sweeps/again-table1/table1.md").decode()
    assert f"- {encoder}" in table
    assert f"- {fine_tuning}" in table
    parent, children = runs_of("again-table1-0-0")
    assert all(run.data.tags["data.parts"].startswith(parts) for run in (parent, *children))
    described = json.loads(storage.read_bytes(f"{_best(tuned[0])}/model.json"))["extra"]
    assert described["data.parts"].startswith(parts)
    (taken,) = described["began_with"]
    assert (taken["field"], taken["uri"]) == ("audio.weights", f"{weights}/model.safetensors")


def _best(record: TrialRecord) -> str:
    store = SweepStore("s3://seldtune", "again-table1-0-0").trial_store(record.number)
    assert record.best is not None
    return store.best(int(record.best["epoch"]))


def test_it_makes_its_own_scenes_where_none_are_named(stack: SweepStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SYNTHETIC_CLIPS, "small", (1, 1))
    command = ("recipe", "paper", "--data", DATA, "--name", "own", "--only", "audio_only", *TINY[:4])
    (row,) = json.loads(stack.run(*command, "--set", "training.epochs=1", "--json"))
    scenes = open_store("s3://seldtune/data/own-synthetic")
    assert scenes.manifest.settings["profile"] == "standard"
    assert scenes.manifest.sha256[:12] in row["trained_on"][0]
    assert open_store(DATA).manifest.sha256[:12] in row["trained_on"][1]
    (record,) = trials("own-table1-0-0")
    assert record.config["training"].get("added_share") is None


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--added-share", "1"), "--added-share 1: has to be 0 or more, and less than 1"),
        (("--size", "huge"), "size 'huge' is not known"),
        (("--only", "resnet"), "preset 'resnet' is not known"),
        (("--only", "dcase2023-audio"), "preset 'dcase2023-audio' has another audio encoder"),
        (("--seeds", "0"), "--seeds 0: has to be 1 or more"),
        (("--resnet-weights", "s3://seldtune/weights/none.safetensors"), "none.safetensors"),
        (("--synthetic", DATA, "--added-share", "0.5"), "would be trained on twice"),
        (("--synthetic", "s3://seldtune/data/none"), "s3://seldtune/data holds"),
    ],
)
def test_what_it_cannot_do_it_refuses_before_anything_is_made(
    stack: SweepStack, options: tuple[str, ...], told: str
) -> None:
    before = storage.list_files("s3://seldtune/").keys()
    assert told in stack.run("recipe", "paper", "--data", DATA, "--name", "refused", *options, code=2)
    assert storage.list_files("s3://seldtune/").keys() == before
