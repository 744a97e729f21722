"""What a published system would be, before anything is paid for: its whole config, and its size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from search_spaces.presets import PRESETS, find_preset
from trainables.config.tree import fingerprint, override, to_dict
from trainables.networks.model import count_parameters


def describe_preset(name: str, size: str, faithful: bool, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a preset with some fields changed, its number of parameters, and the published scores.

    Raises:
        UserError: an unknown preset, size or field, or a combination that cannot be.
    """
    config = override(find_preset(name, size, faithful), fixed)
    return {
        "preset": name,
        "size": size,
        "variant": "faithful" if faithful else "fixed",
        "parameters": count_parameters(config),
        "fingerprint": fingerprint(config),
        "published": PRESETS[name].published,
        "config": to_dict(config),
    }


def plan_text(document: Mapping[str, Any]) -> str:
    """The config as YAML, with the facts above it as comments: it can be edited and read back."""
    lines = [
        "# {preset}, {variant}, {size} size: {parameters:,} parameters".format(**document),
    ]
    if document["published"] is not None:
        scores = document["published"]
        lines.append(
            "# published for STARSS23 dev-test, macro: ER {ER:g}, F {F:g} %, LE {LE:g} deg, LR {LR:g} %, "
            "SELD {SELD:g}".format(**scores)
        )
    return "\n".join(lines) + "\n" + yaml.safe_dump(document["config"], sort_keys=False, default_flow_style=None)
