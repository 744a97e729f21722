"""The training loop with a session of the test's own: no Ray, tiny model, random rows."""

from __future__ import annotations

import math
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing as multiprocessing
from torch import nn

from data.errors import UserError
from data.feed import HeldRows
from data.labels import Events, adpit_target
from data.windows import WindowSampler
from trainables.accdoa import adpit_loss
from trainables.bundle import load_bundle
from trainables.checkpoint import EXAMPLE_NAME, TrialStore
from trainables.config import (
    AdamW,
    AugmentConfig,
    AvConformer,
    CnnConformer,
    ConformerConfig,
    Cosine,
    InputConfig,
    ResNetConformer,
    TrainingConfig,
    TrialConfig,
)
from trainables.config_tree import override
from trainables.evaluate import THRESHOLD_GRID, predict
from trainables.loop import OBJECTIVE, REPORT_KEYS, Diverged, train
from trainables.model import SeldModel

INPUTS = InputConfig(n_fft=1024, hop=600, n_mels=16, frame_width=32, frame_height=16, frame_rate_hz=2.0)
CONFORMER = ConformerConfig(layers=1, heads=2, feed_forward=16, kernel=3)
CONFIG = TrialConfig(
    inputs=INPUTS,
    audio=CnnConformer(channels=(8, 16), time_strides=(2, 2), frequency_strides=(4, 2), conformer=CONFORMER),
    schedule=Cosine(),
    optimiser=AdamW(lr=3e-3),
    augment=AugmentConfig(channel_swaps=True, time_mask_frames=8, mel_mask_bands=2),
    training=TrainingConfig(epochs=4, batch_size=8, epoch_windows=32, seed=3),
)


