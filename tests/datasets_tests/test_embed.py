"""Embedding a store: what trials find is what they would have computed, once, whatever interrupts the making."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from data.errors import UserError
from data.feeding.feed import HeldRows
from data.feeding.windows import Sampling, WindowSampler, evaluation_windows
from data.stores.chunks import (
    Store,
    open_store,
    read_shard,
)
from data.swaps import NUM_SWAPS
from infra.bench.search.own_ray import own_ray
from infra.datasets.embed import embed_data
from infra.datasets.embedder import ray_embed
from infra.sweep.data import preparation
from support.embedded_data import (
    CLOSE,
    COLUMNS,
    INPUTS,
    NETWORKS,
    RESNET,
    SEEN,
    embed,
    make_store,
    no_gpu,
    prepared,
    pretrained,
    request,
    tensors,
    trial,
)
from trainables.config import MultiAccdoa
from trainables.config.tree import override
from trainables.evaluation.evaluate import predict
from trainables.evaluation.inference import predict_clip
from trainables.inputs import prepare as prepare_module
from trainables.inputs.prepare import PrepareRow
from trainables.parts.visual.modules import seen_in
from trainables.training.checkpoint import TrialStore
from trainables.training.decision import GO_ON, Decision
from trainables.training.loop import train_trial

pytestmark = pytest.mark.usefixtures("own_threads")

# --- what trials find -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", NETWORKS)
def test_windows_find_what_the_model_computes_from_pictures(store: Store, made: Any, encoder: str) -> None:
    """For training and evaluation windows and every swap: in the middle, in the tail, past the end of the video."""
    pictures, found = (trial(made, encoder, embedded) for embedded in (False, True))
    model = pretrained(pictures).eval()
    assert model.visual is not None
    rows = [prepared(store, config) for config in (pictures, found)]
    assert [len(row[COLUMNS[encoder]]) > 0 for row in rows[1]] == [True, True, False]
    last = rows[0][1]
    assert (last["num_frames"], len(last["frames"])) == (30, 3)
    rate_hz = INPUTS["frame_rate_hz"]
    samplers = [
        iter(WindowSampler(r, Sampling(8, swap=True, epoch_windows=64, picture_rate_hz=rate_hz)).epoch(1)) for r in rows
    ]
    kinds = [zip(*samplers, strict=True)]
    for k in range(NUM_SWAPS):
        batches = [evaluation_windows(those[-2:], 8, 30, 10, k, rate_hz) for those in rows]
        kinds.append((a[0], b[0]) for a, b in zip(*batches, strict=True))
    compared = 0
    for pairs in kinds:
        for ours, theirs in pairs:
            assert "frames" not in theirs
            with torch.no_grad():
                expected = model.visual.embed(seen_in(tensors(ours), pictures.visual.columns))
                got = model.visual.embed(seen_in(tensors(theirs), found.visual.columns))
            sighted = torch.from_numpy(ours["has_video"])
            assert not got[~sighted].any()
            torch.testing.assert_close(got[sighted], expected[sighted], **CLOSE)
            compared += int(sighted.sum())
    assert compared > 60
    assert float(expected[sighted].std()) > 0.01


def test_bytes_of_embeddings_are_known_before_they_are_read(store: Store, made: Any) -> None:
    config = trial(made, "both", embedded=True)
    prepare = preparation([config], store.manifest.sha256)
    (row,) = prepared(store, config, "val")
    expected = sum(row[name].nbytes for name in ("features", "target", *COLUMNS.values()))
    # 4.2 s are eight and a half windows' hops and pictures.
    assert prepare.bytes_per_label(True) * len(row["target"]) == pytest.approx(expected, rel=0.05)
    assert prepare.bytes_per_label(False) < prepare.bytes_per_label(True)


def test_the_tail_of_a_row_is_cut_alike(store: Store, made: Any) -> None:
    for encoder in NETWORKS:
        pictures, found = (trial(made, encoder, embedded) for embedded in (False, True))
        model = pretrained(pictures).eval()
        assert model.visual is not None
        ours, theirs = (
            list(evaluation_windows(prepared(store, config)[:1], 120, 30, 5, 5, INPUTS["frame_rate_hz"]))
            for config in (pictures, found)
        )
        with torch.no_grad():
            expected = model.visual.embed(torch.from_numpy(ours[0][0]["frames"][-8:]))
        got = model.visual.embed(torch.from_numpy(theirs[0][0][COLUMNS[encoder]][-8:]))
        torch.testing.assert_close(got, expected, **CLOSE)


@pytest.mark.parametrize("visual", ["resnet50", "i3d", "both"])
def test_a_training_step_is_that_of_pictures(store: Store, made: Any, visual: str) -> None:
    gradients, losses = [], []
    for embedded in (False, True):
        config = trial(made, visual, embedded)
        model = pretrained(config).train()
        rows = prepared(store, config)
        sampler = WindowSampler(rows, Sampling(8, swap=True, seed=4, picture_rate_hz=INPUTS["frame_rate_hz"]))
        batch = tensors(next(sampler.epoch(1)))
        seen = seen_in(batch, config.visual.columns)
        assert seen is not None
        loss = MultiAccdoa().loss(model(batch["features"], seen, batch["has_video"]), batch["target"], batch["valid"])
        loss.backward()
        losses.append(loss.item())
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert gradients[0].keys() == gradients[1].keys()
    assert not any("backbone" in name for name in gradients[0])
    scale = max(float(g.abs().max()) for g in gradients[0].values())
    for name, expected in gradients[0].items():
        assert float((gradients[1][name] - expected).abs().max()) < 2e-3 * scale, name


def test_evaluation_over_all_swaps_is_that_of_pictures(store: Store, made: Any) -> None:
    # One track: several are matched to each other, and near ties go either way.
    changes = {"inference.swap_average": True, "inference.hop_s": 1.5, "output.name": "accdoa"}
    for visual in ("resnet50", "both"):
        outputs = []
        for embedded in (False, True):
            config = trial(made, visual, embedded, **changes)
            outputs.append(predict(pretrained(config), prepared(store, config, "val"), 4)[0][0])
        assert outputs[0].std() > 1e-3
        np.testing.assert_allclose(outputs[1], outputs[0], atol=2e-3)


def test_no_picture_is_decoded_and_no_backbone_run(store: Store, made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = trial(made, "both", embedded=True)
    model = pretrained(config)
    monkeypatch.setattr(prepare_module, "decode_picture", None)
    monkeypatch.setattr(type(model.visual.resnet.backbone), "forward", None)  # type: ignore[union-attr]
    monkeypatch.setattr(type(model.visual.i3d.backbone), "forward", None)  # type: ignore[union-attr]
    assert "frames" not in (preparation([config], store.manifest.sha256).columns or ["frames"])
    rows = prepared(store, config)
    assert set(COLUMNS.values()) < rows[0].keys()
    assert np.isfinite(predict(model, rows, 8)[0][0]).all()


def test_a_model_that_learnt_from_embeddings_sees_pictures(store: Store, made: Any) -> None:
    for visual in ("resnet50", "both"):
        learnt, other = trial(made, visual, embedded=True), trial(made, visual, embedded=False)
        model = pretrained(learnt)
        audio = np.random.default_rng(0).normal(0, 0.1, (4, 4 * 24_000)).astype(np.float32)
        pictures = prepared(store, other, "val")[0]["frames"][:8]
        found = predict_clip(model, audio, pictures)
        np.testing.assert_allclose(found, predict_clip(pretrained(other), audio, pictures), atol=1e-6)
        assert np.abs(found - predict_clip(model, audio)).max() > 1e-4


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs.frame_rate_hz": 1.0}, r"was made with inputs.frame_rate_hz = 2.0, not 1.0"),
        ({"inputs.frame_height": 16}, r"was made with inputs.frame_height = 32, not 16"),
        ({"visual.pool_columns": 4}, r"was made with visual.pool_columns = 2, not 4"),
        ({"visual.depths": [1, 1, 1, 2]}, r"was made with visual.depths = \[1, 1, 1, 1\], not \[1, 1, 1, 2\]"),
    ],
)
def test_embeddings_of_other_settings_are_refused(
    store: Store, made: Any, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        preparation([trial(made, "resnet50", True, **changes)], store.manifest.sha256)


def test_embeddings_of_other_data_weights_and_windows_are_refused(store: Store, made: Any, tmp_path: Path) -> None:
    config = trial(made, "resnet50", True)
    with pytest.raises(UserError, match=rf"is of the data {store.manifest.sha256[:12]}, not of {'0' * 12}"):
        preparation([config], "0" * 64)
    state = load_file(made["resnet50"]["weights"])
    state["bn1.bias"] = state["bn1.bias"] + 1
    save_file(state, tmp_path / "other.safetensors", metadata={"kind": "resnet"})
    other = override(config, {"visual.weights": str(tmp_path / "other.safetensors")})
    with pytest.raises(UserError, match=r"was made with other weights \(SHA-256 .*name those it was made with"):
        preparation([other], store.manifest.sha256)
    nowhere = override(config, {"visual.embeddings": str(tmp_path)})
    with pytest.raises(UserError, match="no embeddings at"):
        preparation([nowhere], store.manifest.sha256)
    longer = trial(made, "i3d", True, **{"inputs.window_s": 4.0})
    with pytest.raises(UserError, match=r"was made with inputs.window_s = 3.0, not 4.0"):
        preparation([longer], store.manifest.sha256)


def test_trials_of_a_sweep_share_their_embeddings(store: Store, made: Any, tmp_path: Path) -> None:
    copy = embed(store, out=str(tmp_path / "copy"))
    assert copy["manifest"] == made["resnet50"]["manifest"]
    config = trial(made, "resnet50", True)
    apart = override(config, {"visual.embeddings": copy["uri"]})
    with pytest.raises(UserError, match=r"visual.embeddings = .*copy', and .* elsewhere: .*name one for all"):
        preparation([config, apart], store.manifest.sha256)
    mixed = preparation([config, trial(made, "i3d", False)], store.manifest.sha256)
    (shard,) = store.split("val").shards
    row = mixed(read_shard(store, shard, mixed.columns)[0])
    assert {"frames", "resnet_embeddings"} < row.keys()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"visual.frozen": False}, r"visual.frozen = False: .*set visual.frozen=true"),
        ({"visual.name": "both", "visual.resnet.embeddings": "x"}, "visual.frozen = False"),
        ({"inputs.train_hop_s": 0.3}, r"inputs.train_hop_s = 0.3: .*start each 0.5 s"),
        ({"inference.hop_s": 0.7}, r"inference.hop_s = 0.7: .*start each 0.5 s"),
        ({"inputs.window_s": 2.0, "inputs.train_hop_s": 0.5, "inference.hop_s": 0.5}, None),
    ],
)
def test_configs_that_cannot_use_embeddings(made: Any, changes: dict[str, Any], message: str | None) -> None:
    if message is None:
        trial(made, "i3d", True, **changes)
        return
    with pytest.raises(UserError, match=message):
        trial(made, "i3d", True, **changes)


def test_both_encoders_see_alike(made: Any) -> None:
    with pytest.raises(UserError, match=r"visual.i3d.embeddings = None: both encoders see embeddings or neither"):
        trial(made, "both", True, **{"visual.i3d.embeddings": None})


# --- on Ray -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with own_ray(num_cpus=2, object_store_memory=200_000_000):
        yield


class OneWorker:
    rank, world_size, device = 0, 1, torch.device("cpu")

    def __init__(self, rows: dict[str, list[dict[str, Any]]]) -> None:
        self.reports: list[dict[str, float]] = []
        self._rows = rows

    def feed(self, split: str) -> HeldRows:
        return HeldRows(self._rows[split])

    def report(self, metrics: dict[str, float]) -> Decision:
        self.reports.append(metrics)
        return GO_ON

    def sum(self, values: np.ndarray) -> np.ndarray:
        return values


@pytest.mark.slow
def test_a_store_is_embedded_on_ray_and_trained_from(
    cluster: None, store: Store, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from data.feeding.stream import materialise, read_split, rows_of
    from infra.commands.data import data_app

    monkeypatch.setenv("SELDTUNE_HOME", str(tmp_path / "home"))
    out = str(tmp_path / "embedded")
    sets = [f"visual.{name}={json.dumps(value)}" for name, value in RESNET.items()]
    sets += [f"{name}={value}" for name, value in SEEN.items() if name != "inputs.frame_rate_hz"]
    arguments = ["embed", store.root, "--random-weights", "3", "--frame-rate-hz", "2", "--out", out]
    arguments += [part for assignment in sets for part in ("--set", assignment)]
    first = CliRunner().invoke(data_app, [*arguments, "--json"], catch_exceptions=False)
    document = json.loads(first.stdout)
    # Made by actors of Ray, or in this process: the same to the last bit.
    assert document["manifest"] == made["resnet50"]["manifest"]
    assert document["computed"] == made["resnet50"]["vectors"]
    second = CliRunner().invoke(data_app, arguments, catch_exceptions=False)
    assert f"--set visual.embeddings={out} " in second.stdout
    assert " 0 of them computed" in second.stdout

    config = trial({"resnet50": document}, "resnet50", True)
    prepare = preparation([config], store.manifest.sha256)
    rows = {s: rows_of(materialise(read_split(store, s, prepare))) for s in ("train", "val")}
    sighted = next(row for row in rows["train"] if row["has_video"])
    assert sighted["resnet_embeddings"].dtype == np.float16
    assert not sighted["resnet_embeddings"].flags.owndata
    assert "frames" not in sighted
    session = OneWorker(rows)
    mean, std = np.zeros((7, 1, 16), np.float32), np.ones((7, 1, 16), np.float32)
    train_trial(config, session, TrialStore(str(tmp_path / "trial")), mean, std, {"data": store.manifest.sha256})
    assert [report["epoch"] for report in session.reports] == [1]
    assert np.isfinite(session.reports[0]["train_loss"])
    pictures = trial({"resnet50": document}, "resnet50", False)
    others = {s: [PrepareRow(config.inputs, ["frames"])(raw) for raw in all_rows(store, s)] for s in ("train", "val")}
    seen = OneWorker(others)
    train_trial(pictures, seen, TrialStore(str(tmp_path / "other")), mean, std, {})
    assert session.reports[0]["train_loss"] == pytest.approx(seen.reports[0]["train_loss"], rel=1e-3)
    assert session.reports[0]["val_loss"] == pytest.approx(seen.reports[0]["val_loss"], rel=1e-3)


def all_rows(store: Store, split: str) -> list[dict[str, Any]]:
    return [row for shard in open_store(store.root).split(split).shards for row in read_shard(store, shard)]


@pytest.mark.slow
def test_a_fault_in_an_actor_is_one_line(cluster: None, tmp_path: Path) -> None:
    small = make_store(tmp_path, {"train": [("a", 1.0, 1.0)]})
    path = tmp_path / small.split("train").shards[0].path
    content = bytearray(path.read_bytes())
    content[content.find(b"\xff\xd8\xff") + 300] ^= 255  # inside the first picture
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"part-.*parquet is corrupted") as refused:
        embed_data(request(small), ray_embed, no_gpu)
    assert "\n" not in str(refused.value)
