"""Every fusion learns from real synthetic scenes: sound, pictures and labels through the whole loop, at a tiny size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.feeding.feed import HeldRows
from data.scenes.synth import SynthSettings, synthesise
from data.stores.chunks import read_shard
from search_spaces.preset_sizes import SIZES
from search_spaces.presets import find_preset
from trainables.config import FUSIONS, TrialConfig
from trainables.config.tree import override
from trainables.evaluation.evaluate import predict
from trainables.inputs.prepare import PrepareRow
from trainables.networks.model import SeldModel
from trainables.training.checkpoint import TrialStore
from trainables.training.decision import GO_ON, Decision
from trainables.training.loop import train_trial

pytestmark = pytest.mark.slow

CONFIGS: dict[str, TrialConfig] = {
    "audio_only": find_preset("audio_only", "small"),
    "visual_only": find_preset("visual_only", "small"),
    "av_conformer": find_preset("resnet-av_conformer", "small"),
    "cmaf": find_preset("resnet-cmaf", "small"),
    "cross_attention": find_preset("resnet-cross_attention", "small"),
    "gru": find_preset("resnet-gru", "small"),
    "concat": override(find_preset("resnet-gru", "small"), {"fusion.name": "concat"}),
    "av_conformer, both": find_preset("both-av_conformer", "small"),
}


def test_every_fusion_is_here():
    assert {config.fusion.name for config in CONFIGS.values()} == set(FUSIONS)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    settings = SynthSettings(train_clips=4, val_clips=1, test_clips=0, clip_s=20.0, train_rooms=2)
    store = synthesise(settings, str(tmp_path_factory.mktemp("store")))
    prepare = PrepareRow(SIZES["small"].inputs, ["frames"])
    shards = [shard for split in ("train", "val") for shard in store.split(split).shards]
    return [prepare(raw) for shard in shards for raw in read_shard(store, shard)]


class OneWorker:
    rank, world_size, device = 0, 1, torch.device("cpu")

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows

    def rows(self, split: str) -> list[dict[str, Any]]:
        return [row for row in self._rows if row["recording"].startswith("fold3") == (split == "train")]

    def feed(self, split: str) -> HeldRows:
        return HeldRows(self.rows(split))

    def report(self, metrics: dict[str, float]) -> Decision:
        return GO_ON

    def sum(self, values: np.ndarray) -> np.ndarray:
        return values


@pytest.mark.parametrize("name", CONFIGS)
def test_the_loss_falls_by_a_third(name: str, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    """On the scenes that it trains on, in evaluation mode, before and after."""
    torch.set_num_threads(1)  # two tests run at a time, and threads that wait for each other spin
    config = override(
        CONFIGS[name],
        {
            "schedule.name": "warmup_cosine",
            "optimiser": {"name": "adamw", "lr": 3e-3},
            "augment.channel_swaps": False,
            "training": {"epochs": 6, "batch_size": 16, "epoch_windows": 96},
        },
    )
    session = OneWorker(rows)
    heard = np.concatenate([row["features"] for row in session.rows("train")], axis=1)
    mean, std = heard.mean(axis=1, keepdims=True), heard.std(axis=1, keepdims=True) + 1e-4
    torch.manual_seed(config.training.seed)
    untrained = SeldModel(config, torch.from_numpy(mean), torch.from_numpy(std))
    _, before, num_labels = predict(untrained, session.rows("train"))
    store = TrialStore(str(tmp_path))
    train_trial(config, session, store, mean, std, {})
    state = store.latest()
    assert state is not None
    untrained.load_state_dict(state["model"])
    _, after, _ = predict(untrained, session.rows("train"))
    assert after < 0.7 * before, f"loss a frame {before / num_labels:.4f} -> {after / num_labels:.4f}"
