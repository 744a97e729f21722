"""Pre-trained weights: which published files are understood, how their names become ours, and where they go.

A file is recognised by its keys alone, never unpickled beyond tensors, and either fits or is refused with the first
keys that do not. `infra.models.import_weights` stores recognised files as safetensors under our names, with their
provenance.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from data.errors import UserError
from trainables.config import CnnConformer, I3d, ResNetAndI3d, ResNetConformer, TrialConfig
from trainables.reference_keys import from_reference
from trainables.seldnet import from_dcase

logger = logging.getLogger(f"seldtune.{__name__}")

State = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class WeightsKind:
    """A family of published weights."""

    name: str
    title: str
    marks: tuple[str, ...]
    """Keys that every such file has, after a leading `module.` is taken off."""
    rename: Callable[[State], State]
    """To the names of the part of the model that takes them; what that part has no place for is left out."""


def _without(prefix: str) -> Callable[[State], State]:
    return lambda state: {key: value for key, value in state.items() if not key.startswith(prefix)}


# A later kind may hold the marks of an earlier one.
KINDS: dict[str, WeightsKind] = {
    kind.name: kind
    for kind in (
        WeightsKind(
            name="resnet",
            title="a torchvision ResNet (ImageNet)",
            marks=("conv1.weight", "layer1.0.conv1.weight"),
            rename=_without("fc."),
        ),
        WeightsKind(
            name="i3d",
            title="Inception I3D, RGB (Kinetics)",
            marks=("Conv3d_1a_7x7.conv3d.weight", "Mixed_5c.b0.conv3d.weight"),
            rename=_without("logits."),
        ),
        WeightsKind(
            name="av_seld_audio",
            title="the pre-trained audio encoder of AV-SELD",
            marks=("conv_block1.conv1.weight", "conformer.conformer_layers.0.ffn1.sequential.1.weight"),
            rename=from_reference,
        ),
        WeightsKind(
            name="av_seld",
            title="a whole model of AV-SELD",
            marks=("audioFrontEnd.conv_block1.conv1.weight", "AVfnn_list.0.weight"),
            rename=from_reference,
        ),
        WeightsKind(
            name="dcase",
            title="the audio baseline of DCASE Task 3 (SELDnet)",
            marks=("conv_block_list.0.conv.weight", "mhsa_block_list.0.in_proj_weight", "fnn_list.0.weight"),
            rename=from_dcase,
        ),
    )
}


@dataclass(frozen=True, kw_only=True)
class WeightsSlot:
    """A place in a model that takes pre-trained weights."""

    field: str
    uri: str | None
    kinds: tuple[str, ...]
    module: Callable[[nn.Module], nn.Module]
    own: tuple[str, ...] = ()
    """Beginnings of our keys that no published file has."""
    loud: bool = False
    """Results without them say nothing about the encoder as published."""


def slots(config: TrialConfig) -> list[WeightsSlot]:
    """The places of the model that `config` describes."""
    found = [
        WeightsSlot(
            field="training.initial_weights",
            uri=config.training.initial_weights,
            kinds=("av_seld", "dcase"),
            module=lambda model: model,
            own=("feature_", "visual.backbone.", "visual.resnet.backbone.", "visual.i3d.backbone."),
        )
    ]
    if isinstance(config.audio, CnnConformer):
        found.append(
            WeightsSlot(
                field="audio.weights",
                uri=config.audio.weights,
                kinds=("av_seld_audio",),
                module=lambda model: model.get_submodule("audio"),
            )
        )
    visual = config.visual
    if isinstance(visual, ResNetConformer | I3d):
        found.append(_visual_slot("visual", visual, "visual.backbone"))
    elif isinstance(visual, ResNetAndI3d):
        found.append(_visual_slot("visual.resnet", visual.resnet, "visual.resnet.backbone"))
        found.append(_visual_slot("visual.i3d", visual.i3d, "visual.i3d.backbone"))
    return found


def _visual_slot(part: str, encoder: ResNetConformer | I3d, place: str) -> WeightsSlot:
    return WeightsSlot(
        field=f"{part}.weights",
        uri=encoder.weights,
        kinds=("i3d" if isinstance(encoder, I3d) else "resnet",),
        module=lambda model: model.get_submodule(place),
        loud=True,
    )


def load_pretrained(model: nn.Module, config: TrialConfig) -> None:
    """Load the pre-trained weights that the config names, if it names any; parts after the whole.

    Raises:
        UserError: a file is missing, foreign or truncated, or does not fit; the first keys that do not are named.
    """
    for slot in slots(config):
        if slot.uri is None:
            continue
        kind, state = read_weights(slot.uri, slot.field)
        if kind.name not in slot.kinds:
            wanted = " or ".join(KINDS[name].title for name in slot.kinds)
            raise UserError(f"{slot.field} = {slot.uri!r} holds {kind.title}; {wanted} is expected there")
        load_fitting(slot.module(model), state, f"{slot.field} = {slot.uri!r}", slot.own)


def warn_random_weights(config: TrialConfig) -> None:
    """Where a model will see with random weights, say so: its results are not those of a pre-trained encoder."""
    for slot in slots(config):
        if slot.loud and slot.uri is None:
            logger.warning(
                "%s is not set: %s starts from RANDOM weights, and its scores say nothing about a pre-trained "
                "encoder; name %s to change that (`seldtune weights import --help`)",
                slot.field,
                config.visual.name,
                " or ".join(KINDS[name].title for name in slot.kinds),
            )


def load_fitting(module: nn.Module, state: Mapping[str, Tensor], what: str, own: tuple[str, ...] = ()) -> None:
    """Load a state dict that has to fit `module` key by key, except for counters and for keys that begin as in `own`.

    Raises:
        UserError: naming `what` and the first keys that do not fit.
    """
    wrong = misfits(module, state, own)
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UserError(f"{what} does not fit the configured network: {', '.join(wrong[:3])}{more}")
    module.load_state_dict(state, strict=False)


def misfits(module: nn.Module, state: Mapping[str, Tensor], own: tuple[str, ...] = ()) -> list[str]:
    """The keys of either side that the other does not have in that shape, with the reason."""
    expected = module.state_dict()
    wrong = [
        f"{key} (missing)"
        for key in expected
        if key not in state and not key.endswith("num_batches_tracked") and not key.startswith(own)
    ]
    wrong += [f"{key} (not in the model)" for key in state if key not in expected]
    wrong += [
        f"{key} (shape {tuple(value.shape)}, expected {tuple(expected[key].shape)})"
        for key, value in state.items()
        if key in expected and value.shape != expected[key].shape
    ]
    return wrong


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """Hash of the numbers under their names, whatever file they came from; counters do not matter."""
    digest = hashlib.sha256()
    for key, value in sorted(state.items()):
        if not key.endswith("num_batches_tracked"):
            plain = value.detach().cpu().float().contiguous()
            digest.update(f"{key} {tuple(plain.shape)}\n".encode())
            digest.update(plain.numpy().tobytes())
    return digest.hexdigest()


def read_weights(uri: str, what: str) -> tuple[WeightsKind, State]:
    """A published file, or one stored by `seldtune weights import`, local or on S3: its kind, and our names for it.

    Raises:
        UserError: it is missing, truncated, or none of `KINDS`.
    """
    return parse_weights(read_content(uri, what), f"{what} = {uri!r}")


def read_content(uri: str, what: str) -> bytes:
    """The bytes of a file, local or on S3.

    Raises:
        UserError: it cannot be read; the message begins with `what`.
    """
    try:
        if "://" in uri:
            from data import storage  # local paths need none of its dependencies

            return storage.read_bytes(uri)
        return Path(uri).read_bytes()
    except OSError as error:
        raise UserError(f"{what} = {uri!r} cannot be read: {error.strerror or error}") from error


def parse_weights(content: bytes, what: str) -> tuple[WeightsKind, State]:
    """The same from a file's bytes."""
    state, metadata = parse_state(content, what)
    if metadata.get("kind") in KINDS:
        return KINDS[metadata["kind"]], state
    kind, state = _recognise(state, what)
    return kind, kind.rename(state)


