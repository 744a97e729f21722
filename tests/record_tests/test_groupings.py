"""What trials are told apart by."""

from __future__ import annotations

from typing import Any

import pytest

from infra.record.groupings import variant_of_config, what_differs
from trainables.config import AudioOnly, Cosine, Gru, OneCycle, ResNetConformer, TrialConfig
from trainables.config.tree import override, to_dict

SEES = TrialConfig(visual=ResNetConformer(), fusion=Gru(layers=2))
HEARS = TrialConfig(fusion=AudioOnly())


@pytest.mark.parametrize(
    ("fields", "by", "variant"),
    [
        ({}, "fusion", "gru"),
        ({"fusion.closed": "eyes"}, "fusion", "gru, eyes closed"),
        ({"fusion.closed": "eyes"}, "visual", "resnet_conformer"),
        ({"schedule.name": "cosine"}, "schedule", "cosine"),
        ({}, "audio", "cnn_conformer"),
        ({}, "depth", "2"),
        ({"fusion.layers": 3, "optimiser.lr": 1e-4}, "depth", "3"),
    ],
)
def test_variants(fields: dict[str, Any], by: str, variant: str) -> None:
    assert variant_of_config(to_dict(override(SEES, fields)), by) == variant


@pytest.mark.parametrize(
    ("configs", "by"),
    [
        ([SEES, HEARS], "fusion"),
        ([override(HEARS, {"schedule.name": name}) for name in (Cosine.name, OneCycle.name)], "schedule"),
        ([override(SEES, {"fusion.layers": layers, "schedule.name": "cosine"}) for layers in (1, 2)], "depth"),
        ([HEARS], "fusion"),
        ([], "fusion"),
    ],
)
def test_the_first_in_which_configs_differ(configs: list[TrialConfig], by: str) -> None:
    assert what_differs([to_dict(config) for config in configs]) == by
