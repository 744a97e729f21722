"""Synthetic data from a YAML file and the command line: what is said wins, what is wrong is named."""

import pytest

from data.errors import UserError
from data.files.yaml_files import read_mapping
from data.scenes.synth_settings import synth_settings

NOTHING = {"profile": None, "train_clips": None, "seed": None}


def of_file(file, options, scene):
    return synth_settings(read_mapping(file, "fields"), str(file), options, scene)


def test_the_command_line_goes_before_the_file(tmp_path):
    file = tmp_path / "crowd.yaml"
    file.write_text("profile: standard\ntrain_clips: 3\nseed: 5\nscene: {polyphony: 4, speed_m_s: [0.2, 0.4]}\n")
    made = of_file(file, {**NOTHING, "seed": 7}, {"polyphony": 5, "snr_db": "5,10"})
    assert (made.profile, made.train_clips, made.seed, made.val_clips) == ("standard", 3, 7, 8)
    scene = made.scene_settings()
    assert (scene.polyphony, scene.speed_m_s, scene.snr_db) == (5, (0.2, 0.4), (5.0, 10.0))
    assert made.to_dict()["scene"]["polyphony"] == 5


def test_without_a_file_what_is_not_said_is_the_default():
    assert synth_settings({}, "", NOTHING, {}) == synth_settings({}, "", {}, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", r"crowd\.yaml: has to be a mapping"),
        ("a: [", r"crowd\.yaml: is no YAML"),
        ("seed: 1\nseed: 2", r"crowd\.yaml: seed is given twice, again in line 2"),
        ("train_clip: 3", r"'train_clip' is not a field; did you mean 'train_clips'\? there are: profile"),
        ("train_clips: many", r"train_clips = 'many': has to be of type int"),
        ("with_video: 1", r"with_video = 1: has to be of type bool"),
        ("train_clips: -1", r"train_clips = -1"),
        ("scene: {polyfony: 3}", r"'polyfony' is not known; did you mean 'polyphony'"),
        ("scene: {polyphony: 9}", r"polyphony = 9: it has to be 1 to 5"),
        ("scene: {duration_s: 9}", r"set clip_s"),
        ("scene: 3", r"scene = 3: has to be a mapping"),
        ("scene: {events: /nowhere/at/all}", r"/nowhere/at/all"),
    ],
)
def test_what_cannot_be_is_refused_by_name(tmp_path, text, message):
    file = tmp_path / "crowd.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=message):
        of_file(file, NOTHING, {}).to_dict()


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.yaml: cannot be read: No such file"):
        of_file(tmp_path / "none.yaml", NOTHING, {})
