"""The variants of what trials are told apart by (`search_spaces.space.GROUPINGS`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from infra.record.trials import TrialRecord
from search_spaces.space import GROUPINGS

ARCHITECTURE = ("inputs", "audio", "visual", "fusion", "head", "output")
"""The parts of a config that a network follows from."""


def variant_of(record: TrialRecord, by: str) -> str:
    """The variant that a trial belongs to."""
    return variant_of_config(record.config, by)


def variant_of_config(config: Mapping[str, Any], by: str) -> str:
    """The variant that a nested config belongs to; a control of a fusion is one of its own."""
    if by == "depth":
        return str(_depth(architecture_of(config)))
    name = str(config[by]["name"])
    closed = config["fusion"].get("closed") if by == "fusion" else None
    return f"{name}, {closed} closed" if closed else name


def what_differs(configs: Sequence[Mapping[str, Any]]) -> str:
    """The first of `GROUPINGS` in which these nested configs differ."""
    return next((by for by in GROUPINGS if len({variant_of_config(c, by) for c in configs}) > 1), GROUPINGS[0])


def architecture_of(config: Mapping[str, Any]) -> str:
    """The parts of a nested config that its network follows from, as one key."""
    return json.dumps({part: config[part] for part in ARCHITECTURE})


@lru_cache(maxsize=4096)
def _depth(architecture: str) -> int:
    from trainables.config.tree import from_dict  # torch comes with it

    return from_dict(json.loads(architecture)).fusion.depth
