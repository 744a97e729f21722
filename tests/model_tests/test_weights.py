"""Pre-trained weights: recognised by their keys, fitted or refused, never unpickled."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from data.errors import UserError
from trainables.config import AvConformer, I3d, InputConfig, ResNetAndI3d, ResNetConformer, TrialConfig
from trainables.config.tree import from_dict, override
from trainables.layers.resnet import ResNetBackbone
from trainables.networks.model import SeldModel
from trainables.networks.pretrained import load_pretrained, slots, warn_random_weights
from trainables.weights.kinds import KINDS, parse_weights, read_weights

CONFORMER = {"layers": 1, "heads": 2, "feed_forward": 16, "kernel": 7, "dropout": 0.0}
RESNET = {"name": "resnet_conformer", "block": "basic", "depths": [1, 1, 1, 1], "width": 8, "conformer": CONFORMER}


def tiny_config(path: Path | None = None, frozen: bool = False) -> TrialConfig:
    audio = {"channels": [4, 8], "time_strides": [4, 2], "frequency_strides": [4, 2], "conformer": CONFORMER}
    return from_dict(
        {
            "inputs": {"hop": 300, "n_mels": 16, "frame_width": 64, "frame_height": 32},
            "audio": audio,
            "visual": {**RESNET, "weights": None if path is None else str(path), "frozen": frozen},
            "fusion": {"name": "gru", "layers": 1, "hidden": 6},
        }
    )


def resnet_state() -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    return ResNetBackbone("basic", (1, 1, 1, 1), 8).state_dict()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_of_either_format_load(tmp_path, suffix, prefix):
    from safetensors.torch import save_file

    state = {**resnet_state(), "fc.weight": torch.zeros(10, 64)}
    path = tmp_path / f"weights{suffix}"
    stored = {prefix + key: value for key, value in state.items()}
    save_file(stored, path) if suffix == ".safetensors" else torch.save(stored, path)
    config = tiny_config(path)
    model = SeldModel(config)
    load_pretrained(model, config)
    for key, value in model.visual.backbone.state_dict().items():
        assert torch.equal(value, state[key]), key


def test_a_checkpoint_that_holds_its_weights_one_level_down(tmp_path):
    torch.save({"epoch": 3, "state_dict": resnet_state()}, tmp_path / "weights.pth")
    kind, state = read_weights(str(tmp_path / "weights.pth"), "visual.weights")
    assert kind.name == "resnet"
    assert state.keys() == resnet_state().keys()


def test_weights_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "weights.pth"
    config = tiny_config(path)
    model = SeldModel(config)

    def refused(message: str) -> None:
        with pytest.raises(UserError, match=message) as error:
            load_pretrained(model, config)
        assert "visual.weights" in str(error.value)

    refused(r"weights\.pth' cannot be read: No such file")
    path.write_bytes(b"neither")
    refused(r"is no state dict")
    torch.save([1, 2], path)
    refused("holds no state dict")
    state = resnet_state()
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[:-2000])
    refused("or is truncated")
    torch.save({**state, "conv1.weight": torch.zeros(4, 3, 7, 7)}, path)
    refused(r"conv1\.weight \(shape \(4, 3, 7, 7\), expected \(8, 3, 7, 7\)\)$")
    torch.save({key: value for key, value in state.items() if not key.startswith("layer4")}, path)
    refused(r"layer4\.0\.conv1\.weight \(missing\), .* and \d+ more$")
    torch.save({"something.else": torch.zeros(2)}, path)
    refused(r"1 entries \(something\.else, \.\.\.\), no weights known here: a torchvision ResNet")
    torch.save({mark: torch.zeros(2) for mark in KINDS["i3d"].marks}, path)
    refused(r"holds Inception I3D, RGB \(Kinetics\); a torchvision ResNet \(ImageNet\) is expected there")


def test_weights_are_never_unpickled(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"conv1.weight": np.zeros, "path": Path("x")}, path)
    with pytest.raises(UserError, match="no state dict"):
        parse_weights(path.read_bytes(), "weights.pth")


def test_a_frozen_backbone_stays_as_loaded(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(resnet_state(), path)
    config = tiny_config(path, frozen=True)
    model = SeldModel(config)
    load_pretrained(model, config)
    model.train()
    before = {key: value.clone() for key, value in model.visual.backbone.state_dict().items()}
    model(torch.randn(2, 7, 240, 16), torch.randint(0, 256, (2, 6, 32, 64, 3), dtype=torch.uint8)).sum().backward()
    assert all(p.grad is None for p in model.visual.backbone.parameters())
    assert model.visual.project.weight.grad is not None
    assert all(torch.equal(value, before[key]) for key, value in model.visual.backbone.state_dict().items())


def test_each_place_takes_its_own_weights():
    both = TrialConfig(visual=ResNetAndI3d(), fusion=AvConformer())
    fields = [slot.field for slot in slots(both)]
    assert fields == ["training.initial_weights", "audio.weights", "visual.resnet.weights", "visual.i3d.weights"]
    with torch.device("meta"):
        model = SeldModel(both)
    found = {slot.field: model.get_submodule(slot.place) for slot in slots(both)}
    assert found["visual.resnet.weights"] is model.visual.resnet.backbone
    assert found["visual.i3d.weights"] is model.visual.i3d.backbone
    assert found["audio.weights"] is model.audio
    with pytest.raises(UserError, match=r"inputs\.frame_width"):
        TrialConfig(inputs=InputConfig(frame_width=64), visual=I3d(), fusion=AvConformer())


def test_a_part_of_a_model_is_no_whole_one(tmp_path):
    path = tmp_path / "resnet.pth"
    torch.save(resnet_state(), path)
    config = override(tiny_config(), {"training.initial_weights": str(path)})
    with pytest.raises(UserError, match=r"^training\.initial_weights = .*holds a torchvision ResNet"):
        load_pretrained(SeldModel(config), config)


def test_random_weights_are_said_loudly(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        warn_random_weights(TrialConfig())
        warn_random_weights(tiny_config(tmp_path / "weights.pth"))
        assert not caplog.records
        warn_random_weights(TrialConfig(visual=ResNetConformer(), fusion=AvConformer()))
        warn_random_weights(TrialConfig(visual=ResNetAndI3d(), fusion=AvConformer()))
    assert caplog.text.count("RANDOM") == 3
    assert "visual.i3d.weights is not set" in caplog.text
