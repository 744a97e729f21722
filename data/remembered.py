"""What is measured once, kept, and read back from then on."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from data import storage
from data.read_back import read_back

ANEW = "delete it, and give the same command again: it is measured anew"
"""What to do about a broken file of these."""


def remembered(uri: str, make: Callable[[], Any]) -> Any:
    """What `make` gives, as JSON knows it: made where `uri` holds nothing yet, read from it otherwise.

    Costs one request where it is there, and two where it is made. UserError, naming the file, where it is broken.
    """
    content = remembered_bytes(uri, lambda: json.dumps(make()).encode())
    with read_back(uri, ANEW):
        return json.loads(content)


def remembered_bytes(uri: str, make: Callable[[], bytes]) -> bytes:
    """The same for bytes as they are."""
    try:
        return storage.read_bytes(uri)
    except FileNotFoundError:
        content = make()
    storage.write_bytes(uri, content)
    return content
