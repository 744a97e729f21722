"""Values from files and command lines become what a field's type says, or are refused."""

import pytest

from data.fields import from_text, typed, wording


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (3, int, 3),
        (3, float, 3.0),
        (True, bool, True),
        ("a", str, "a"),
        (None, int | None, None),
        (4, int | None, 4),
        ([1, 2.5], tuple[float, float], (1.0, 2.5)),
        ([], tuple[int, ...], ()),
        ([[1, 2], [3, 4]], tuple[tuple[float, float], ...], ((1.0, 2.0), (3.0, 4.0))),
        (["a"], list[str], ["a"]),
        ({"a": 1}, dict[str, float], {"a": 1.0}),
    ],
)
def test_what_fits_is_taken_as_the_fields_type(value, hint, expected):
    found = typed(value, hint)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (True, int),
        (1, bool),
        (2.0, int),
        ("3", int),
        (None, int),
        (True, float),
        ("x", int | None),
        ([1], tuple[float, float]),
        (1, tuple[int, ...]),
        (["a"], tuple[int, ...]),
        ([1], list[str]),
        ((1,), list[int]),
        ({"a": "b"}, dict[str, int]),
        ({1: 1}, dict[str, int]),
        ([], dict[str, int]),
    ],
)
def test_what_does_not_fit_is_refused(value, hint):
    with pytest.raises(TypeError):
        typed(value, hint)


def test_text_of_a_command_line():
    assert from_text("5,10", tuple[float, float]) == (5, 10)
    assert from_text("3", tuple[int, ...]) == (3,)
    assert from_text(" TRUE ", bool) is True
    assert from_text("12", str | None) == "12"
    assert from_text("many", int) == "many"


def test_wording_names_the_type():
    assert wording(int | None) == "a whole number or nothing"
    assert wording(tuple[tuple[float, float], tuple[float, float]]) == "a list of 2 pairs of numbers"
