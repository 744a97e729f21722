"""The training loop with a session of the test's own: no Ray, tiny model, random rows."""

from __future__ import annotations

import dataclasses
import math
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as multiprocessing
from torch import nn

from data.errors import UserError
from data.feeding.feed import HeldRows
from data.feeding.windows import Sampling, WindowSampler
from support.learnable_rows import CONFIG, CONFORMER, INPUTS, make_rows
from trainables.config import (
    Adam,
    AugmentConfig,
    AvConformer,
    OneCycle,
    ResNetConformer,
    TrainingConfig,
    TrialConfig,
)
from trainables.config.tree import fingerprint, override, to_dict
from trainables.evaluation.bundle import load_bundle
from trainables.evaluation.evaluate import THRESHOLD_GRID, predict
from trainables.networks.model import SeldModel
from trainables.parts.outputs.multi_accdoa import adpit_loss
from trainables.training.checkpoint import EXAMPLE_NAME, TrialStore
from trainables.training.decision import GO_ON, STOP, Decision, TakeOver
from trainables.training.loop import train_trial
from trainables.training.reports import LATENCY, OBJECTIVE, REPORT_KEYS, Diverged, report_of

ROWS = {"train": make_rows("train", 6, 0), "val": make_rows("val", 3, 1)}
SHORT = override(CONFIG, {"training.epoch_windows": 8})
"""One step an epoch."""
MEAN, STD = np.zeros((7, 1, INPUTS.n_mels), np.float32), np.ones((7, 1, INPUTS.n_mels), np.float32)


class OneWorker:
    rank, world_size, device = 0, 1, torch.device("cpu")

    def __init__(self, stop_after: int | None = None, decisions: dict[int, Decision] | None = None) -> None:
        self.reports: list[dict[str, float]] = []
        self._stop_after = stop_after
        self._decisions = decisions or {}

    def feed(self, split: str) -> HeldRows:
        return HeldRows(ROWS[split])

    def report(self, metrics: dict[str, float]) -> Decision:
        self.reports.append(metrics)
        told = STOP if metrics["epoch"] == self._stop_after else GO_ON
        return self._decisions.get(int(metrics["epoch"]), told)

    def sum(self, values: np.ndarray) -> np.ndarray:
        return values


def run(
    config: TrialConfig,
    folder: Path,
    stop_after: int | None = None,
    decisions: dict[int, Decision] | None = None,
    attempt: int = 0,
    keep_every: int = 0,
) -> list[dict[str, float]]:
    session = OneWorker(stop_after, decisions)
    train_trial(config, session, TrialStore(str(folder), keep_every), MEAN, STD, {"data": "test"}, attempt)
    return session.reports


def numbers(reports: list[dict[str, float]]) -> list[dict[str, float]]:
    """Reports without what a clock measured."""
    return [{k: v for k, v in report.items() if k not in ("windows_per_s", "epoch_s", LATENCY)} for report in reports]


def test_it_learns_and_reports_every_epoch(tmp_path: Path) -> None:
    reports = run(override(CONFIG, {"training.epochs": 12, "training.epoch_windows": 64}), tmp_path)
    assert [report["epoch"] for report in reports] == list(range(1, 13))
    assert all(report_of(report) == report and set(REPORT_KEYS) <= report.keys() for report in reports)
    assert reports[-1]["train_loss"] < 0.7 * reports[0]["train_loss"]
    assert all(0 < report[LATENCY] < 1000 * report["epoch_s"] for report in reports)


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


# --- taking over from another trial -----------------------------------------------------------------------------------

# The donor trains by another optimiser, rate and schedule; that is all it may differ in.
GOOD = dataclasses.replace(SHORT, optimiser=Adam(lr=1e-3), schedule=OneCycle())


def take_over(donor: TrialConfig, epoch: int, lr: float) -> Decision:
    parts = {part: to_dict(donor)[part] for part in ("optimiser", "schedule")}
    parts["optimiser"]["lr"] = lr
    return Decision(take_over=TakeOver(donor=1, donor_epoch=epoch, changes=parts))


def test_a_trial_goes_on_from_anothers_weights_rate_and_schedule(tmp_path: Path) -> None:
    """It computes from there what the donor would with that rate; its scores, best model and number stay its own."""
    run(GOOD, tmp_path / "00001", keep_every=2)
    reports = run(SHORT, tmp_path / "00000", decisions={2: take_over(GOOD, 2, lr=2e-3)})
    assert [report["epoch"] for report in reports] == [1, 2, 3, 4]
    assert not any("pbt/donor" in report for report in reports[:2])
    for report in reports[2:]:
        assert report_of(report) == report
        assert report["pbt/donor"] == 1
        assert report["pbt/epoch"] == 2
        assert report["pbt/optimiser.lr"] == 2e-3
        assert report["pbt/schedule.rise_fraction"] == 0.3

    # The donor itself, had its own rate been changed after that epoch.
    donor_store = TrialStore(str(tmp_path / "donor"))
    run(GOOD, tmp_path / "donor", stop_after=2)
    state = donor_store.latest()
    assert state is not None
    changed = override(GOOD, {"optimiser.lr": 2e-3})
    donor_store.save(2, {**state, "config": fingerprint(changed)})
    donor = run(changed, tmp_path / "donor")
    for name in ("train_loss", "val_loss", "lr", OBJECTIVE):
        assert [report[name] for report in donor[1:]] == [report[name] for report in reports[2:]]
    best = min(reports, key=lambda report: report[OBJECTIVE])
    bundles = {path.parent.name for path in (tmp_path / "00000" / "best").rglob("*.*")}
    assert bundles == {f"epoch-{best['epoch']:04.0f}"}


