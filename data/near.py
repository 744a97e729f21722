"""What a misspelt name could have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def near(name: str, known: Iterable[str]) -> str:
    """` (did you mean ...?)` with the known names most like it, or empty text."""
    matches = difflib.get_close_matches(name, list(known), n=3)
    return f" (did you mean {' or '.join(matches)}?)" if matches else ""
