"""What users write on the command line, as values."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from data.durations import parse_duration_s as parse_duration_s
from data.errors import UserError
from data.names import check_name

BYTES = {"MB": 10**6, "GB": 10**9, "TB": 10**12}


def parse_name(name: str) -> str:
    """A sweep's name, as it is.

    Raises:
        UserError: it cannot be a folder's.
    """
    check_name(name, "--name")
    return name


def parse_model(name: str) -> str:
    """The name of a model in the registry, as it is.

    Raises:
        UserError: MLflow does not take it, or cannot look for it.
    """
    if not re.fullmatch(r"[^\s./:'\"\\][^/:'\"\\]{0,199}", name) or not name.isprintable():
        raise UserError(
            f"--model {name!r}: use up to 200 characters without / : ' \" and \\, and neither a dot nor a space first"
        )
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