def test_a_take_over_outlives_an_interruption_and_is_not_done_twice(tmp_path: Path) -> None:
    told = {2: take_over(GOOD, 2, lr=2e-3)}
    run(GOOD, tmp_path / "00001", keep_every=2)
    whole = run(SHORT, tmp_path / "00000", decisions=told)
    for stop_after in (2, 3):  # right after it was told, where it is told again; and one epoch on
        folder = tmp_path / str(stop_after) / "00000"
        shutil.copytree(tmp_path / "00001", folder.with_name("00001"))
        stopping = {**told, stop_after: dataclasses.replace(told.get(stop_after, GO_ON), go_on=False)}
        run(SHORT, folder, decisions=stopping)
        shutil.rmtree(folder.with_name("00001"))  # what was taken over is the trial's own now
        assert numbers(run(SHORT, folder, decisions=told)[1:]) == numbers(whole[stop_after:])


def test_a_donor_without_that_checkpoint_is_not_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run(GOOD, tmp_path / "00001")
    reports = run(SHORT, tmp_path / "00000", decisions={2: take_over(GOOD, 1, lr=2e-3)})
    assert "checkpoint of epoch 1 is gone; going on unchanged" in caplog.text
    assert numbers(reports) == numbers(run(SHORT, tmp_path / "alone"))


def test_a_donor_of_another_model_is_refused(tmp_path: Path) -> None:
    other = override(SHORT, {"audio.conformer.feed_forward": 32})
    run(other, tmp_path / "00001")
    with pytest.raises(RuntimeError, match="trial 1 differs in more than optimiser and schedule"):
        run(SHORT, tmp_path / "00000", decisions={3: take_over(other, 3, lr=1e-3)})


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
    batch = next(WindowSampler(ROWS["train"], Sampling(8, swap=True, rank=rank, world_size=world)).epoch(1))
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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def both_workers(tmp_path: Path, norm: bool) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    multiprocessing.spawn(gradients_of_worker, (2, free_port(), norm, str(tmp_path)), nprocs=2)
    return torch.load(tmp_path / "0.pt"), torch.load(tmp_path / "1.pt")


def gradients_of_one(norm: bool) -> dict[str, torch.Tensor]:
    model = plain_model(norm)
    batch = next(WindowSampler(ROWS["train"], Sampling(8, swap=True)).epoch(1))
    batch["valid"][0, 10:] = False
    loss = adpit_loss(
        model(torch.from_numpy(batch["features"])), torch.from_numpy(batch["target"]), torch.from_numpy(batch["valid"])
    )
    loss.backward()
    return {f"grad.{n}": p.grad for n, p in model.named_parameters() if p.grad is not None}


class TwoWorkers(OneWorker):
    world_size = 2

    def __init__(self, rank: int, decisions: dict[int, Decision]) -> None:
        super().__init__(decisions=decisions)
        self.rank = rank

    def sum(self, values: np.ndarray) -> np.ndarray:
        tensor = torch.as_tensor(values, dtype=torch.float64)
        torch.distributed.all_reduce(tensor)
        return tensor.numpy()


def take_over_on_worker(rank: int, port: int, folder: str) -> None:
    """A take-over that succeeds, and one whose donor's checkpoint one of the workers finds gone."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    session = TwoWorkers(rank, {epoch: take_over(GOOD, epoch, lr=2e-3) for epoch in (2, 3)})
    store = TrialStore(f"{folder}/00000")
    original = TrialStore.at
    TrialStore.at = lambda self, epoch: None if epoch == 3 and rank == 1 else original(self, epoch)  # type: ignore[method-assign]
    train_trial(SHORT, session, store, MEAN, STD, {})
    torch.save([report.get("pbt/epoch") for report in session.reports], f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_workers_take_over_together_or_not_at_all(tmp_path: Path) -> None:
    run(GOOD, tmp_path / "00001", keep_every=1)
    multiprocessing.spawn(take_over_on_worker, (free_port(), str(tmp_path)), nprocs=2)
    said = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    assert said == [[None, None, 2, 2]] * 2


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
