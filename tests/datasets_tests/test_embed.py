"""Embedding a store: what trials find is what they would have computed, once, whatever interrupts the making."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner

from data.errors import UserError
from data.feeding.contract import as_looked_at
from data.feeding.feed import HeldRows
from data.feeding.windows import Sampling, WindowSampler, evaluation_windows
from data.labels import Events
from data.scenes.video import encode_jpeg
from data.stores.chunks import (
    Store,
    open_store,
    read_shard,
)
from data.stores.embeddings import open_embeddings
from data.stores.rows import cut_rows
from data.swaps import NUM_SWAPS
from infra.bench.search.own_ray import own_ray
from infra.datasets.embed import EmbedRequest, embed_data
from infra.datasets.embedder import Embedder, Job, PartRecord, RowTask, ray_embed
from infra.sweep.data import preparation
from support.stores import publish
from trainables.config import TrialConfig
from trainables.config.tree import from_dict, override
from trainables.evaluation.evaluate import predict
from trainables.evaluation.inference import predict_clip
from trainables.inputs import prepare as prepare_module
from trainables.inputs.prepare import PrepareRow
from trainables.networks.model import SeldModel
from trainables.networks.pretrained import load_pretrained
from trainables.parts.outputs.multi_accdoa import adpit_loss
from trainables.parts.visual.modules import seen_in
from trainables.training.checkpoint import TrialStore
from trainables.training.decision import GO_ON, Decision
from trainables.training.loop import train_trial

CONFORMER = {"layers": 1, "heads": 2, "feed_forward": 16, "kernel": 3, "dropout": 0.0}
INPUTS = {"n_fft": 1024, "hop": 600, "n_mels": 16, "frame_width": 64, "frame_height": 32, "frame_rate_hz": 2.0}
SEEN = {f"inputs.{name}": INPUTS[name] for name in ("frame_width", "frame_height", "frame_rate_hz")}
RESNET: dict[str, Any] = {"block": "basic", "depths": [1, 1, 1, 1], "width": 8}
NETWORKS: dict[str, dict[str, Any]] = {"resnet50": RESNET, "i3d": {"width": 0.05}}
NAMES = {"resnet50": "resnet_conformer", "i3d": "i3d"}
COLUMNS = {"resnet50": "resnet_embeddings", "i3d": "i3d_embeddings"}
# Half a place of float16, and what another order of adding does to float32.
CLOSE = {"rtol": 2**-10, "atol": 1e-5}


def make_store(root: Path, clips: dict[str, Sequence[tuple[str, float, float]]], still: bool = False) -> Store:
    """Split -> recordings: name, seconds of sound, seconds of video (noisy pictures, or one that stands still)."""
    contents = {}
    for number, (split, recordings) in enumerate(clips.items()):
        rows = []
        for name, sound_s, video_s in recordings:
            rng = np.random.default_rng([number, len(rows)])
            audio = (rng.standard_normal((4, int(sound_s * 24_000))) * 1000).astype(np.int16)
            frame = np.arange(int(sound_s * 10))
            events = Events.build(frame, frame // 7 % 3, frame * 0, frame % 360 - 180.0, frame % 90, frame + 100.0)
            count = int(video_s * 10)
            moving = rng.integers(0, 256, (1 if still else count, 4, 8, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
            pictures = [encode_jpeg(picture) for picture in moving] * (count if still else 1)
            rows += cut_rows(name, f"room-{split}", audio, events, pictures)
        contents[split] = [rows]
    return publish(root, contents, {"still": still})


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two rows whose second has video for half of its time, a recording without any, a short one."""
    return make_store(
        tmp_path_factory.mktemp("store"),
        {"train": [("long", 63.0, 61.5), ("blind", 4.0, 0.0)], "val": [("short", 4.2, 4.2)]},
    )


def local(job: Job, tasks: Sequence[RowTask]) -> Iterator[tuple[str, PartRecord]]:
    return map(Embedder(job).embed_row, tasks)


