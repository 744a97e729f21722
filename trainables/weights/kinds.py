"""Which published files are understood, and how their names become ours: the registry of them.

Weights of one part are registered where the part is, those of whole models here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from data.errors import UserError
from data.registry.parts import Registry
from trainables.weights.files import State, parse_state, read_content
from trainables.weights.reference_keys import from_dcase, from_reference


@dataclass(frozen=True, kw_only=True)
class WeightsKind:
    """A family of published weights; register with `KINDS.register`."""

    name: str
    title: str
    marks: tuple[str, ...]
    """Keys that every such file has, after a leading `module.` is taken off."""
    rename: Callable[[State], State]
    """To the names of the part of the model that takes them; what that part has no place for is left out."""
    field: str
    """Of a trial's config, which takes them."""
    network: Callable[[State], nn.Module] | None = None
    """The published network that renamed weights are for, to check them when they are brought in; None: a whole
    model."""


def without(prefix: str) -> Callable[[State], State]:
    """A `WeightsKind.rename` that only leaves out the entries that begin so."""
    return lambda state: {key: value for key, value in state.items() if not key.startswith(prefix)}


OWN = "own"
"""The kind of a model that was trained here, which may start any other in whatever fits."""

# A later kind may hold the marks of an earlier one.
KINDS: Registry[WeightsKind] = Registry(
    "kind of weights", WeightsKind, order=("resnet", "i3d", "av_seld_audio", "av_seld", "dcase", OWN)
)
KINDS.register(
    WeightsKind(
        name="av_seld",
        title="a whole model of AV-SELD",
        marks=("audioFrontEnd.conv_block1.conv1.weight", "AVfnn_list.0.weight"),
        rename=from_reference,
        field="training.initial_weights",
    )
)
KINDS.register(
    WeightsKind(
        name="dcase",
        title="the audio baseline of DCASE Task 3 (SELDnet)",
        marks=("conv_block_list.0.conv.weight", "mhsa_block_list.0.in_proj_weight", "fnn_list.0.weight"),
        rename=from_dcase,
        field="training.initial_weights",
    )
)
KINDS.register(
    WeightsKind(
        name=OWN,
        title="a model of seldtune",
        marks=("feature_mean", "feature_std", "head.out.weight"),
        rename=dict,
        field="training.initial_weights",
    )
)


def read_weights(uri: str, what: str) -> tuple[WeightsKind, State]:
    """A published file, or one stored by `seldtune weights import`, local or on S3: its kind, and our names for it.

    Raises:
        UserError: it is missing, truncated, or none of `KINDS`.
    """
    return parse_weights(read_content(uri, what), f"{what} = {uri!r}")


def parse_weights(content: bytes, what: str) -> tuple[WeightsKind, State]:
    """The same from a file's bytes."""
    state, metadata = parse_state(content, what)
    if metadata.get("kind") in KINDS:
        return KINDS[metadata["kind"]], state
    kind, state = _recognise(state, what)
    return kind, kind.rename(state)


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
