"""Whether something else stands in front of this project's packages, whose names others use too.

A `data.py` in the folder that Python is started in, or a `data` package on PYTHONPATH, is imported in place of ours
wherever `data` is meant. This imports none of them, so that it can be asked before anything else.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("data", "trainables", "search_spaces", "infra")
OURS = Path(__file__).resolve().parents[1]


def hidden() -> str | None:
    """Which name is taken, what stands in front, where ours is, and what to do; None where nothing does."""
    for name in PACKAGES:
        ours, found = OURS / name, _found(name)
        if found is not None and found.resolve() not in (ours, ours / "__init__.py"):
            return (
                f"{found} stands in front of seldtune's own {name!r}, which is {ours}: rename it, or keep "
                f"{found.parents[found.name == '__init__.py']} off Python's path (PYTHONPATH, and the folder that "
                "`python -m` and scripts start in)"
            )
    return None


def _found(name: str) -> Path | None:
    """The file, or for a plain folder the folder, that Python takes for a top-level name; None: it finds none."""
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None) if module is not None else find_spec(name)
    if spec is None:
        file = getattr(module, "__file__", None)
    elif spec.has_location:
        file = spec.origin
    else:
        file = next(iter(spec.submodule_search_locations or ()), None)
    return None if file is None else Path(file)