def no_gpu() -> bool:
    return False


def request(store: Store, encoder: str = "resnet50", **changes: Any) -> EmbedRequest:
    fixed = SEEN | {f"visual.{name}": value for name, value in NETWORKS[encoder].items()}
    given = {"random_weights": 3} if "weights" not in changes else {}
    return EmbedRequest(data=store.root, encoder=encoder, **{"fixed": fixed, **given, **changes})


def embed(store: Store, encoder: str = "resnet50", **changes: Any) -> dict[str, Any]:
    return embed_data(request(store, encoder, **changes), local, no_gpu)


@pytest.fixture(scope="module")
def made(store: Store) -> dict[str, dict[str, Any]]:
    return {encoder: embed(store, encoder) for encoder in NETWORKS}


def trial(made: dict[str, dict[str, Any]], visual: str, embedded: bool, **changes: Any) -> TrialConfig:
    """A trial with that visual encoder, which reads pictures or embeddings."""

    def network(encoder: str) -> dict[str, Any]:
        own = {"weights": made[encoder]["weights"], "frozen": True, **NETWORKS[encoder]}
        own |= {"embeddings": made[encoder]["uri"]} if embedded else {}
        return own | ({"conformer": CONFORMER} if encoder == "resnet50" else {})

    if visual == "both":
        seeing = {"name": "both", "resnet": network("resnet50"), "i3d": network("i3d")}
    else:
        seeing = {"name": NAMES[visual], **network(visual)}
    audio = {
        "name": "cnn_conformer",
        "channels": [8, 16],
        "time_strides": [2, 2],
        "frequency_strides": [4, 2],
        "conformer": CONFORMER,
    }
    tree = {
        "inputs": INPUTS,
        "audio": audio,
        "visual": seeing,
        "fusion": {"name": "gru", "dropout": 0.0},
        # A kink at zero would turn a difference in the last place into a gradient that is there or not.
        "head": {"activation": "none"},
        "augment": {"channel_swaps": True},
        "training": {"epochs": 1, "batch_size": 8, "epoch_windows": 16, "seed": 3},
    }
    return override(from_dict(tree), changes)


def prepared(store: Store, config: TrialConfig, split: str = "train") -> list[dict[str, Any]]:
    prepare = preparation([config], store.manifest.sha256)
    (shard,) = store.split(split).shards
    rows = read_shard(store, shard, prepare.columns)
    return as_looked_at(map(prepare, rows), config.visual.columns)


def pretrained(config: TrialConfig) -> SeldModel:
    torch.manual_seed(1)
    model = SeldModel(config)
    load_pretrained(model, config)
    return model


def tensors(batch: dict[str, Any]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in batch.items()}


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
        loss = adpit_loss(model(batch["features"], seen, batch["has_video"]), batch["target"], batch["valid"])
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


# --- what is computed and stored --------------------------------------------------------------------------------------


def test_what_is_shown_twice_is_computed_once(tmp_path: Path, store: Store, made: Any) -> None:
    still = make_store(tmp_path / "still", {"train": [("a", 6.0, 6.0)]}, still=True)
    for encoder in NETWORKS:
        assert embed(still, encoder)["vectors"] == NUM_SWAPS
    # At 2 Hz: 61.5 s of a row of 62.5, 1.5 of one of 3, and 4.2 s.
    assert made["resnet50"]["vectors"] == NUM_SWAPS * (123 + 3 + 9)
    assert made["resnet50"]["rows"] == 3
    assert made["resnet50"]["computed"] == made["resnet50"]["vectors"]


