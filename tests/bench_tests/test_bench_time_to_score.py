"""The benchmark of the time to a good score: both sides train, stop when they are good, and are counted alike."""

from __future__ import annotations

import pytest

from data.scenes.synth import SynthSettings
from infra.bench.model import time_to_score
from support.bench_results import check_result
from trainables.config.tree import to_dict

SCENES = SynthSettings(train_clips=2, val_clips=1, test_clips=0, clip_s=6.0, train_rooms=1, val_rooms=1)
SHORT = {"training.epochs": 2, "training.epoch_windows": 16}


@pytest.mark.parametrize(("good", "epochs"), [(0.0, [2, 3]), (9.0, [1, 1])], ids=["never good", "good at once"])
def test_a_side_ends_when_it_is_good_or_its_epochs_are_done(
    good: float, epochs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_to_score, "GOOD_SELD", good)
    outcome = time_to_score.measure("audio_only", 2, SCENES, **SHORT)
    check_result(outcome, "time_to_score_audio_only", {time_to_score.PEER})
    assert outcome["epochs"] == {"ours": epochs[:1] * 2, time_to_score.PEER: epochs[1:] * 2}
    assert outcome["reached"] == {"ours": [good == 9.0] * 2, time_to_score.PEER: [good == 9.0] * 2}


def test_sides_differ_in_the_recipe_alone() -> None:
    ours, usual = map(to_dict, time_to_score.configs("cmaf", 5).values())
    parts = {part for part in ours if ours[part] != usual[part]}
    assert parts == {"optimiser", "inputs", "output", "fusion", "training"}
    assert (usual["optimiser"]["name"], usual["optimiser"]["lr"]) == ("adamw", 1e-3)
    changed = {
        (part, key) for part in parts - {"optimiser"} for key in ours[part] if ours[part][key] != usual[part][key]
    }
    assert changed == {
        ("inputs", "level"),
        ("output", "vertical_weight"),
        ("output", "active_weight"),
        ("fusion", "visual_gate"),
        ("training", "epochs"),
    }
