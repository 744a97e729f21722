"""Texts that the commands are held to: kept in `tests/golden`, compared here, and rewritten when a change is meant.

    SELDTUNE_REWRITE_GOLDEN=1 python -m pytest tests -k golden

then read the difference with `git diff tests/golden` before it is committed.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

GOLDEN = next(folder / "golden" for folder in Path(__file__).parents if (folder / "golden").is_dir())
REWRITE = "SELDTUNE_REWRITE_GOLDEN"

_MASKED = (
    re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:\+00:00)?"),  # a date and a time
    re.compile(r"\b\d+:\d\d(?::\d\d)?\b"),  # a time
    re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{8,}\b"),  # a hash
    re.compile(r"(?<![\w.])[-+]?\d+(?:[.,]\d+)*(?:[eE][-+]?\d+)?"),  # a number
)
_MEASURED = (
    (re.compile(r"# (?:d|h|m|min|s)\b(?: # (?:h|m|min|s)\b)*"), "<time>"),
    (re.compile(r"# ?(?:kB|MB|GB|TB)\b"), "<size>"),
    (re.compile(r" \(az +# el +#\)"), ""),  # only where anything is found
)
"""In whatever unit."""
_GAP = re.compile(r" {2,}|[-─━]{3,}")
_COLUMNS = re.compile(r"(?<=[#)]) +(?=[#(])")
"""Between numbers; how far they are apart is how many digits they have."""


def assert_golden(name: str, text: str) -> None:
    """The text is that of the file `tests/golden/<name>`, or becomes it where `SELDTUNE_REWRITE_GOLDEN` is set."""
    path = GOLDEN / name
    text = "\n".join(line.rstrip() for line in text.splitlines()).strip("\n") + "\n"
    if os.environ.get(REWRITE):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    lines = difflib.unified_diff(before.splitlines(), text.splitlines(), f"golden/{name}", "now", lineterm="")
    difference = "\n".join(lines)
    assert not difference, f"not as before ({REWRITE}=1 where that is meant):\n{difference}"


def masked(text: str, places: dict[str, str]) -> str:
    """A text for people without what differs from run to run: numbers, units, hashes, dates, the width of columns.

    Args:
        places: text -> what stands for it, as of folders.
    """
    for place, name in places.items():
        text = text.replace(place, name)
    for pattern in _MASKED:
        text = pattern.sub("#", text)
    for pattern, kept in _MEASURED:
        text = pattern.sub(kept, text)
    text = "\n".join(_GAP.sub(lambda found: found.group()[0] * 2, line).rstrip() for line in text.split("\n"))
    return _COLUMNS.sub(" ", text)


def masked_json(text: str, places: dict[str, str]) -> str:
    """What a document holds: a line for each key, with its path and its word, or `#` for a number; `[]` is a list.

    A line is there once, so that the number of entries and their order do not matter.
    """
    return "\n".join(sorted(set(_lines(json.loads(text), places, ""))))


def _lines(value: Any, places: dict[str, str], path: str) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, one in value.items():
            yield from _lines(one, places, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        for one in value:
            yield from _lines(one, places, f"{path}[]")
    elif isinstance(value, str):
        yield f"{path}: {masked(value, places)!r}"
    elif value is None or isinstance(value, bool | dict | list):
        yield f"{path}: {value}"
    else:
        yield f"{path}: #"