def test_the_manifest_says_what_is_there(store: Store, made: Any) -> None:
    document = json.loads((Path(made["i3d"]["uri"]) / "manifest.json").read_text())
    assert document["of"]["data_sha256"] == store.manifest.sha256
    assert document["of"]["encoder"] == {"name": "i3d", "width": 0.05}
    assert document["of"]["pictures"] == {**{k[7:]: v for k, v in SEEN.items()}, "window_s": 3.0, "hop_s": 0.5}
    assert document["of"]["weights_sha256"] == made["i3d"]["weights_sha256"]
    assert document["random_seed"] == 3
    assert document["dtype"] == "float16"
    assert document["key"] == Path(made["i3d"]["uri"]).name == made["i3d"]["key"]
    assert document["bytes"] == made["i3d"]["bytes"] > 0
    assert [part["recording"] for part in document["splits"]["train"]] == ["long", "long"]
    assert sorted(p.name for p in Path(made["i3d"]["uri"]).iterdir() if not p.name.startswith("records")) == [
        "manifest.json",
        "train",
        "val",
        "weights.safetensors",
    ]
    assert open_embeddings(made["i3d"]["uri"]).manifest.shape == tuple(document["shape"])


def test_it_is_not_done_twice(store: Store, made: Any) -> None:
    def never(*_: Any) -> Any:
        raise AssertionError("nothing is left to compute")

    again = embed_data(request(store), never, never)
    assert again["computed"] == 0
    assert {k: again[k] for k in ("uri", "manifest", "weights", "use")} == {
        k: made["resnet50"][k] for k in ("uri", "manifest", "weights", "use")
    }


def test_a_store_without_its_parts_is_not_taken_for_done(tmp_path: Path) -> None:
    small = make_store(tmp_path / "small", {"train": [("a", 4.0, 4.0)]})
    made = embed(small)
    part = open_embeddings(made["uri"]).manifest.parts()[0]
    (Path(made["uri"]) / part.shard.path).unlink()
    with pytest.raises(UserError, match=r"part-.* is missing"):
        embed(small)


def test_weights_are_known_by_their_numbers(store: Store, made: Any, tmp_path: Path) -> None:
    """The same ones from another file make the same embeddings; the file's own provenance is kept."""
    state = load_file(made["resnet50"]["weights"])
    torch.save({**state, "fc.weight": torch.zeros(3, 3)}, tmp_path / "published.pth")
    assert embed(store, weights=str(tmp_path / "published.pth"))["computed"] == 0
    state["bn1.bias"] = state["bn1.bias"] + 1
    changed = str(tmp_path / "other.safetensors")
    save_file(state, changed, metadata={"kind": "resnet", "source": "somewhere"})
    other = embed(make_store(tmp_path / "small", {"train": [("a", 1.0, 1.0)]}), weights=changed)
    assert other["weights_sha256"] != made["resnet50"]["weights_sha256"]
    assert open_embeddings(other["uri"]).manifest.provenance == {"kind": "resnet", "source": "somewhere"}
    assert open_embeddings(other["uri"]).manifest.random_seed is None


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path) -> None:
    clips = {"train": [(f"c{i}", 1.0, 1.0) for i in range(4)]}
    whole = embed(make_store(tmp_path / "a", clips))

    def breaks(job: Job, tasks: Sequence[RowTask]) -> Iterator[tuple[str, PartRecord]]:
        for number, done in enumerate(local(job, tasks)):
            if number == 2:
                raise KeyboardInterrupt
            yield done

    other = make_store(tmp_path / "b", clips)
    with pytest.raises(KeyboardInterrupt):
        embed_data(request(other), breaks, no_gpu)
    again = embed(other)
    assert again["manifest"] == whole["manifest"]
    assert 0 < again["computed"] < whole["computed"]
    assert not list(Path(again["uri"]).glob("records/*"))


PROGRAM = """
import sys, time
sys.path[:0] = {tests!r}
import test_embed as t
from data.stores.chunks import open_store
def slow(job, tasks):
    for done in t.local(job, tasks):
        yield done
        print("row", flush=True)
        time.sleep({pause})
print(t.embed_data(t.request(open_store({root!r})), slow, t.no_gpu)["manifest"], flush=True)
"""


