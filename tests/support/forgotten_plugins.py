"""Plugins that a test loads into its process, and that the next one does not find there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from data.registry import parts, plugins


@contextmanager
def forgotten_plugins() -> Iterator[None]:
    """What is loaded within the block, or by a test that it surrounds, is gone after it."""
    before = set(plugins._LOADED)
    try:
        yield
    finally:
        for module in plugins._LOADED.keys() - before:
            parts.forget(plugins._LOADED.pop(module).package)
            sys.modules.pop(module, None)
