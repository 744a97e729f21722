"""Kubernetes quantities: `500m`, `16Gi`, `2`."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

from data.errors import UserError

_UNITS: dict[str, int | Fraction] = {"": 1, "n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000)}
_UNITS |= {unit: 1000**power for power, unit in enumerate("kMGTPE", start=1)}
_UNITS |= {f"{unit}i": 1024**power for power, unit in enumerate("KMGTPE", start=1)}
_FORM = re.compile(r"\+?([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE]([+-]?[0-9]+)|([a-zA-Z]*))")


def quantity(value: Any) -> Fraction:
    """What a quantity is in cores, bytes or pieces.

    Raises:
        UserError: it is none.
    """
    found = _FORM.fullmatch(str(value))
    if not found or (found[3] or "") not in _UNITS:
        raise UserError(f"{value!r} is no quantity; write 2, 500m or 16Gi")
    return Fraction(found[1]) * (Fraction(10) ** int(found[2]) if found[2] else _UNITS[found[3] or ""])
