"""The variants of what trials are told apart by (`search_spaces.space.GROUPINGS`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from infra.record.trials import TrialRecord


def variant_of(record: TrialRecord, by: str) -> str:
    """The variant that a trial belongs to."""
    return variant_of_config(record.config, by)


def variant_of_config(config: Mapping[str, Any], by: str) -> str:
    """The variant that a nested config belongs to; a control of a fusion is one of its own."""
    if by == "depth":
        return str(_depth(json.dumps(config, sort_keys=True)))
    name = str(config[by]["name"])
    closed = config["fusion"].get("closed") if by == "fusion" else None
    return f"{name}, {closed} closed" if closed else name


@lru_cache(maxsize=4096)
def _depth(config: str) -> int:
    from trainables.config.tree import from_dict  # torch comes with it

    return from_dict(json.loads(config)).fusion.depth
