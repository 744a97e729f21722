"""Durations as people write them."""

from __future__ import annotations

import math

from data.errors import UserError

SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def parse_duration_s(text: str) -> float:
    """`90s`, `15m`, `12h`, `7d` -> seconds.

    Raises:
        UserError: another form, or not positive, or infinite.
    """
    number, unit = text[:-1], text[-1:]
    try:
        seconds = float(number) * SECONDS[unit]
    except (ValueError, KeyError):
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise UserError(f"{text!r} is not a duration; write a number and a unit, e.g. 90s, 15m, 12h or 7d")
    return seconds
