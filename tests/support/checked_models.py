"""The check that a registered model loads, which takes a process that imports everything, once for each model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.models import register

_FAULTS: dict[tuple[tuple[str, str], ...], list[str]] = {}
_check = register._loading_faults


@contextmanager
def each_model_loaded_once() -> Iterator[None]:
    """What was found of the same code and weights is not looked for again; for tests that are not about loading."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(register, "_loading_faults", _remembered)
        yield


def _remembered(path: Path) -> list[str]:
    """Versions of one model differ in what MLflow says of them alone, which is left out."""
    told = ("MLmodel", "registered_model_meta")
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.name not in told)
    content = tuple((str(f.relative_to(path)), hashlib.sha256(f.read_bytes()).hexdigest()) for f in files)
    if content not in _FAULTS:
        _FAULTS[content] = _check(path)
    return _FAULTS[content]
