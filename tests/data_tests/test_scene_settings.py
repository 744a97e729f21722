"""Scene settings: from profiles, YAML values and command-line text, or refused by name."""

import pytest
import yaml

from data.errors import UserError
from data.scenes.settings import PROFILES, SceneSettings, profile


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("polyphony", "3", 3),
        ("duration_s", "12", 12.0),
        ("overlap", " .5 ", 0.5),
        ("speed_m_s", "0.5,1.5", (0.5, 1.5)),
        ("snr_db", "[-5, 1e1]", (-5.0, 10.0)),
        ("classes", "0,1,4", (0, 1, 4)),
        ("classes", "7", (7,)),
        ("same_class_overlap", "true", True),
        ("same_class_overlap", "False", False),
        ("room_m", "[[4, 6], [3, 4.5], [2.4, 3]]", ((4.0, 6.0), (3.0, 4.5), (2.4, 3.0))),
        ("occluders", "1,2", (1, 2)),
        ("events", "recordings/events", "recordings/events"),
        ("events", "7", "7"),
    ],
)
def test_command_line_text_becomes_the_fields_type(field, text, value):
    settings = profile("easy", {field: text})
    assert getattr(settings, field) == value
    assert type(getattr(settings, field)) is type(value)
    assert settings == SceneSettings(**{field: value})


def test_yaml_values_become_the_fields_types():
    document = """
    polyphony: 4
    snr_db: [5, 15]
    classes: [1, 2]
    same_class_overlap: true
    room_m: [[4, 6], [3, 4], [2.5, 3]]
    events: null
    duration_s: 30
    """
    settings = profile("standard", yaml.safe_load(document))
    assert settings.snr_db == (5.0, 15.0)
    assert settings.classes == (1, 2)
    assert settings.room_m == ((4.0, 6.0), (3.0, 4.0), (2.5, 3.0))
    assert settings.events is None
    assert settings.duration_s == 30.0
    assert settings.distance_m == PROFILES["standard"].distance_m
    assert hash(settings) == hash(profile("standard", yaml.safe_load(document)))


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("polyphony", "three", "a whole number"),
        ("polyphony", 2.0, "a whole number"),
        ("polyphony", True, "a whole number"),
        ("overlap", "high", "a number"),
        ("overlap", None, "a number"),
        ("same_class_overlap", 1, "true or false"),
        ("same_class_overlap", "maybe", "true or false"),
        ("speed_m_s", "1", "a pair of numbers"),
        ("speed_m_s", [1, 2, 3], "a pair of numbers"),
        ("speed_m_s", ["1", "2"], "a pair of numbers"),
        ("occluders", "1.5,2", "a pair of whole numbers"),
        ("classes", 3.5, "a list of whole numbers"),
        ("room_m", [[4, 6], [3, 4]], "a list of 3 pairs of numbers"),
        ("room_m", "4,6", "a list of 3 pairs of numbers"),
        ("events", 3, "text or nothing"),
    ],
)
def test_values_of_another_type_are_refused_by_name(field, value, rule):
    with pytest.raises(UserError, match=rf"scene setting {field} = .*: it has to be {rule}$"):
        profile("easy", {field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("duration_s", 0.0),
        ("duration_s", 1.23),
        ("duration_s", float("inf")),
        ("duration_s", float("nan")),
        ("polyphony", 0),
        ("polyphony", 6),
        ("overlap", 1.5),
        ("overlap", float("nan")),
        ("event_s", (5.0, 2.0)),
        ("event_s", (float("nan"), 2.0)),
        ("rt60_s", (0.2, 9.0)),
        ("rt60_s", (0.01, 0.5)),
        ("classes", (13,)),
        ("classes", (1, 1)),
        ("classes", ()),
        ("room_m", ((1, 2), (3, 4), (2, 3))),
        ("decoy_share", -0.1),
        ("interferers", 9),
        ("interferer_db", (0.0, 50.0)),
        ("distractors", -1),
        ("occluders", (2, 1)),
    ],
)
def test_settings_out_of_range_are_refused_by_name(field, value):
    with pytest.raises(UserError, match=f"scene setting {field} = "):
        profile("easy", {field: value})


def test_unknown_fields_list_the_choices_and_the_nearest():
    with pytest.raises(UserError, match=r"'polyfony' is not known; did you mean 'polyphony'\? .*duration_s, events, "):
        profile("easy", {"polyfony": 3})
    with pytest.raises(UserError, match=r"'xyz' is not known; there are: duration_s"):
        profile("easy", {"xyz": 3})


def test_an_unknown_profile_lists_the_choices():
    with pytest.raises(UserError, match=r"'impossible'.*easy, ambiguous, standard, hard"):
        profile("impossible")


def test_an_unknown_class_is_answered_with_those_there_are():
    with pytest.raises(UserError, match="there is no class 'gong'; there are: female, male, clap,"):
        profile("easy", {"classes": "door,gong"})


@pytest.mark.parametrize("given", ["door,Water tap,3", ["door", "water_tap", 3], (7, 10, 3)])
def test_classes_go_by_name_as_well_as_by_number(given):
    assert profile("easy", {"classes": given}).classes == (7, 10, 3)
