"""Trials that begin with weights of models trained here: what is taken, and how it is trained on."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils._pytree import tree_leaves

from data.errors import UserError
from support.learnable_rows import CONFIG
from support.one_worker import SHORT, numbers, run
from support.tiny_models import tiny_config
from trainables.config import TrialConfig
from trainables.config.tree import override
from trainables.evaluation.bundle import WEIGHTS_NAME, load_bundle
from trainables.networks.model import SeldModel
from trainables.networks.pretrained import load_pretrained, require_weights
from trainables.training.checkpoint import TrialStore
from trainables.training.learner import Learner


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of a trained model, as its bundle has them."""
    folder = tmp_path_factory.mktemp("trained")
    run(override(SHORT, {"training.epochs": 1, "training.seed": 7}), folder)
    (weights,) = folder.rglob(WEIGHTS_NAME)
    return weights


def after(folder: Path, epoch: int) -> dict[str, torch.Tensor]:
    state = TrialStore(str(folder)).at(epoch)
    assert state is not None
    return state["model"]


def learnt(config: TrialConfig) -> list[str]:
    return [name for name, _ in SeldModel(config).named_parameters()]


def test_a_whole_model_starts_another_and_is_said_with_it(trained: Path, tmp_path: Path) -> None:
    config = override(SHORT, {"training.initial_weights": str(trained), "training.taken_frozen_epochs": 2})
    run(config, tmp_path, keep_every=1)
    source = load_file(trained)
    for epoch, same in ((2, True), (3, False)):
        model = after(tmp_path, epoch)
        assert all(torch.equal(model[name], source[name]) == same for name in learnt(config)), epoch
    (bundle,) = (tmp_path / "best").iterdir()
    (began,) = load_bundle(bundle).extra["began_with"]
    assert (began["field"], began["uri"], began["kind"]) == ("training.initial_weights", str(trained), "own")
    assert began["taken"] == len([key for key in source if not key.startswith("feature_")])
    assert began["left"] == []


def test_an_encoder_is_taken_and_the_rest_learns(trained: Path, tmp_path: Path) -> None:
    config = override(SHORT, {"audio.weights": str(trained), "training.taken_frozen_epochs": 4})
    run(config, tmp_path)
    source, model = load_file(trained), after(tmp_path, 4)
    for name in learnt(config):
        assert torch.equal(model[name], source[name]) == name.startswith("audio."), name


def test_another_network_takes_what_fits(trained: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    config = override(CONFIG, {"training.initial_weights": str(trained), "head.hidden": 20})
    model = SeldModel(config)
    (taken,) = load_pretrained(model, config)
    assert {key.split(".")[0] for key in taken.keys} >= {"audio", "fusion"}
    assert "head.hidden.weight" not in taken.keys
    assert all(torch.equal(model.state_dict()[key], load_file(trained)[key]) for key in taken.keys)
    assert taken.left == ("head.hidden.bias", "head.hidden.weight", "head.out.weight")
    assert f"{len(taken.keys)} entries taken, {len(taken.left)} left (head." in caplog.text
    other = {"audio.channels": [4, 24], "audio.conformer.feed_forward": 8}
    narrow = override(CONFIG, {"audio.weights": str(trained), **other})
    with pytest.raises(UserError, match=r"^audio\.weights = .* fits the configured network nowhere; it has audio\."):
        load_pretrained(SeldModel(narrow), narrow)


def test_the_gate_on_what_is_seen_is_none_of_the_visual_encoders(tmp_path: Path) -> None:
    gated = override(tiny_config("gru"), {"fusion.visual_gate": True})
    save_file(SeldModel(gated).state_dict(), tmp_path / "gated.safetensors")
    config = override(gated, {"visual.weights": str(tmp_path / "gated.safetensors")})
    model = SeldModel(config)
    (taken,) = load_pretrained(model, config)
    assert set(taken.keys) == {key for key in model.state_dict() if key.startswith("visual.")}


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "muon"])
def test_what_was_taken_goes_its_share_of_each_step(optimiser: str) -> None:
    steps = {}
    for share in (1.0, 0.25):
        config = override(CONFIG, {"optimiser.name": optimiser, "training.taken_rate": share})
        torch.manual_seed(0)
        learner = Learner(config, SeldModel(config), steps_per_epoch=1)
        learner.begin_with([], [name for name in learnt(config) if name.startswith("audio.")])
        before = {name: weight.detach().clone() for name, weight in learner.model.named_parameters()}
        for weight in learner.parameters:
            weight.grad = torch.randn_like(weight)
        learner.set_rate(0)
        learner.step(epoch=1)
        steps[share] = {name: weight.detach() - before[name] for name, weight in learner.model.named_parameters()}
    for name, whole in steps[1.0].items():
        expected = 0.25 * whole if name.startswith("audio.") else whole
        torch.testing.assert_close(steps[0.25][name], expected, atol=1e-6, rtol=1e-3)


def test_a_trial_with_taken_weights_continues_as_if_it_had_not_been_stopped(trained: Path, tmp_path: Path) -> None:
    taking = {"training.taken_frozen_epochs": 2, "training.taken_rate": 0.5}
    config = override(SHORT, {"training.initial_weights": str(trained), **taking})
    whole = run(config, tmp_path / "whole")
    first = run(config, tmp_path / "split", stop_after=1)
    again = run(config, tmp_path / "split")
    assert numbers(first + again[1:]) == numbers(whole)
    ends = [TrialStore(str(tmp_path / name)).latest() for name in ("whole", "split")]
    one, other = ([tensor.tolist() for tensor in tree_leaves(end) if isinstance(tensor, torch.Tensor)] for end in ends)
    assert one == other


def test_weights_that_are_not_there_are_told_before_a_trial(trained: Path) -> None:
    there = override(CONFIG, {"audio.weights": str(trained)})
    require_weights([CONFIG, there])
    for uri, said in (
        (f"{trained}.gone", r"safetensors\.gone': there is no such file$"),
        ("models:/seld@champion", r"`seldtune weights import models:/seld@champion --as NAME` stores$"),
    ):
        config = override(CONFIG, {"audio.weights": uri})
        with pytest.raises(UserError, match=rf"^audio\.weights = .*{said}"):
            require_weights([there, config])
        with pytest.raises(UserError, match=r"^audio\.weights = "):
            load_pretrained(SeldModel(config), config)