def make_rows(split: str, count: int, seed: int) -> list[dict[str, Any]]:
    """Rows whose sound says where one source is, loudly: a band for each class, intensity for the direction."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        frames = np.arange(100)
        class_index, azimuth = rng.integers(4, size=10).repeat(10), rng.uniform(-180, 180, 10).repeat(10)
        events = Events.build(frames, class_index, np.zeros(100), azimuth, np.zeros(100))
        features = rng.normal(0, 0.1, (7, 100, INPUTS.n_mels)).astype(np.float32)
        band = class_index * 4
        for t in range(100):
            features[:4, t, band[t] : band[t] + 4] += 2.0
            features[4, t, band[t] : band[t] + 4] = math.sin(math.radians(azimuth[t]))
            features[6, t, band[t] : band[t] + 4] = math.cos(math.radians(azimuth[t]))
        rows.append(
            {
                "recording": f"{split}{i}",
                "room": split,
                "start_frame": 0,
                "num_frames": 100,
                "features": features.repeat(INPUTS.features_per_label, axis=1),
                "target": adpit_target(events, 100),
                "events": np.stack([c.astype(np.float64) for c in events.columns()], axis=1),
                "frames": rng.integers(0, 255, (20, 16, 32, 3), dtype=np.uint8),
                "has_video": True,
            }
        )
    return rows


ROWS = {"train": make_rows("train", 6, 0), "val": make_rows("val", 3, 1)}
MEAN, STD = np.zeros((7, 1, INPUTS.n_mels), np.float32), np.ones((7, 1, INPUTS.n_mels), np.float32)


class OneWorker:
    rank, world_size, device = 0, 1, torch.device("cpu")

    def __init__(self, stop_after: int | None = None) -> None:
        self.reports: list[dict[str, float]] = []
        self._stop_after = stop_after

    def feed(self, split: str) -> HeldRows:
        return HeldRows(ROWS[split])

    def report(self, metrics: dict[str, float]) -> bool:
        self.reports.append(metrics)
        return metrics["epoch"] != self._stop_after

    def sum(self, values: np.ndarray) -> np.ndarray:
        return values


def run(config: TrialConfig, folder: Path, stop_after: int | None = None) -> list[dict[str, float]]:
    session = OneWorker(stop_after)
    train(config, session, TrialStore(str(folder)), MEAN, STD, {"data": "test"})
    return session.reports


def numbers(reports: list[dict[str, float]]) -> list[dict[str, float]]:
    """Reports without what a clock measured."""
    return [{k: v for k, v in report.items() if k not in ("windows_per_s", "epoch_s")} for report in reports]


def test_it_learns_and_reports_every_epoch(tmp_path: Path) -> None:
    reports = run(override(CONFIG, {"training.epochs": 12, "training.epoch_windows": 64}), tmp_path)
    assert [report["epoch"] for report in reports] == list(range(1, 13))
    assert all(set(report) == set(REPORT_KEYS) for report in reports)
    assert reports[-1]["train_loss"] < 0.7 * reports[0]["train_loss"]


def test_a_stopped_trial_continues_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole = run(CONFIG, tmp_path / "whole")
    first = run(CONFIG, tmp_path / "split", stop_after=2)
    assert [r["epoch"] for r in first] == [1, 2]
    again = run(CONFIG, tmp_path / "split")
    # The last report is repeated, since nobody can know whether it arrived.
    assert [r["epoch"] for r in again] == [2, 3, 4]
    assert numbers(first + again[1:]) == numbers(whole)


def test_a_finished_trial_reports_its_end_and_trains_no_more(tmp_path: Path) -> None:
    run(CONFIG, tmp_path)
    assert [r["epoch"] for r in run(CONFIG, tmp_path)] == [4]


def test_an_unreadable_checkpoint_costs_one_epoch_not_the_trial(tmp_path: Path) -> None:
    whole = run(CONFIG, tmp_path)
    newest = max((tmp_path / "checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:100])
    again = run(CONFIG, tmp_path)
    assert numbers(again) == numbers(whole[2:])


def test_best_model_is_kept_with_what_it_predicted(tmp_path: Path) -> None:
    reports = run(override(CONFIG, {"training.epochs": 6, "training.epoch_windows": 64}), tmp_path)
    best = min(reports, key=lambda r: r[OBJECTIVE])
    assert reports[-1]["best_epoch"] == best["epoch"]
    folders = list((tmp_path / "best").iterdir())
    assert [f.name for f in folders] == [f"epoch-{best['epoch']:04.0f}"]
    model, _, extra = load_bundle(folders[0])
    assert extra["data"] == "test"
    assert extra["validation"][OBJECTIVE] == best[OBJECTIVE]
    example = np.load(folders[0] / EXAMPLE_NAME)
    row = next(r for r in ROWS["val"] if r["recording"] == str(example["recording"]))
    np.testing.assert_allclose(predict(model, [row])[0][0], example["output"], atol=1e-6)


def test_two_checkpoints_are_kept(tmp_path: Path) -> None:
    run(CONFIG, tmp_path)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["epoch-0003.pt", "epoch-0004.pt"]


def test_a_checkpoint_of_another_config_is_not_continued(tmp_path: Path) -> None:
    run(CONFIG, tmp_path)
    with pytest.raises(RuntimeError, match="another config"):
        run(override(CONFIG, {"optimiser.lr": 1e-4}), tmp_path)


def test_a_loss_that_is_no_number_fails_with_step_and_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poisoned = [{**ROWS["train"][0], "features": np.full_like(ROWS["train"][0]["features"], np.nan)}]
    monkeypatch.setitem(ROWS, "train", poisoned)
    with pytest.raises(Diverged, match=r"step 0 \(epoch 1.*cnn_conformer"):
        run(override(CONFIG, {"training.epoch_windows": 8}), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_model_that_does_not_see_gets_no_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    original = WindowSampler.epoch
    monkeypatch.setattr(
        WindowSampler,
        "epoch",
        lambda self, epoch: (seen.append("frames" in batch) or batch for batch in original(self, epoch)),
    )
    run(override(CONFIG, {"training.epochs": 1}), tmp_path / "blind")
    assert set(seen) == {False}
    seen.clear()
    visual = ResNetConformer(block="basic", depths=(1, 1, 1, 1), width=8, conformer=CONFORMER)
    seeing = TrialConfig(
        inputs=INPUTS,
        audio=CONFIG.audio,
        visual=visual,
        fusion=AvConformer(conformer=CONFORMER),
        training=TrainingConfig(epochs=1, batch_size=8, epoch_windows=16),
    )
    run(seeing, tmp_path / "seeing")
    assert set(seen) == {True}


def test_with_every_augmentation_on_a_model_that_sees_trains_and_continues(tmp_path: Path) -> None:
    """Some rows without video, windows that reach past the end, and a stop in between."""
    rows = [{**row, "has_video": False, "frames": row["frames"][:0]} for row in make_rows("blind", 2, 5)]
    short = {
        **ROWS["train"][0],
        "recording": "short",
        "num_frames": 20,
        "features": ROWS["train"][0]["features"][:, : 20 * INPUTS.features_per_label],
        "target": ROWS["train"][0]["target"][:20],
    }
    everything = AugmentConfig(
        time_mask_frames=8,
        mel_mask_bands=2,
        cutouts=2,
        cutout_frames=8,
        cutout_bands=4,
        frequency_shift_bands=1,
        mixup_alpha=0.5,
    )
    visual = ResNetConformer(block="basic", depths=(1, 1, 1, 1), width=8, conformer=CONFORMER)
    config = TrialConfig(
        inputs=INPUTS,
        audio=CONFIG.audio,
        visual=visual,
        fusion=AvConformer(conformer=CONFORMER),
        augment=everything,
        training=TrainingConfig(epochs=2, batch_size=8, epoch_windows=16),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ROWS, "train", [*ROWS["train"], *rows, short])
        whole = run(config, tmp_path / "whole")
        first = run(config, tmp_path / "split", stop_after=1)
        again = run(config, tmp_path / "split")
        plain = run(override(config, {"augment.mixup_alpha": 0.0}), tmp_path / "plain")
    assert numbers(first + again[1:]) == numbers(whole)
    assert numbers(plain) != numbers(whole)
    assert all(math.isfinite(value) for report in whole for value in report.values())


# --- two workers ------------------------------------------------------------------------------------------------------


def gradients_of_worker(rank: int, world: int, port: int, norm: bool, out: str) -> None:
    """One step's gradients on this worker's part of the global batch, as the loop makes them."""
    from torch.nn.parallel import DistributedDataParallel

    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    model = plain_model(norm)
    wrapped = DistributedDataParallel(model)
    batch = next(WindowSampler(ROWS["train"], 8, swap=True, rank=rank, world_size=world).epoch(1))
    if rank == 0:
        batch["valid"][0, 10:] = False  # workers that differ in valid frames must still agree with one worker
    valid = torch.from_numpy(batch["valid"])
    total = valid.sum()
    torch.distributed.all_reduce(total)
    loss = adpit_loss(wrapped(torch.from_numpy(batch["features"])), torch.from_numpy(batch["target"]), valid)
    (loss * (valid.sum() / total) * world).backward()
    state = {f"grad.{n}": p.grad for n, p in model.named_parameters()} | dict(model.named_buffers())
    torch.save(state, f"{out}/{rank}.pt")
    torch.distributed.destroy_process_group()


def plain_model(norm: bool) -> nn.Module:
    """The model in training mode without dropout; with `norm` false, without batch normalisation as well."""
    torch.manual_seed(0)
    model = SeldModel(override(CONFIG, {"audio.conformer.dropout": 0.0, "fusion.conformer.dropout": 0.0}))
    if not norm:
        for module in list(model.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
                    setattr(module, name, nn.Identity())
    return model.train()


def both_workers(tmp_path: Path, norm: bool) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    multiprocessing.spawn(gradients_of_worker, (2, port, norm, str(tmp_path)), nprocs=2)
    return torch.load(tmp_path / "0.pt"), torch.load(tmp_path / "1.pt")


def gradients_of_one(norm: bool) -> dict[str, torch.Tensor]:
    model = plain_model(norm)
    batch = next(WindowSampler(ROWS["train"], 8, swap=True).epoch(1))
    batch["valid"][0, 10:] = False
    loss = adpit_loss(
        model(torch.from_numpy(batch["features"])), torch.from_numpy(batch["target"]), torch.from_numpy(batch["valid"])
    )
    loss.backward()
    return {f"grad.{n}": p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.slow
def test_two_workers_make_one_workers_gradients_without_batch_norm(tmp_path: Path) -> None:
    first, second = both_workers(tmp_path, norm=False)
    alone = gradients_of_one(norm=False)
    assert len(alone) > 20
    for name, gradient in alone.items():
        torch.testing.assert_close(first[name], gradient, rtol=0, atol=1e-4)
        torch.testing.assert_close(second[name], first[name], rtol=0, atol=0)
    assert max(float(g.abs().max()) for g in alone.values()) > 1e-3


@pytest.mark.slow
def test_batch_norm_sees_each_workers_own_part(tmp_path: Path) -> None:
    first, second = both_workers(tmp_path, norm=True)
    alone = gradients_of_one(norm=True)
    # Gradients are averaged, so the workers agree with each other, but not with one worker that normalises by all.
    assert all(torch.equal(first[name], second[name]) for name in alone)
    assert any(float((first[name] - alone[name]).abs().max()) > 1e-4 for name in alone)
    # Running averages are those of each worker's own windows; the checkpoint holds worker 0's.
    means = [name for name in first if name.endswith("running_mean")]
    assert means
    assert any(not torch.equal(first[name], second[name]) for name in means)


@pytest.mark.slow
def test_a_compiled_network_trains_to_the_same_numbers(tmp_path: Path) -> None:
    """`torch.compile` with its default backend, which needs a C++ compiler; checkpoints do not depend on it."""
    short = override(CONFIG, {"training.epochs": 2})
    plain = run(short, tmp_path / "plain")
    compiled = run(override(short, {"training.compile": True}), tmp_path / "compiled")
    assert compiled[-1]["train_loss"] == pytest.approx(plain[-1]["train_loss"], rel=1e-2)
    state = TrialStore(str(tmp_path / "compiled")).latest()
    assert state is not None
    SeldModel(short).load_state_dict(state["model"])


def test_bf16_trains(tmp_path: Path) -> None:
    plain = run(override(CONFIG, {"training.epochs": 2}), tmp_path / "plain")
    half = run(override(CONFIG, {"training.epochs": 2, "training.precision": "bf16"}), tmp_path / "half")
    assert half[-1]["train_loss"] != plain[-1]["train_loss"]
    assert half[-1]["train_loss"] == pytest.approx(plain[-1]["train_loss"], rel=0.1)


def test_tuned_thresholds_are_kept_with_the_best_model(tmp_path: Path) -> None:
    tuned = override(CONFIG, {"inference.tune_thresholds": True, "training.epochs": 3})
    reports = run(tuned, tmp_path / "tuned")
    plain = run(override(tuned, {"inference.tune_thresholds": False}), tmp_path / "plain")
    # What a trial is judged by does not see them.
    assert numbers(reports) == numbers(plain)
    best = int(reports[-1]["best_epoch"])
    extra = load_bundle(tmp_path / "tuned" / "best" / f"epoch-{best:04d}")[2]
    assert len(extra["thresholds"]) == 13
    assert set(extra["thresholds"]) <= {0.5, *THRESHOLD_GRID}
    assert len(set(extra["thresholds"])) > 1
    assert load_bundle(tmp_path / "plain" / "best" / f"epoch-{best:04d}")[2]["thresholds"] == [0.5] * 13


def test_distances_need_distances_in_the_data(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^output\.name = 'multi_accddoa' needs a distance .*train0.*'multi_accdoa'"):
        run(override(CONFIG, {"output.name": "multi_accddoa"}), tmp_path)
