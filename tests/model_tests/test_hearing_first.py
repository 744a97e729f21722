"""What a model does not depend on: how loud its window is, and, as long as its gate is closed, its pictures."""

import math

import pytest
import torch

from support.tiny_parts import tiny_batch, tiny_config
from trainables.config.tree import override
from trainables.inputs.features import FeatureExtractor, at_level
from trainables.networks.model import SeldModel


@pytest.mark.parametrize("gain_db", [-24.0, 12.0])
@pytest.mark.parametrize("level", ["normalised", "relative"])
def test_such_a_level_does_not_hear_how_loud_a_window_is(level, gain_db):
    torch.manual_seed(0)
    config = override(tiny_config("cnn_conformer", "none", "audio_only"), {"inputs.level": level})
    features, _ = tiny_batch(reads=None)
    louder = features.clone()
    louder[:, :4] += gain_db
    model = SeldModel(config).eval()
    torch.testing.assert_close(model(louder), model(features), rtol=1e-4, atol=1e-5)
    absolute = SeldModel(override(config, {"inputs.level": "absolute"})).eval()
    assert not torch.allclose(absolute(louder), absolute(features), rtol=1e-2, atol=1e-3)


def test_half_a_window_of_silence_moves_a_normalised_level_by_three_decibels():
    noise = torch.randn(4, 48_000, generator=torch.Generator().manual_seed(0)) * 0.01
    extract = FeatureExtractor()
    whole = at_level(extract(noise), "normalised")
    half = at_level(extract(noise * (torch.arange(48_000) < 24_000)), "normalised")
    sounding = slice(0, whole.shape[1] // 2 - 4)
    rise_db = 10 * math.log10(2)
    torch.testing.assert_close(half[:4, sounding], whole[:4, sounding] + rise_db, rtol=0, atol=0.1)
    torch.testing.assert_close(half[4:, sounding], whole[4:, sounding])
    assert (half[:4, whole.shape[1] // 2 + 4 :] == -60).all(), "silence is nearer to sound than the floor is"
    assert at_level(extract(noise), "absolute").equal(extract(noise))


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