@pytest.mark.slow
def test_a_killed_process_costs_a_row_and_nothing_else(tmp_path: Path) -> None:
    clips = {"train": [(f"c{i}", 2.0, 2.0) for i in range(5)]}
    manifests = []
    for name, kills in (("whole", 0), ("killed", 2)):
        root = str(make_store(tmp_path / name, clips).root)
        for attempt in range(kills + 1):
            program = PROGRAM.format(
                tests=[str(p) for p in Path(__file__).parents[:2]], root=root, pause=1.0 if attempt < kills else 0.0
            )
            with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                if attempt < kills:
                    assert process.stdout.readline() == "row\n"
                    time.sleep(0.3)
                    process.send_signal(signal.SIGKILL)
                    continue
                *rows, manifest = process.stdout.read().split("\n")[:-1]
                manifests.append(manifest)
        if kills:
            assert 0 < len(rows) < 4
    assert len(manifests[0]) == 64
    assert manifests[0] == manifests[1]
    assert not list((tmp_path / "killed").rglob("*.tmp*"))


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"random_weights": None}, r"--weights .*--random-weights SEED; got neither"),
        ({"random_weights": 1, "weights": "w.pth"}, "got both"),
        ({"encoder": "resnet18"}, r"--encoder 'resnet18' is not known; choose one of resnet50, i3d"),
        ({"precision": "bf16"}, r"--precision 'bf16' is not known; choose one of fp32, fp16"),
        ({"precision": "fp16"}, r"--precision fp16 needs a GPU"),
        ({"fixed": {"audio.width": 3}}, r"--set audio.width: .*visual and inputs alone"),
        ({"fixed": {"visual.name": "i3d"}}, r"choose the network with --encoder"),
        ({"weights": "nowhere.pth", "random_weights": None}, r"'nowhere.pth' cannot be read"),
    ],
)
def test_what_cannot_be_embedded_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", no_gpu)
    small = make_store(tmp_path, {"train": [("a", 1.0, 1.0)]})
    with pytest.raises(UserError, match=message):
        embed_data(dataclasses.replace(request(small), **changes), local, no_gpu)
    assert not list(tmp_path.rglob("embeddings/*/manifest.json"))


def test_weights_of_another_network_are_refused(store: Store, made: Any) -> None:
    with pytest.raises(UserError, match=r"I3D.* a torchvision ResNet .* is expected there"):
        embed(store, weights=made["i3d"]["weights"])
    deeper = {**SEEN, "visual.block": "basic", "visual.depths": [2, 1, 1, 1], "visual.width": 8}
    with pytest.raises(UserError, match=r"does not fit the configured network: layer1.1.conv1.weight \(missing\)"):
        embed(store, weights=made["resnet50"]["weights"], fixed=deeper)


def test_a_place_with_other_embeddings_is_kept(store: Store, made: Any) -> None:
    with pytest.raises(UserError, match="holds embeddings of another kind; choose another place with --out"):
        embed(store, random_weights=4, out=made["resnet50"]["uri"])
    assert embed(store, out=made["resnet50"]["uri"])["computed"] == 0


def test_data_without_video_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no video, so there is nothing to embed"):
        embed(make_store(tmp_path, {"train": [("a", 1.0, 0.0)]}))


def test_outputs_that_float16_cannot_hold_are_refused(tmp_path: Path, made: Any) -> None:
    state = load_file(made["resnet50"]["weights"])
    state["layer4.0.bn2.bias"] = state["layer4.0.bn2.bias"] + 1e6
    save_file(state, tmp_path / "huge.safetensors", metadata={"kind": "resnet"})
    small = make_store(tmp_path / "small", {"train": [("a", 1.0, 1.0)]})
    with pytest.raises(UserError, match="do not fit float16"):
        embed(small, weights=str(tmp_path / "huge.safetensors"))


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
