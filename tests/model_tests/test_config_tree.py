"""Fields of a config that come in groups, and what is no field."""

from __future__ import annotations

import pytest

from data.errors import UserError
from trainables.config import TrialConfig
from trainables.config.tree import nested, override


@pytest.mark.parametrize("order", [1, -1])
def test_a_field_and_the_rest_of_its_group_go_together(order: int) -> None:
    group = {"batch_size": 8}
    asked = dict([("training.epochs", 4), ("training", group)][::order])
    training = override(TrialConfig(), asked).training
    assert (training.epochs, training.batch_size) == (4, 8)
    assert group == {"batch_size": 8}


@pytest.mark.parametrize(
    ("flat", "message"),
    [
        ({"training.epochs": 4, "training": {"epochs": 5}}, "training.epochs is given twice: as 4 and as 5"),
        ({"a.b.c": 1, "a.b": 2}, "a.b is given twice"),
        ({"a.b": 2, "a": {"b": {"c": 1}}}, "'b' already holds a value"),
    ],
)
def test_what_is_said_twice_is_refused(flat: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        nested(flat)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("training.epochs.x", r"^training\.epochs = \{'x': 4\}: has to be of type int"),
        ("augment.gain_db", r"^augment\.gain_db = 4: has to be a list of 2, such as \[1, 2\]"),
        ("audio.channels.0", r"^audio\.channels = \{'0': 4\}: has to be a list, such as \[1, 2\]"),
        ("visual.weights.x", r"^visual\.weights is not a field|^visual\.weights = \{'x': 4\}"),
    ],
)
def test_a_value_has_no_fields(field: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        override(TrialConfig(), {field: 4})
