"""What a misspelt name could have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def near(name: object, known: Iterable[object]) -> str:
    """` (did you mean ...?)` with the known names most like it, or empty text. A file's name may be a number."""
    matches = difflib.get_close_matches(str(name), [str(one) for one in known], n=3)
    return f" (did you mean {' or '.join(matches)}?)" if matches else ""
