"""Published systems are single configs, at their published sizes, and their table is a space of fixed points."""

import optuna
import pytest

from data.errors import UserError
from search_spaces.preset_sizes import SIZES
from search_spaces.presets import PRESETS, find_preset
from search_spaces.presets_text import describe_preset, plan_text
from search_spaces.table1 import groups, table1_space
from trainables.config.tree import from_dict, to_dict
from trainables.networks.model import count_parameters

optuna.logging.set_verbosity(optuna.logging.WARNING)

# With the visual networks in them: ResNet50 without its classifier has 23,508,032 parameters, I3D 12,287,264.
RESNET50, I3D = 23_508_032, 12_287_264
PUBLISHED_SIZES = {
    "resnet-av_conformer": 85_327_221 + RESNET50,
    "resnet-cmaf": 72_506_741 + RESNET50,
    "i3d-av_conformer": 68_392_309 + I3D,
    "i3d-cmaf": 55_571_829 + I3D,
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_whole_configs(name, size):
    fixed, faithful = find_preset(name, size), find_preset(name, size, faithful=True)
    assert from_dict(to_dict(fixed)) == fixed
    assert count_parameters(fixed) == count_parameters(faithful)
    assert (fixed == faithful) == name.startswith("dcase")


@pytest.mark.parametrize("name", PUBLISHED_SIZES)
def test_paper_sizes_are_the_published_ones(name):
    assert count_parameters(find_preset(name, faithful=True)) == PUBLISHED_SIZES[name]


def test_faithful_follows_the_released_code():
    faithful, fixed = find_preset("i3d-cmaf", faithful=True), find_preset("i3d-cmaf")
    assert faithful.schedule.compounding
    assert not fixed.schedule.compounding
    assert (faithful.head.activation, fixed.head.activation) == ("none", "relu")
    assert (faithful.fusion.sequential, fixed.fusion.sequential) == (True, False)
    assert (faithful.visual.upsample, fixed.visual.upsample) == ("nearest", "linear")


@pytest.mark.parametrize("size", SIZES)
def test_systems_that_share_their_inputs_are_one_space(size):
    together = groups(list(PRESETS), size)
    assert sorted(name for names in together for name in names) == sorted(PRESETS)
    assert [len({find_preset(name, size).inputs for name in names}) for names in together] == [1] * len(together)
    space = table1_space(together[0], size)
    study = optuna.create_study()
    for point in space.first:
        study.enqueue_trial(point)
    assert [space.suggest(study.ask()) for _ in together[0]] == [find_preset(name, size) for name in together[0]]


def test_an_unknown_preset_or_size_lists_the_known_ones():
    with pytest.raises(UserError, match=r"'resnet-cmfa' is not known; .*resnet-cmaf"):
        find_preset("resnet-cmfa")
    with pytest.raises(UserError, match="'huge' is not known; choose one of paper, small"):
        find_preset("resnet-cmaf", "huge")


def test_a_plan_can_be_read_back():
    import yaml

    document = describe_preset("resnet-gru", "paper", False, {"training.epochs": 3})
    text = plan_text(document)
    assert "ER 0.5, F 49.4 %, LE 16.2 deg" in text
    config = from_dict(yaml.safe_load(text))
    assert config.training.epochs == 3
    assert config.fusion.name == "gru"
    assert document["parameters"] == count_parameters(config)
    with pytest.raises(UserError, match=r"training\.epoch is not a field"):
        describe_preset("resnet-gru", "paper", False, {"training.epoch": 3})


def test_faithful_rows_have_the_rates_of_the_released_models():
    released = {"i3d-cmaf": 1e-5, "i3d-av_conformer": 3e-5, "resnet-cmaf": 8e-5, "resnet-av_conformer": 5e-5}
    for name, lr in {**released, "both-av_conformer": 5e-5, "resnet-gru": 5e-4, "audio_only": 5e-4}.items():
        assert find_preset(name, faithful=True).optimiser.lr == lr
        assert find_preset(name).optimiser.lr == 5e-4
        assert find_preset(name, "small", faithful=True).optimiser.lr == find_preset(name, "small").optimiser.lr
