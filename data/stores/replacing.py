"""When a published store may make room for another in its place."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from data.errors import UserError
from data.stores.chunks import Store

RECORDINGS = "other recordings"
"""What differs, where settings do not."""
MayReplace = Callable[[Store, str], None]
"""Told a published store and what differs of the one to come; raises a UserError unless that may take its place."""


def refuse_to_replace(there: Store, differences: str) -> None:
    """UserError where other settings would make other data of it; of the same, recordings may come and go."""
    if differences == RECORDINGS:
        return
    raise UserError(
        f"{there.root} holds other data ({there.manifest.sha256[:12]}): {differences}; choose another name or place, "
        "or say --replace"
    )


def differences_of(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """How settings differ; recordings do where they do not."""
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    return ", ".join(f"{name} was {_short(before, name)}, now {_short(now, name)}" for name in names) or RECORDINGS


def _short(settings: Mapping[str, Any], name: str) -> str:
    if name not in settings:
        return "the default"
    text = json.dumps(settings[name], ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."
