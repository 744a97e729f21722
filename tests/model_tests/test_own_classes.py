"""Models, scores and configs of other classes than STARSS23's: one, five, as many as there may be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.classes import MOST_CLASSES, STARSS23, ClassList
from data.errors import UserError
from data.labels import Events, adpit_target
from support.tiny_models import tiny_config
from trainables.config import OUTPUTS
from trainables.config.tree import classes_of, fingerprint, from_dict, override, to_dict, to_flat
from trainables.evaluation.bundle import load_bundle, save_bundle
from trainables.evaluation.evaluate import THRESHOLD_GRID, best_thresholds, evaluate
from trainables.networks.estimate import batch_bytes
from trainables.networks.model import SeldModel
from trainables.scores.detections import Detections
from trainables.scores.flat import counts_from_array, counts_to_array, flat_scores
from trainables.scores.folders import score_folders, score_text
from trainables.scores.metrics import SeldCounts, score_table, seld_counts
from trainables.scores.metrics2024 import score_table_2024, seld_counts_2024
from trainables.scores.recordings import class_figures

ANIMALS = ClassList.of(("Dog bark", "Cat", "Bird, singing", "Car horn", "Speech"))
LABELS = 30


def of(count: int) -> ClassList:
    return ClassList.of([f"sound {number}" for number in range(count)])


def row(events: Events, count: int) -> dict[str, Any]:
    """A row as it is prepared for `tiny_config`, of noise."""
    return {
        "recording": "r",
        "room": "room1",
        "start_frame": 0,
        "num_frames": LABELS,
        "features": np.random.default_rng(0).normal(size=(7, LABELS * 4, 8)).astype(np.float32),
        "target": adpit_target(events, LABELS, count),
        "events": np.stack([column.astype(np.float64) for column in events.columns()], axis=1),
        "has_video": False,
    }


@pytest.mark.parametrize("form", list(OUTPUTS))
@pytest.mark.parametrize("count", [1, 5, MOST_CLASSES])
def test_a_model_learns_and_is_scored_on_as_many_classes(form: str, count: int) -> None:
    torch.manual_seed(0)
    config = override(replace(tiny_config("audio_only"), classes=of(count)), {"output.name": form})
    last = count - 1
    frames = np.arange(5, 25)
    events = Events.build(frames, [last] * 20, [0] * 20, [40.0] * 20, [0.0] * 20, [150.0] * 20)
    told = row(events, count)
    model = SeldModel(config)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    features, target = torch.from_numpy(told["features"])[None], torch.from_numpy(told["target"])[None]
    assert model(features).shape == (1, LABELS, config.output.tracks * config.output.axes * count)
    for _ in range(150):
        optimiser.zero_grad()
        config.output.loss(model(features), target).backward()
        optimiser.step()
    scored = evaluate(model, [[told]], [0.5, *THRESHOLD_GRID])
    assert best_thresholds(scored.counts[1:], 0.5).shape == (count,)
    flat = flat_scores(scored.counts[0], config.classes)
    assert flat[f"class/sound_{last}/F"] > 0.8
    assert flat["present/F"] == flat[f"class/sound_{last}/F"]
    assert flat["macro/F"] == pytest.approx(flat["present/F"] / count)


def test_configs_of_starss23_say_what_they_said_before_there_were_others() -> None:
    config = tiny_config("audio_only")
    assert "classes" not in to_dict(config)
    assert not [key for key in to_flat(config) if key.startswith("classes")]
    assert classes_of(to_dict(config)) == STARSS23
    said = override(config, {"classes.names": STARSS23.names, "classes.short_names": STARSS23.short_names})
    assert (said, fingerprint(said)) == (config, fingerprint(config))


def test_configs_say_other_classes_and_are_read_back() -> None:
    config = replace(tiny_config("audio_only"), classes=ANIMALS)
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config
    assert classes_of(to_dict(config)) == ANIMALS
    assert to_flat(config)["classes.short_names"] == ["dog_bark", "cat", "bird", "car_horn", "speech"]
    others = replace(config, classes=ClassList.of(("Wolf", *ANIMALS.names[1:])))
    assert len({fingerprint(one) for one in (config, others, tiny_config("audio_only"))}) == 3
    with pytest.raises(UserError, match="two classes are called alike"):
        from_dict({**to_dict(config), "classes": {"names": ["a", "A"], "short_names": ["b", "c"]}})
    assert batch_bytes(config, 2) < batch_bytes(tiny_config("audio_only"), 2)


def test_a_bundle_knows_its_classes(tmp_path: Path) -> None:
    config = replace(tiny_config("gru"), classes=ANIMALS)
    save_bundle(tmp_path, SeldModel(config), config, {})
    assert load_bundle(tmp_path).config.classes == ANIMALS
    document = json.loads((tmp_path / "model.json").read_text())
    document["config"]["classes"] = {"names": ["Dog"], "short_names": ["dog"]}
    (tmp_path / "model.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match="does not fit the config"):
        load_bundle(tmp_path)


def located(*rows: tuple[int, int, float]) -> Detections:
    frame, class_index, azimuth = (np.array(column) for column in zip(*rows, strict=True))
    angle = np.deg2rad(azimuth)
    vector = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=-1)
    return Detections(frame.astype(np.int64), class_index.astype(np.int64), vector, np.full(len(frame), 1.5))


def test_counts_of_a_class_are_those_that_it_has_among_thirteen() -> None:
    """What a class scores hangs on the others by number alone: the macro average."""
    true = located(*((frame, index, 40.0 * index) for frame in range(21) for index in (0, 4)))
    found = located(*((frame, index, 40.0 * index + 30 * (index == 4)) for frame in range(20) for index in (0, 4)))
    for count, table in ((seld_counts, score_table), (seld_counts_2024, score_table_2024)):
        few, many = count(true, found, num_classes=5), count(true, found)
        np.testing.assert_array_equal(table(few)[:, 1:], table(many)[:, 1:6])
        np.testing.assert_array_equal(table(few, "present")[:, 0], table(many, "present")[:, 0])
        np.testing.assert_array_equal(table(few, "micro")[:, 0], table(many, "micro")[:, 0])
    few = seld_counts(true, found, num_classes=5)
    np.testing.assert_array_equal(counts_to_array(counts_from_array(counts_to_array(few))), counts_to_array(few))
    assert counts_from_array(counts_to_array(few)).substitutions == few.substitutions
    assert list(class_figures(few, ANIMALS)) == ["dog_bark", "speech"]
    np.testing.assert_array_equal(counts_to_array(few + SeldCounts.zero()), counts_to_array(few))


def test_a_folder_is_scored_by_a_list_of_classes(tmp_path: Path) -> None:
    """References have the numbers that they were labelled with, predictions those of the list."""
    (tmp_path / "animals.yaml").write_text(
        "classes:\n  - {name: Dog, from: 7}\n  - {name: Cat, from: [3, 9]}\n  - {name: Cow, from: 4}\ndrop: 5\n"
    )
    for folder in ("reference", "prediction"):
        (tmp_path / folder).mkdir()
    labels = [(frame, number, 30 * number) for frame in range(30) for number in (3, 5, 7)]
    own = {3: 1, 7: 0}
    (tmp_path / "reference/a.csv").write_text("".join(f"{f},{n},0,{az - 90},0\n" for f, n, az in labels))
    (tmp_path / "prediction/a.csv").write_text(
        "".join(f"{f},{own[n]},0,{az - 90},0\n" for f, n, az in labels if n in own)
    )
    result = score_folders(tmp_path / "reference", tmp_path / "prediction", classes=tmp_path / "animals.yaml")
    assert [(one["name"], one["present"]) for one in result["per_class"]] == [
        ("Dog", True),
        ("Cat", True),
        ("Cow", False),
    ]
    assert [one["F"]["value"] for one in result["per_class"]] == pytest.approx([1, 1, 0])
    assert result["scores"]["F"]["value"] == pytest.approx(2 / 3)
    assert "Cow" in score_text(result)
    (tmp_path / "prediction/a.csv").write_text("0,3,0,0,0\n")
    with pytest.raises(UserError, match=r"prediction/a\.csv:1: class 3 is unknown: classes are 0\.\.2"):
        score_folders(tmp_path / "reference", tmp_path / "prediction", classes=tmp_path / "animals.yaml")
