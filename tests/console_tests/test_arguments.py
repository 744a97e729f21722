import pytest

from data.errors import UserError
from infra.console.arguments import parse_assignments, parse_duration_s


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("1.5h", 5400), ("7d", 604_800)])
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "m", "-5m", "0s", "5 minutes", "nans"])
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
