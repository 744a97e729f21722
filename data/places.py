"""Where files are, said so that every process finds them."""

from __future__ import annotations

from pathlib import Path


def absolute(place: str) -> str:
    """A folder or file for processes that work in another folder, as Ray's workers do; an address stays as it is."""
    return place if "://" in place else str(Path(place).expanduser().absolute())
