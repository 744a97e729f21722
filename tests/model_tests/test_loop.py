"""The training loop with a session of the test's own: no Ray, tiny model, random rows."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_leaves

from data.errors import UserError
from data.feeding.windows import WindowSampler
from support.learnable_rows import CONFIG, CONFORMER, INPUTS, make_rows
from support.one_worker import ROWS, SHORT, numbers, run
from trainables.config import (
    AugmentConfig,
    AvConformer,
    ResNetConformer,
    TrainingConfig,
    TrialConfig,
)
from trainables.config.tree import override
from trainables.evaluation.bundle import load_bundle
from trainables.evaluation.evaluate import THRESHOLD_GRID, predict
from trainables.networks.model import SeldModel
from trainables.training.checkpoint import EXAMPLE_NAME, TrialStore
from trainables.training.reports import LATENCY, OBJECTIVE, REPORT_KEYS, Diverged, report_of


def test_it_learns_and_reports_every_epoch(tmp_path: Path) -> None:
    reports = run(override(CONFIG, {"training.epochs": 12, "training.epoch_windows": 64}), tmp_path)
    assert [report["epoch"] for report in reports] == list(range(1, 13))
    assert all(report_of(report) == report and set(REPORT_KEYS) <= report.keys() for report in reports)
    assert reports[-1]["train_loss"] < 0.7 * reports[0]["train_loss"]
    assert all(0 < report[LATENCY] < 1000 * report["epoch_s"] for report in reports)


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_a_stopped_trial_continues_as_if_it_had_not_been(optimiser: str, tmp_path: Path) -> None:
    config = override(CONFIG, {"optimiser.name": optimiser})
    whole = run(config, tmp_path / "whole")
    first = run(config, tmp_path / "split", stop_after=2)
    assert [r["epoch"] for r in first] == [1, 2]
    again = run(config, tmp_path / "split")
    # The last report is repeated, since nobody can know whether it arrived.
    assert [r["epoch"] for r in again] == [2, 3, 4]
    assert numbers(first + again[1:]) == numbers(whole)
    ends = [TrialStore(str(tmp_path / name)).latest() for name in ("whole", "split")]
    one, other = ([tensor.tolist() for tensor in tree_leaves(end) if isinstance(tensor, torch.Tensor)] for end in ends)
    assert one == other


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


def test_checkpoints_that_others_may_go_on_from_stay(tmp_path: Path) -> None:
    run(override(CONFIG, {"training.epochs": 7, "training.epoch_windows": 8}), tmp_path, keep_every=2)
    kept = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert kept == [f"epoch-000{epoch}.pt" for epoch in (2, 4, 6, 7)]


def test_storage_that_fails_is_not_taken_for_a_trial_without_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(override(CONFIG, {"training.epochs": 1}), tmp_path)

    def unreachable(uri: str) -> bytes:
        raise UserError(f"{uri} is out of reach")

    monkeypatch.setattr("data.storage.read_bytes", unreachable)
    with pytest.raises(UserError, match="out of reach"):
        TrialStore(str(tmp_path)).latest()


def test_another_attempt_is_another_try_from_the_same_checkpoint(tmp_path: Path) -> None:
    """What is random after the checkpoint differs, so that what diverged need not diverge again; nothing else does."""
    run(SHORT, tmp_path / "first", stop_after=2)
    tries = []
    for index, attempt in enumerate((0, 1, 1, 2)):
        folder = shutil.copytree(tmp_path / "first", tmp_path / str(index))
        tries.append(numbers(run(SHORT, folder, attempt=attempt)))
    assert tries[1] == tries[2]
    assert tries[0][0] == tries[1][0] == tries[3][0]
    for epoch in (1, 2):
        assert len({reports[epoch]["train_loss"] for reports in tries}) == 3


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


@pytest.mark.slow
def test_a_compiled_network_trains_to_the_same_numbers(tmp_path: Path) -> None:
    """`torch.compile` with its default backend, which needs a C++ compiler; checkpoints do not depend on it."""
    encoder = {"channels": [8], "time_strides": [4], "frequency_strides": [8], "conformer.layers": 0}
    # The smallest network that there is: each kernel more takes the compiler seconds.
    smallest = {f"audio.{name}": value for name, value in encoder.items()} | {"fusion.conformer.layers": 0}
    short = override(CONFIG, {"training.epochs": 2, **smallest})
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
