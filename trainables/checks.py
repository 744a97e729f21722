"""What fields of configs have in common: how one refuses a value (its dotted name, what was got, and the rule), and how
one is added."""

from __future__ import annotations

import dataclasses
from typing import Any

from data.errors import UserError

LATER = "later"
"""In the metadata of fields made by `later`."""


def later(default: Any) -> Any:
    """A field of a config that came when there were models and sweeps without it.

    `default` has to mean what was done before: a config that holds it has the fingerprint that it had without the
    field, so that what was begun goes on.
    """
    return dataclasses.field(default=default, metadata={LATER: True})


def check(condition: bool, field_name: str, got: object, rule: str) -> None:
    """Raise UserError unless the condition holds."""
    if not condition:
        raise UserError(f"{field_name} = {got!r}: {rule}")


def check_positive(config: object, part: str, *names: str) -> None:
    """Each of the named fields has to be a positive number."""
    for name in names:
        check(getattr(config, name) > 0, f"{part}.{name}", getattr(config, name), "has to be positive")


def check_dropout(dropout: float, part: str) -> None:
    check(0.0 <= dropout < 1.0, f"{part}.dropout", dropout, "has to be in [0, 1)")


def check_share(config: object, part: str, *names: str) -> None:
    """Each of the named fields has to be in [0, 1]."""
    for name in names:
        check(0.0 <= getattr(config, name) <= 1.0, f"{part}.{name}", getattr(config, name), "has to be in [0, 1]")


def check_heads(part: str, heads: int, width: int, width_field: str) -> None:
    """Attention splits its width evenly among its heads."""
    check(
        width % heads == 0,
        f"{part}.heads",
        heads,
        f"does not divide the width {width}; choose a divisor or change {width_field}",
    )
