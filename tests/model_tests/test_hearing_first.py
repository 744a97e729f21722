"""What a model does not depend on: how loud its window is, and, as long as its gate is closed, its pictures."""

import pytest
import torch

from support.tiny_parts import tiny_batch, tiny_config
from trainables.config.tree import override
from trainables.networks.model import SeldModel


@pytest.mark.parametrize("gain_db", [-24.0, 12.0])
def test_relative_level_does_not_hear_how_loud_a_window_is(gain_db):
    torch.manual_seed(0)
    config = override(tiny_config("cnn_conformer", "none", "audio_only"), {"inputs.level": "relative"})
    features, _ = tiny_batch(reads=None)
    louder = features.clone()
    louder[:, :4] += gain_db
    model = SeldModel(config).eval()
    torch.testing.assert_close(model(louder), model(features), rtol=1e-4, atol=1e-5)
    absolute = SeldModel(override(config, {"inputs.level": "absolute"})).eval()
    assert not torch.allclose(absolute(louder), absolute(features), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("fusion", ["av_conformer", "cmaf", "cross_attention", "gru", "concat"])
def test_a_closed_gate_shuts_the_picture_out_and_learns_to_open(fusion):
    torch.manual_seed(0)
    config = override(tiny_config("cnn_conformer", "resnet_conformer", fusion), {"fusion.visual_gate": True})
    model = SeldModel(config).eval()
    features, pictures = tiny_batch()
    assert pictures is not None
    output = model(features, pictures)
    assert torch.equal(output, model(features, 255 - pictures))
    output.square().sum().backward()
    assert model.visual_gate is not None
    assert model.visual_gate.grad.abs() > 0
