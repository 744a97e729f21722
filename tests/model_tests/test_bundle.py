"""Bundles: what is saved comes back, and what is none is refused in one line."""

import json

import pytest
import torch

from data.errors import UserError
from support.tiny_models import tiny_config
from trainables.evaluation.bundle import FORMAT_VERSION, JSON_NAME, WEIGHTS_NAME, load_bundle, save_bundle
from trainables.networks.model import SeldModel


@pytest.fixture
def saved(tmp_path):
    config = tiny_config("gru")
    save_bundle(tmp_path / "model", SeldModel(config), config, {})
    return tmp_path / "model"


@pytest.mark.parametrize("fusion", ["audio_only", "gru"])
def test_what_is_saved_comes_back(tmp_path, fusion):
    config = tiny_config(fusion)
    model = SeldModel(config, torch.randn(7, 1, 8), torch.rand(7, 1, 8) + 0.1)
    features = torch.randn(2, 7, 120, 8)
    pictures = torch.randint(0, 256, (2, 30, 32, 32, 3), dtype=torch.uint8) if config.sees else None
    model(features, pictures)  # moves the running averages off their start
    extra = {"scores": {"F": 0.5}, "names": ["a", None], "epoch": 3}
    save_bundle(tmp_path / "deep" / "model", model, config, extra)
    loaded, loaded_config, loaded_extra = load_bundle(str(tmp_path / "deep" / "model"))
    assert loaded_config == config
    assert loaded_extra == extra
    assert not loaded.training
    assert loaded.state_dict().keys() == model.state_dict().keys()
    model.eval()
    with torch.no_grad():
        assert torch.equal(loaded(features, pictures), model(features, pictures))


def test_two_files_without_code(saved):
    assert sorted(path.name for path in saved.iterdir()) == [JSON_NAME, WEIGHTS_NAME]
    assert json.loads((saved / JSON_NAME).read_text())["format_version"] == FORMAT_VERSION
    assert b"pickle" not in (saved / WEIGHTS_NAME).read_bytes()


def test_saving_again_replaces(saved):
    config = tiny_config("cmaf")
    save_bundle(saved, SeldModel(config), config, {"again": True})
    assert load_bundle(saved)[1:] == (config, {"again": True})
    assert len(list(saved.iterdir())) == 2


def test_a_failed_save_leaves_the_old_bundle(saved):
    config = tiny_config("cmaf")
    with pytest.raises(TypeError):
        save_bundle(saved, SeldModel(config), config, {"not json": object()})
    assert load_bundle(saved)[1] == tiny_config("gru")


@pytest.mark.parametrize("name", [JSON_NAME, WEIGHTS_NAME])
def test_a_missing_file_is_named(saved, name):
    (saved / name).unlink()
    with pytest.raises(UserError, match=f"holds no model: {name} cannot be read"):
        load_bundle(saved)


def test_no_folder_at_all(tmp_path):
    with pytest.raises(UserError, match="holds no model"):
        load_bundle(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: "[]", "not written by seldtune"),
        (lambda d: "{", "is not JSON"),
        (lambda d: json.dumps({**d, "format": "other"}), "not written by seldtune"),
        (lambda d: json.dumps({**d, "format_version": FORMAT_VERSION + 1}), "update seldtune"),
        (lambda d: json.dumps({**d, "config": {**d["config"], "colour": {}}}), "colour is not a field"),
        (lambda d: json.dumps({**d, "config": {**d["config"], "head": {"hidden": 3}}}), "does not fit the config"),
    ],
)
def test_foreign_and_newer_descriptions_are_refused(saved, change, message):
    path = saved / JSON_NAME
    path.write_text(change(json.loads(path.read_text())))
    with pytest.raises(UserError, match=message):
        load_bundle(saved)


def test_damaged_weights_are_refused(saved):
    content = bytearray((saved / WEIGHTS_NAME).read_bytes())
    content[-1] ^= 1
    (saved / WEIGHTS_NAME).write_bytes(content)
    with pytest.raises(UserError, match="SHA-256"):
        load_bundle(saved)
