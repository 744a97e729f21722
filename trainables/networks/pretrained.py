"""Pre-trained weights into the network of a trial.

A file is recognised by its keys alone. Published weights either fit or are refused with the first keys that do not; of
a model that was trained here whatever fits is taken, and the rest is left.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from data.errors import UserError
from trainables.config import TrialConfig
from trainables.weights.files import State, require_content, weights_sha256
from trainables.weights.fitting import WeightsSlot, load_fitting, take_fitting
from trainables.weights.kinds import KINDS, OWN, read_weights

logger = logging.getLogger(f"seldtune.{__name__}")


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What a model began with from one file."""

    field: str
    """Of the config, that names the file."""
    uri: str
    kind: str
    sha256: str
    """Of the numbers under their names (`weights_sha256`)."""
    keys: tuple[str, ...]
    """Entries of the model that came from there."""
    left: tuple[str, ...]
    """Entries of the file, for that place, that the model has no place for."""

    def as_json(self) -> dict[str, Any]:
        """For a model's provenance."""
        said = {"field": self.field, "uri": self.uri, "kind": self.kind, "weights_sha256": self.sha256}
        return {**said, "taken": len(self.keys), "left": list(self.left)}


def slots(config: TrialConfig) -> list[WeightsSlot]:
    """The places of the model that `config` describes: all of it, then those that its encoders name."""
    seeing = [slot for path, member in config.visual.members().items() for slot in member.slots(path)]
    whole = WeightsSlot(
        field="training.initial_weights",
        uri=config.training.initial_weights,
        kinds=("av_seld", "dcase"),
        place="",
        # What is known of the data, and the networks that pictures go through, are in no published model.
        own=("feature_", *(f"{slot.place}." for slot in seeing)),
    )
    return [whole, *config.audio.slots(), *seeing]


def require_weights(configs: Iterable[TrialConfig]) -> None:
    """UserError where one of the configs names weights that are not there; nothing of them is read."""
    named = {(slot.field, slot.uri) for config in configs for slot in slots(config) if slot.uri is not None}
    for field, uri in sorted(named):
        require_content(uri, field)


def load_pretrained(model: nn.Module, config: TrialConfig) -> list[Taken]:
    """Load the pre-trained weights that the config names, if it names any, parts after the whole; what was taken.

    Raises:
        UserError: a file is missing, foreign or truncated, or does not fit; the first keys that do not are named.
    """
    taken = []
    for slot in slots(config):
        if slot.uri is None:
            continue
        kind, state = read_weights(slot.uri, slot.field)
        what = f"{slot.field} = {slot.uri!r}"
        if kind.name == OWN:
            keys, left = _take_own(model, state, slot, what)
        elif kind.name in slot.kinds:
            load_fitting(model.get_submodule(slot.place), state, what, slot.own)
            keys, left = [f"{slot.place}.{key}" if slot.place else key for key in state], []
        else:
            wanted = " or ".join(KINDS[name].title for name in slot.kinds)
            raise UserError(f"{what} holds {kind.title}; {wanted} is expected there")
        taken.append(
            Taken(
                field=slot.field,
                uri=slot.uri,
                kind=kind.name,
                sha256=weights_sha256(state),
                keys=tuple(keys),
                left=tuple(left),
            )
        )
    return taken


def _take_own(model: nn.Module, state: State, slot: WeightsSlot, what: str) -> tuple[list[str], list[str]]:
    """What fits of another trained model: all of it, or of its encoder where an encoder's field names it."""
    part = f"{slot.place.partition('.')[0]}." if slot.place else ""
    # Statistics of features belong to the data that a model is trained on.
    of_part = {key: value for key, value in state.items() if key.startswith(part) and not key.startswith("feature_")}
    keys = take_fitting(model, of_part, what)
    left = sorted(of_part.keys() - set(keys))
    first = f" ({', '.join(left[:3])}{', ...' if len(left) > 3 else ''})" if left else ""
    logger.info("%s: %d entries taken, %d left%s", what, len(keys), len(left), first)
    return keys, left


def warn_random_weights(config: TrialConfig) -> None:
    """Where a model will see with random weights, say so: its results are not those of a pre-trained encoder."""
    for slot in slots(config):
        if slot.loud and slot.uri is None:
            logger.warning(
                "%s is not set: %s starts from RANDOM weights, and its scores say nothing about a pre-trained "
                "encoder; name %s to change that (`seldtune weights import --help`)",
                slot.field,
                getattr(config, slot.field.partition(".")[0]).name,
                " or ".join(KINDS[name].title for name in slot.kinds),
            )
