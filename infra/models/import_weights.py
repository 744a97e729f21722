"""Bring weights in, published ones and those of models in MLflow: recognised, checked, and stored without pickle.

An import is one safetensors file under the root, entries under our names, with where it came from in its own metadata:
whatever loads it can say what it is, and it is there whole or not at all.
"""

from __future__ import annotations

import hashlib
import logging
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from data import storage
from data.errors import UserError
from infra.models.own_weights import is_own, read_own
from trainables.config import (
    AudioOnly,
    AvConformer,
    Cmaf,
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
from trainables.config.tree import leaves
from trainables.networks.model import SeldModel
from trainables.networks.pretrained import slots
from trainables.weights.files import State, parse_state, read_content
from trainables.weights.fitting import misfits
from trainables.weights.kinds import OWN, WeightsKind, parse_weights

logger = logging.getLogger(f"seldtune.{__name__}")


def bring_own_weights(fixed: Mapping[str, Any], root: str) -> dict[str, Any]:
    """The fields of a config with models of MLflow brought to storage, where workers read them.

    Raises:
        UserError: there is no such model.
    """
    brought = {}
    for field, value in leaves(fixed):
        brought[field] = value
        if is_own(value):
            stored = import_weights(value, None, root)
            logger.info("%s = %s: %d entries, at %s", field, value, stored["entries"], stored["uri"])
            brought[field] = stored["uri"]
    return brought


def import_weights(source: str, name: str | None, root: str, sha256: str | None = None) -> dict[str, Any]:
    """Store weights as `<root>/weights/<name>.safetensors`.

    Args:
        source: of published weights, a file, s3:// or https:// address; of a model that was trained here also
            `models:/<name>@<alias>`, `models:/<name>/<version>` or `runs:/<id of a trial's run>`.
        name: nothing: by the hash of what is stored.
        sha256: what the file's SHA-256 has to be; nothing: it is only written down.

    Returns:
        Where they are, what they are, and the provenance that is stored with them; ready for JSON.

    Raises:
        UserError: the file is missing, truncated, foreign or not the one expected, its keys do not fit the network it
            is for, or the name is taken by other weights. Nothing is written then.
    """
    if name is not None and not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        raise UserError(f"--as {name!r}: use letters, digits, - _ and .")
    content = _fetch(source, root)
    digest = hashlib.sha256(content).hexdigest()
    if sha256 is not None and digest != sha256.lower():
        raise UserError(f"{source} has SHA-256 {digest}, not {sha256}: it is another file, or it was damaged")
    kind, state = parse_weights(content, source)
    # What was trained here was registered with its config, and starts others in part.
    wrong = [] if kind.name == OWN else misfits(*_network(kind, state))
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
    uri = f"{root.rstrip('/')}/weights/{name or digest[:16]}.safetensors"
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
        "field": kind.field,
        "provenance": provenance,
    }


def _fetch(source: str, root: str) -> bytes:
    if is_own(source):
        return read_own(source, root)
    if not source.startswith(("http://", "https://")):
        return read_content(source, "SOURCE")
    try:
        with urllib.request.urlopen(source, timeout=60) as response:
            return response.read()
    except (urllib.error.URLError, OSError) as error:
        raise UserError(f"{source} cannot be fetched ({error}); download it by hand and name the file") from error


def _network(kind: WeightsKind, state: State) -> tuple[nn.Module, State, tuple[str, ...]]:
    """The network that weights of a kind are for, without memory, and the beginnings of keys they need not have."""
    with torch.device("meta"):
        if kind.network is not None:
            return kind.network(state), state, ()
        config = _WHOLE_MODELS[kind.name](state)
        return SeldModel(config), state, slots(config)[0].own


def _av_seld(state: State) -> TrialConfig:
    """Which of the released models it is."""
    resnet = any(key.startswith("visual.conformer.") for key in state)
    cmaf = any(key.startswith("fusion.audio_layers.") for key in state)
    return TrialConfig(
        visual=ResNetConformer() if resnet else I3d(),
        fusion=Cmaf(sequential=True, positional_encoding=True) if cmaf else AvConformer(),
        head=HeadConfig(activation="none"),
    )


def _dcase(state: State) -> TrialConfig:
    """With distances (2024) or without (2023)."""
    distances = len(state["head.out.bias"]) == 3 * MultiAccddoa.axes * 13
    return TrialConfig(
        inputs=InputConfig(n_fft=1024, hop=480, n_mels=64, window_s=5.0),
        audio=SeldNet(),
        fusion=AudioOnly(conformer=ConformerConfig(layers=0)),
        head=HeadConfig(activation="none"),
        output=MultiAccddoa() if distances else MultiAccdoa(),
    )


_WHOLE_MODELS: dict[str, Callable[[State], TrialConfig]] = {"av_seld": _av_seld, "dcase": _dcase}
