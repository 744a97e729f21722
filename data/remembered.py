"""What was written once and is read back from then on: named, with what to do, where something else broke it."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from data import storage
from data.errors import UserError

ANEW = "delete it, and give the same command again: it is measured anew"
"""What to do about a broken file of these."""

# What json, numpy and our own classes make of content that is not what was written.
_BROKEN = (ValueError, TypeError, LookupError, AttributeError, EOFError, zipfile.BadZipFile)

_AGAIN, _PAUSE_S = 5, 0.2


@contextmanager
def read_back(uri: str, fix: str) -> Iterator[None]:
    """A block that reads a file and makes of it what it was; that the file is not there passes as it is.

    Args:
        fix: what to do about a broken one.

    Raises:
        UserError: nothing can be made of it. Ours are written whole, so something else cut or changed it.
    """
    try:
        yield
    except UserError:
        raise
    except _BROKEN as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{uri} is not as this seldtune writes it ({said}); {fix}") from error


def read_document(uri: str) -> bytes:
    """The bytes of a document, which none is without; FileNotFoundError where there is none.

    Seen with SeaweedFS: a document that is just being replaced was answered with nothing. So it is asked for again.
    """
    for _ in range(_AGAIN):
        if content := storage.read_bytes(uri):
            return content
        time.sleep(_PAUSE_S)
    return content


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
