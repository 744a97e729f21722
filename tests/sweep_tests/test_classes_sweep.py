"""Recordings of another data set, with five classes of its own, from their files to a scored prediction."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import numpy as np
import pytest
import soundfile

from data.classes import STARSS23
from data.files.class_map import read_class_map
from data.scenes.synth import SynthSettings, write_tree
from data.stores.chunks import open_store
from support.sweeps_on_the_stack import SweepStack

pytestmark = pytest.mark.slow

CLASSES = """
classes:
  - {name: Human voice, short: voice, from: [female, Male speech, laughter, shout]}
  - {name: Music, from: [music, instrument]}
  - {name: Ringing, from: [phone, bell]}
  - {name: Steps, from: [steps]}
  - {name: Blows, from: [door, knock, clap]}
drop: [domestic, tap]
"""
FOLDS = {"dev-train": (1, 2, 3, 4), "dev-val": (5,), "dev-test": (6,)}
"""As in DCASE 2021."""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes in the folders of 2021, in B-format as FuMa has it, labelled without distances and by names."""
    folder = tmp_path_factory.mktemp("garden")
    settings = SynthSettings(train_clips=6, val_clips=0, test_clips=0, clip_s=20.0, with_video=False)
    sounds = sorted(write_tree(settings, str(folder / "scenes")).rglob("*.wav"))
    labels = sorted((folder / "scenes").rglob("*.csv"))
    names = [f"{split}/fold{fold}_room{fold}_mix001" for split, folds in FOLDS.items() for fold in folds]
    for name, sound, csv in zip(names, sounds, labels, strict=True):
        audio, rate = soundfile.read(sound)
        w, y, z, x = audio.T
        wav, named = folder / f"garden/foa_dev/{name}.wav", folder / f"garden/metadata_dev/{name}.csv"
        for path in (wav, named):
            path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(wav, np.stack([w / np.sqrt(2), x, y, z], axis=1), rate, subtype="PCM_16")
        rows = [line.split(",") for line in csv.read_text().split()]
        named.write_text("".join(f"{f},{STARSS23.short_names[int(c)]},{s},{a},{e}\n" for f, c, s, a, e, _ in rows))
    (folder / "garden.yaml").write_text(CLASSES)
    return folder


def test_five_classes_from_files_to_scores(stack: SweepStack, tree: Path) -> None:
    listed = tree / "garden.yaml"
    classes, said = read_class_map(listed).classes, ("--classes", str(listed))
    place = "s3://seldtune/data/garden"
    taken = ("data", "ingest", str(tree / "garden"), "--out", place, "--ambisonics", "fuma", "--json")
    assert "--classes dcase2021" in stack.run(*taken, code=2)
    assert not json.loads(stack.run(*taken, *said))["faults"]
    manifest = open_store(place).manifest
    assert manifest.classes == classes
    assert {name: split.clips for name, split in manifest.splits.items()} == {"train": 4, "val": 1, "test": 1}

    asked = ("--name", "garden", "--model", "garden", "--data", "garden", "--trials", "1", "--concurrency", "1")
    short = ("--set", "training.epochs=2", "--set", "training.epoch_windows=192", "--set", "inference.threshold=0.02")
    swept = json.loads(stack.run("sweep", "quickstart", *asked, *short, "--json"))
    reported = {key.split("/")[1] for key in swept["best"]["validation"] if key.startswith("class/")}
    assert reported
    assert reported <= set(classes.short_names)
    version = mlflow.MlflowClient().get_model_version_by_alias("garden", "challenger")
    assert version.tags["classes"] == "voice, music, ringing, steps, blows"

    (wav,) = (tree / "garden/foa_dev/dev-test").glob("*.wav")
    out = str(tree / "out")
    predicted = ("predict", "--model", swept["model"], str(wav), "--ambisonics", "fuma", "--out", out, "--json")
    answer = json.loads(stack.run(*predicted))
    assert set(answer["classes"]) <= set(classes.short_names)
    numbers = {int(line.split(",")[1]) for line in Path(answer["csv"]).read_text().split()}
    assert numbers <= set(range(len(classes)))
    folders = ("--reference", str(tree / "garden/metadata_dev/dev-test"), "--prediction", out)
    scored = json.loads(stack.run("score", *folders, *said, "--json"))
    assert [one["name"] for one in scored["per_class"]] == list(classes.names)
    inspected = json.loads(stack.run("data", "inspect", "garden", "--no-picture", "--json"))
    assert list(inspected["splits"]["train"]["class_frames"]) == list(classes.names)
