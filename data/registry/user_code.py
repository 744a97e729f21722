"""Python files of a user's own: the hash of what they say, and where in them something went wrong."""

from __future__ import annotations

import ast
import hashlib
import inspect
import traceback
from typing import Any, Final

FAILURES: Final = (Exception, SystemExit)
"""What a user's code may end with and give no result; after `sys.exit(0)` a command would look as if it had worked."""


def code_identity(source: str) -> str:
    """Hash of Python code; comments and layout do not count, nor do files that it imports.

    Raises:
        SyntaxError: it is no Python.
    """
    return hash_text(ast.unparse(ast.parse(source)))


def hash_text(text: str) -> str:
    """The form of every identity."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def where(path: str, error: BaseException) -> str:
    """The file, and the last of its lines that the error came through."""
    if isinstance(error, SyntaxError):
        return f"{path}:{error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return f"{path}:{lines[-1]}" if lines else repr(path)


def place_of(made: object) -> str:
    """A class or function, or the class of anything else, and its file; its module where there is none, as in a
    notebook."""
    own = made if inspect.isclass(made) or inspect.isroutine(made) else type(made)
    return f"{own.__name__} ({file_of(own)})"


def file_of(own: Any) -> str:
    """Where a class or function was written."""
    try:
        return inspect.getfile(own)
    except (TypeError, OSError):
        return str(own.__module__)


def said(error: BaseException) -> str:
    """The error in a line."""
    return f"{type(error).__name__}: {error}".splitlines()[0]
