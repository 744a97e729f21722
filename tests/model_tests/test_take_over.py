"""A trial that goes on from another's weights, and two workers that train one trial."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as multiprocessing
from torch import nn

from data.feeding.windows import Sampling, WindowSampler
from support.learnable_rows import CONFIG
from support.one_worker import MEAN, ROWS, SHORT, STD, OneWorker, numbers, run
from trainables.config import (
    Adam,
    MultiAccdoa,
    OneCycle,
    TrialConfig,
)
from trainables.config.tree import fingerprint, override, to_dict
from trainables.networks.model import SeldModel
from trainables.training.checkpoint import TrialStore
from trainables.training.decision import GO_ON, Decision, TakeOver
from trainables.training.loop import train_trial
from trainables.training.reports import OBJECTIVE, report_of

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


def gradients_of_worker(rank: int, world: int, norm: bool, out: str) -> None:
    """One step's gradients on this worker's part of the global batch, as the loop makes them."""
    from torch.nn.parallel import DistributedDataParallel

    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{out}/group", rank=rank, world_size=world)
    model = plain_model(norm)
    wrapped = DistributedDataParallel(model)
    batch = next(WindowSampler(ROWS["train"], Sampling(8, swap=True, rank=rank, world_size=world)).epoch(1))
    if rank == 0:
        batch["valid"][0, 10:] = False  # workers that differ in valid frames must still agree with one worker
    valid = torch.from_numpy(batch["valid"])
    total = valid.sum()
    torch.distributed.all_reduce(total)
    loss = MultiAccdoa().loss(wrapped(torch.from_numpy(batch["features"])), torch.from_numpy(batch["target"]), valid)
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
    multiprocessing.spawn(gradients_of_worker, (2, norm, str(tmp_path)), nprocs=2)
    return torch.load(tmp_path / "0.pt"), torch.load(tmp_path / "1.pt")


def gradients_of_one(norm: bool) -> dict[str, torch.Tensor]:
    model = plain_model(norm)
    batch = next(WindowSampler(ROWS["train"], Sampling(8, swap=True)).epoch(1))
    batch["valid"][0, 10:] = False
    loss = MultiAccdoa().loss(
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


def take_over_on_worker(rank: int, folder: str) -> None:
    """A take-over that succeeds, and one whose donor's checkpoint one of the workers finds gone."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
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
    multiprocessing.spawn(take_over_on_worker, (str(tmp_path),), nprocs=2)
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
