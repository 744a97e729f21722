"""Pre-trained weights into the network of a trial.

A file is recognised by its keys alone, and either fits or is refused with the first keys that do not.
"""

from __future__ import annotations

import logging

from torch import nn

from data.errors import UserError
from trainables.config import TrialConfig
from trainables.weights.fitting import WeightsSlot, load_fitting
from trainables.weights.kinds import KINDS, read_weights

logger = logging.getLogger(f"seldtune.{__name__}")


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
        load_fitting(model.get_submodule(slot.place), state, f"{slot.field} = {slot.uri!r}", slot.own)


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
