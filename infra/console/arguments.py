"""What users write on the command line, as values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from data.durations import parse_duration_s as parse_duration_s
from data.errors import UserError

BYTES = {"MB": 10**6, "GB": 10**9, "TB": 10**12}


def parse_name(name: str) -> str:
    """A sweep's name, as it is.

    Raises:
        UserError: it cannot be a folder's.
    """
    if not name.replace("-", "").replace("_", "").isalnum():
        raise UserError(f"--name {name!r}: use letters, digits, - and _")
    return name


def parse_bytes(text: str) -> int:
    """`500MB`, `20GB`, `1.5TB` -> bytes.

    Raises:
        UserError: another form, or not positive.
    """
    number, unit = text[:-2], text[-2:].upper()
    try:
        size = float(number) * BYTES[unit]
    except (ValueError, KeyError):
        size = 0.0
    if not 0 < size < float("inf"):
        raise UserError(f"{text!r} is no amount of memory; write a number and a unit, e.g. 500MB, 20GB or 1TB")
    return round(size)


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """["training.epochs=4", "audio.channels=[16,32]"] -> {"training.epochs": 4, "audio.channels": [16, 32]}.

    Values are JSON; what is no JSON is a string.

    Raises:
        UserError: no `=` in it, or a field named twice.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise UserError(f"--set {assignment!r}: write <field>=<value>, e.g. training.epochs=4")
        if key in values:
            raise UserError(f"--set {key} is given twice")
        try:
            values[key] = json.loads(text)
        except json.JSONDecodeError:
            values[key] = text
    return values