def parse_state(content: bytes, what: str) -> tuple[State, dict[str, str]]:
    """A state dict from the bytes of a `.safetensors` file or one of torch, and the former's own metadata.

    Nothing but tensors is unpickled. A checkpoint that holds its weights one level down (`state_dict`,
    `model_state_dict`, `model`) is looked into.

    Raises:
        UserError: it is truncated or foreign, or holds no names with tensors.
    """
    try:
        # Eight bytes of length, then a JSON object: safetensors. Anything else is torch's to judge.
        if content[8:9] == b"{":
            from safetensors.torch import load  # so that training can run where it is not installed

            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            return load(content), header.get("__metadata__", {})
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # torch's own message advises to run the file's code
        raise UserError(f"{what} is no state dict: it holds other things than names and tensors") from error
    except Exception as error:  # each format has its own errors for a foreign file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{what} is no state dict in torch or safetensors form, or is truncated: {reason}") from error
    for level in ("state_dict", "model_state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(level), Mapping):
            loaded = loaded[level]
    if not isinstance(loaded, Mapping) or not loaded or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise UserError(f"{what} holds no state dict (names and tensors)")
    return dict(loaded), {}


def _recognise(state: State, what: str) -> tuple[WeightsKind, State]:
    """The kind of a published state dict, and the dict without the prefix of a parallel wrapper."""
    prefix = "module."
    if all(key.startswith(prefix) for key in state):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    for kind in KINDS.values():
        if all(mark in state for mark in kind.marks):
            return kind, state
    understood = "; ".join(f"{kind.title} (has {kind.marks[0]})" for kind in KINDS.values())
    raise UserError(
        f"{what} holds {len(state)} entries ({', '.join(list(state)[:3])}, ...), no weights known here: {understood}"
    )
