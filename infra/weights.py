"""Bring published weights in: recognised, checked against the network they are for, and stored without pickle.

An import is one safetensors file under the root, entries under our names, with where it came from in its own metadata:
whatever loads it can say what it is, and it is there whole or not at all.
"""

from __future__ import annotations

import hashlib
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from data import storage
from data.errors import UserError
from trainables.config import (
    AudioOnly,
    AvConformer,
    Cmaf,
    CnnConformer,
    ConformerConfig,
    HeadConfig,
    I3d,
    InputConfig,
    MultiAccddoa,
    MultiAccdoa,
    ResNetConformer,
    SeldNet,
    TrialConfig,
)
from trainables.layers.i3d import I3dBackbone
from trainables.layers.resnet import ResNetBackbone
from trainables.networks.model import SeldModel
from trainables.parts.audio.cnn_conformer import CnnConformerEncoder
from trainables.weights.files import KINDS, misfits, parse_state, parse_weights, read_content, slots

FIELDS = {
    "resnet": "visual.weights",
    "i3d": "visual.weights",
    "av_seld_audio": "audio.weights",
    "av_seld": "training.initial_weights",
    "dcase": "training.initial_weights",
}
"""The field of a trial's config that takes weights of each kind."""


def import_weights(source: str, name: str, root: str, sha256: str | None = None) -> dict[str, Any]:
    """Store published weights as `<root>/weights/<name>.safetensors`.

    Args:
        source: a file, s3:// or https:// address.
        sha256: what the file's SHA-256 has to be; nothing: it is only written down.

    Returns:
        Where they are, what they are, and the provenance that is stored with them; ready for JSON.

    Raises:
        UserError: the file is missing, truncated, foreign or not the one expected, its keys do not fit the network it
            is for, or the name is taken by other weights. Nothing is written then.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        raise UserError(f"--as {name!r}: use letters, digits, - _ and .")
    content = _fetch(source)
    digest = hashlib.sha256(content).hexdigest()
    if sha256 is not None and digest != sha256.lower():
        raise UserError(f"{source} has SHA-256 {digest}, not {sha256}: it is another file, or it was damaged")
    kind, state = parse_weights(content, source)
    module, own = _network(kind.name, state, source)
    wrong = misfits(module, state, own)
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UserError(f"{source} is not {kind.title} as published: {', '.join(wrong[:3])}{more}")
    provenance = {
        "kind": kind.name,
        "source": source,
        "source_sha256": digest,
        "imported_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "imported_by": f"seldtune {version('seldtune')}",
    }
    uri = f"{root.rstrip('/')}/weights/{name}.safetensors"
    if storage.exists(uri):
        _, there = parse_state(storage.read_bytes(uri), uri)
        if there.get("source_sha256") != digest:
            raise UserError(
                f"{uri} holds other weights already (from {there.get('source')}); choose another name with --as"
            )
        provenance = there
    else:
        entries = {key: value.contiguous().clone() for key, value in state.items()}
        storage.write_bytes(uri, save(entries, metadata=provenance))
    return {
        "uri": uri,
        "what": kind.title,
        "entries": len(state),
        "parameters": sum(value.numel() for value in state.values() if value.is_floating_point()),
        "field": FIELDS[kind.name],
        "provenance": provenance,
    }


def _fetch(source: str) -> bytes:
    if not source.startswith(("http://", "https://")):
        return read_content(source, "SOURCE")
    try:
        with urllib.request.urlopen(source, timeout=60) as response:
            return response.read()
    except (urllib.error.URLError, OSError) as error:
        raise UserError(f"{source} cannot be fetched ({error}); download it by hand and name the file") from error


def _network(kind: str, state: Mapping[str, Tensor], source: str) -> tuple[nn.Module, tuple[str, ...]]:
    """The network that weights of a kind are for, without memory, and the beginnings of keys they need not have."""
    with torch.device("meta"):
        if kind == "resnet":
            return _resnet(state), ()
        if kind == "i3d":
            return I3dBackbone(), ()
        if kind == "av_seld_audio":
            return CnnConformerEncoder(CnnConformer()), ()
        config = _av_seld(state) if kind == "av_seld" else _dcase(state)
        return SeldModel(config), slots(config)[0].own


# Blocks of each stage: ResNet18 and 34; 50, 101 and 152.
_RESNETS = {"basic": ((2, 2, 2, 2), (3, 4, 6, 3)), "bottleneck": ((3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3))}


def _resnet(state: Mapping[str, Tensor]) -> ResNetBackbone:
    """The smallest published one that has all the blocks."""
    blocks = {tuple(map(int, key[len("layer") :].split(".")[:2])) for key in state if key.startswith("layer")}
    kind = "bottleneck" if "layer1.0.conv3.weight" in state else "basic"
    for depths in _RESNETS[kind]:
        if all(stage <= len(depths) and block < depths[stage - 1] for stage, block in blocks):
            break
    return ResNetBackbone(kind, depths, 64)


def _av_seld(state: Mapping[str, Tensor]) -> TrialConfig:
    """Which of the released models it is."""
    resnet = any(key.startswith("visual.conformer.") for key in state)
    cmaf = any(key.startswith("fusion.audio_layers.") for key in state)
    return TrialConfig(
        visual=ResNetConformer() if resnet else I3d(),
        fusion=Cmaf(sequential=True, positional_encoding=True) if cmaf else AvConformer(),
        head=HeadConfig(activation="none"),
    )


def _dcase(state: Mapping[str, Tensor]) -> TrialConfig:
    """With distances (2024) or without (2023)."""
    distances = len(state["head.out.bias"]) == 3 * MultiAccddoa.axes * 13
    return TrialConfig(
        inputs=InputConfig(n_fft=1024, hop=480, n_mels=64, window_s=5.0),
        audio=SeldNet(),
        fusion=AudioOnly(conformer=ConformerConfig(layers=0)),
        head=HeadConfig(activation="none"),
        output=MultiAccddoa() if distances else MultiAccdoa(),
    )


assert FIELDS.keys() == KINDS.keys()
