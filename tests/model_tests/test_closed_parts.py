"""Eyes and ears closed: the same network without one of its modalities, from the first step on."""

from __future__ import annotations

import pytest
import torch

from data.errors import UserError
from support.tiny_parts import tiny_batch, tiny_config
from trainables.config import TrialConfig
from trainables.config.tree import override
from trainables.networks.model import SeldModel

BOTH = ["av_conformer", "cmaf", "cross_attention", "gru", "concat"]


def network(fusion: str, closed: str | None) -> tuple[TrialConfig, SeldModel]:
    torch.manual_seed(0)
    config = tiny_config("cnn_conformer", "resnet_conformer", fusion)
    config = override(config, {"fusion.closed": closed, "fusion.visual_gate": True})
    return config, SeldModel(config)


@pytest.mark.parametrize("fusion", BOTH)
def test_what_is_closed_changes_nothing_and_learns_nothing(fusion: str) -> None:
    features, pictures = tiny_batch()
    assert pictures is not None
    others = {"eyes": (features, 255 - pictures), "ears": (features.flip(-1), pictures)}
    for closed, other in others.items():
        _, model = network(fusion, closed)
        if closed == "ears":
            with torch.no_grad():
                model.visual_gate.fill_(1.0)  # type: ignore[union-attr]
        model.eval()
        output = model(features, pictures)
        assert torch.equal(output, model(*other))
        output.square().sum().backward()
        learning = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
        silent = {"eyes": {"visual", "norm_visual", "visual_gate"}, "ears": {"audio", "norm_audio"}}[closed]
        assert not learning & silent
        assert all(p.grad is not None for p in model.parameters() if p.requires_grad), "a worker would wait for it"
        assert {name.split(".")[0] for name, p in model.named_parameters() if not p.requires_grad} == silent


@pytest.mark.parametrize("fusion", BOTH)
def test_a_control_is_the_same_network_and_begins_with_the_same_weights(fusion: str) -> None:
    (config, whole), (of_control, control) = network(fusion, None), network(fusion, "eyes")
    assert whole.state_dict().keys() == control.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), control.parameters(), strict=True))
    assert config.columns == ("frames",)
    assert of_control.columns == (), "pictures are decoded for nobody"


def test_only_what_has_both_can_be_closed() -> None:
    with pytest.raises(UserError, match="audio_only has no other modality"):
        override(TrialConfig(), {"fusion.closed": "eyes"})
    with pytest.raises(UserError, match=r"fusion\.closed = 'nose': choose eyes or ears"):
        override(tiny_config("cnn_conformer", "resnet_conformer", "gru"), {"fusion.closed": "nose"})
