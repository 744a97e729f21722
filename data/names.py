"""Names: those that users give to what becomes a folder, of recordings in mixed stores, and misspelt ones."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

from data.errors import UserError

LONGEST = 200
"""Characters: most file systems take 255 bytes, and some files are called after it with more behind."""


def check_name(name: str, said: str) -> None:
    """UserError unless it can be a folder's on every machine.

    Args:
        said: how the message begins: `--name`, or `name =`.
    """
    if not re.fullmatch(rf"[A-Za-z0-9_-]{{1,{LONGEST}}}", name):
        raise UserError(f"{said} {name!r}: use letters, digits, - and _ (A-Z, a-z and 0-9, {LONGEST} at most)")


ADDED_MARK = "+"
"""Stands between the part of a mixed store that a recording was added from, and its own name (`data.stores.mix`)."""


def origin_of(recording: str) -> str:
    """The part that a recording of a mixed store was added from; empty for the target's own, and in other stores."""
    return recording.partition(ADDED_MARK)[0] if ADDED_MARK in recording else ""


def is_hidden(path: str) -> bool:
    """Whether a part of a path begins with a dot, as of what macOS leaves beside files."""
    return any(part.startswith(".") for part in path.split("/"))


def some_of(names: Sequence[str], most: int = 5) -> str:
    """Names for a message: the first of them, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def near(name: object, known: Iterable[object]) -> str:
    """` (did you mean ...?)` with the known names most like it, or empty text. A file's name may be a number."""
    matches = difflib.get_close_matches(str(name), [str(one) for one in known], n=3)
    return f" (did you mean {' or '.join(matches)}?)" if matches else ""
