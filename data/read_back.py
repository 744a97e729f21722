"""Files that this project wrote itself, read back: one that something else broke is named, with what to do."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

from data.errors import UserError

# What json, numpy and our own classes make of content that is not what was written.
_BROKEN = (ValueError, TypeError, LookupError, AttributeError, EOFError, zipfile.BadZipFile)


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
