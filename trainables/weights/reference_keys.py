"""Checkpoints of the paper's authors (github.com/dberghi/AV-SELD) under the names used here.

Two kinds are published: the pre-trained audio encoder, and whole models. The frozen ResNet is in neither; frame
normalisation and the classifier head need the config fields `visual.pool_columns = 2`, `head.activation = "none"`
and, for CMAF, `fusion.sequential` and `fusion.positional_encoding`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

Value = TypeVar("Value")

_AUDIO = (
    (r"^conv_block(\d)\.", lambda m: f"blocks.{int(m[1]) - 1}."),
    (r"\.downsample_res1x1\.", ".shortcut."),
    (r"\.bn_res\.", ".bn_shortcut."),
)
_MODEL = (
    (r"^conformer_vis\.", "visual.conformer."),
    (r"^fc_visual\.", "visual.project."),
    (r"^conformer\.", "fusion.conformer."),
    (r"^crossA2V_list\.", "fusion.audio_layers."),
    (r"^crossV2A_list\.", "fusion.visual_layers."),
    (r"\.MHSA\.", ".self_attention."),
    (r"\.MHCA\.", ".cross_attention."),
    (r"^AVfnn_list\.0\.", "head.hidden."),
    (r"^AVfnn_list\.1\.", "head.out."),
)
_AUDIO_PREFIX = "audioFrontEnd."


def from_reference(state: Mapping[str, Value]) -> dict[str, Value]:
    """Rename a reference state dict.

    That of a whole model fits `SeldModel` but for what the reference keeps elsewhere (feature normalisation and the
    ResNet): load with `strict=False`. That of the audio encoder alone fits `SeldModel.audio`. Stored sinusoids, which
    are computed here, are dropped.
    """
    renamed = {}
    for key, value in state.items():
        if key.endswith(".pe"):
            continue
        if key.startswith(_AUDIO_PREFIX):
            renamed["audio." + _rename(key.removeprefix(_AUDIO_PREFIX), _AUDIO)] = value
        elif any(other.startswith(_AUDIO_PREFIX) for other in state):
            renamed[_rename(key, _MODEL)] = value
        else:
            renamed[_rename(key, _AUDIO)] = value
    return renamed


def _rename(key: str, rules: tuple) -> str:
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key


_DCASE_HEAD = {"fnn_list.0.": "head.hidden.", "fnn_list.1.": "head.out."}


def from_dcase(state: Mapping[str, Value]) -> dict[str, Value]:
    """Rename the state dict of a published baseline (53 entries) to that of `SeldModel`."""
    renamed = {}
    for key, value in state.items():
        prefix = next((prefix for prefix in _DCASE_HEAD if key.startswith(prefix)), "")
        renamed[_DCASE_HEAD.get(prefix, "audio.") + key.removeprefix(prefix)] = value
    return renamed
