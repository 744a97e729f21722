import json

import pytest

from data.errors import UserError
from infra.console.arguments import parse_assignments, parse_duration_s, parse_model, parse_name
from infra.console.output import print_json


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("1.5h", 5400), ("7d", 604_800)])
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "m", "-5m", "0s", "5 minutes", "nans", "infh", "1e308d"])
def test_what_is_no_duration_is_named(text: str) -> None:
    with pytest.raises(UserError, match="not a duration"):
        parse_duration_s(text)


def test_assignments_are_json_or_strings() -> None:
    given = "training.epochs=4 optimiser.lr=1e-3 audio.channels=[16,32] fusion.name=gru visual.weights=null"
    assert parse_assignments(given.split()) == {
        "training.epochs": 4,
        "optimiser.lr": 0.001,
        "audio.channels": [16, 32],
        "fusion.name": "gru",
        "visual.weights": None,
    }


@pytest.mark.parametrize("given", [["training.epochs"], ["=4"], ["a.b=1", "a.b=2"]])
def test_bad_assignments_are_refused(given: list[str]) -> None:
    with pytest.raises(UserError, match="--set"):
        parse_assignments(given)


@pytest.mark.parametrize("name", ["mine", "mine-2_b", "x" * 200])
def test_a_name_of_a_sweep_is_kept_as_it_is(name: str) -> None:
    assert parse_name(name) == name


@pytest.mark.parametrize("name", ["", "a/b", "a b", "é", "²", "x" * 201, "a\n"])
def test_a_name_that_not_every_disk_takes_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"--name .*use letters, digits, - and _"):
        parse_name(name)


@pytest.mark.parametrize("name", ["seld", "seld v2.1", "gehört_50%"])
def test_a_name_of_a_model_is_kept_as_it_is(name: str) -> None:
    assert parse_model(name) == name


@pytest.mark.parametrize("name", ["", " ", "a/b", "models:a", "it's", 'say "a"', "..", "a\nb", "x" * 201])
def test_a_name_that_the_registry_does_not_take_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"--model .* without / : ' "):
        parse_model(name)


def test_what_is_no_number_is_null_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    def never(text: str) -> None:
        pytest.fail(f"{text} is no JSON")

    print_json({"LE": float("nan"), "range": [float("inf"), 1.5], "name": "NaN"})
    printed = json.loads(capsys.readouterr().out, parse_constant=never)
    assert printed == {"LE": None, "range": [None, 1.5], "name": "NaN"}
