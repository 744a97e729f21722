"""YAML of users: what it may hold, and how it is told what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.errors import UserError
from data.files.yaml_files import DEEPEST, MOST, parse_yaml, read_mapping, read_yaml


def test_values_are_plain_and_numbers_may_have_exponents() -> None:
    assert parse_yaml("{a: '010', b: '12:30', c: 0, d: 0.5, e: -0, f: 'no', g: 1_000.5}") == [
        {"a": "010", "b": "12:30", "c": 0, "d": 0.5, "e": 0, "f": "no", "g": 1000.5}
    ]
    (document,) = parse_yaml("{a: 1e-2, b: -2E3, c: 1_000, d: True, e: 2026-01-01, f: null, g: [1, x]}")
    assert document == {"a": 0.01, "b": -2000.0, "c": 1000, "d": True, "e": "2026-01-01", "f": None, "g": [1, "x"]}


def test_a_mapping_goes_before_what_it_takes_from_another() -> None:
    text = "{x: &x {low: 1, high: 2}, y: &y {<<: *x, high: 3}, z: {<<: [*x, *y], low: 0}}"
    assert parse_yaml(text)[0] == {"x": {"low": 1, "high": 2}, "y": {"low": 1, "high": 3}, "z": {"low": 0, "high": 2}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is no YAML: .* in line 1, column 5"),
        ("a: 1\nb: 2\na: 3", "a is given twice, again in line 3"),
        ("{a: {<<: {x: 1}, y: 1, y: 2}}", "y is given twice"),
        ("{[a]: 1}", "is no YAML: .*unhashable key"),
        ("a: !!set {b, c}", "is no YAML: .*:set"),
        ("a: !!binary aGVsbG8=", "is no YAML: .*:binary"),
        ("a: !!timestamp 2026-01-01", "is no YAML: .*:timestamp"),
        ("a: 1\nseed: 010", "010 in line 2 would be read as an octal number; leave out the zeros in front"),
        ("budget: 12:00:00", "12:00:00 in line 1 would be read as a number to base 60; write a time like 90s"),
        ("share: 1:30.5", "1:30.5 in line 1 would be read as a number to base 60"),
        ("a: 1\nschedule: no", "no in line 2: write true or false, or use quotes"),
        ("log: Yes", "Yes in line 1: write true or false"),
        ("choices: [off, cosine]", "off in line 1: write true or false"),
        ("a: !!bool b", "b in line 1: write true or false"),
        ("trials: 1_0", "1_0 in line 1 has underscores in other places than between thousands"),
        ("lr: 0.1_5", "0.1_5 in line 1 has underscores in other places"),
        ("a: 0x_1", "0x_1 in line 1 has underscores in other places"),
        ("a: !!int b", "is no YAML: .*'b'"),
        (f"a: 1\nb: {'7' * 400}", "a number in line 2 has more than 64 bits"),
        (f"a: {'7' * 5000}", "is no YAML: .*5000 digits"),
        ("a: &a [*a]", f"is nested more than {DEEPEST} deep, or holds itself"),
        ("[" * (DEEPEST + 1) + "1" + "]" * (DEEPEST + 1), f"is nested more than {DEEPEST} deep"),
        (
            "{a: &a [1,1,1,1,1,1,1,1,1,1], b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a], "
            "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b], d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c], "
            "e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d], f: [*e,*e]}",
            f"holds more than {MOST} values side by side",
        ),
    ],
)
def test_what_is_no_plain_tree_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_yaml(text)


def test_as_deep_as_may_be_is_read() -> None:
    assert parse_yaml("[" * DEEPEST + "1" + "]" * DEEPEST)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    for content, message in (
        (b"a: caf\xe9", r"own\.yaml: is no text in UTF-8: byte 6 is 0xe9"),
        (b"- a", r"own\.yaml: has to be a mapping of rules"),
        (b"", r"own\.yaml: has to be a mapping of rules"),
        (b"a: 1\n---\na: 2", r"own\.yaml: holds 2 documents; has to hold one"),
    ):
        file.write_bytes(content)
        with pytest.raises(UserError, match=message):
            read_mapping(file, "rules")
    with pytest.raises(UserError, match=r"cannot be read: .*directory"):
        read_yaml(tmp_path)
