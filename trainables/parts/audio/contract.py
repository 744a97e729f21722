"""What an audio encoder is, and the registry of them."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar

from torch import nn

from data.registry.parts import Registry
from trainables.checks import check
from trainables.inputs.input_config import InputConfig
from trainables.parts.contract import Part
from trainables.weights.fitting import WeightsSlot


class AudioEncoder(Part):
    """How a model hears; register with `@AUDIO_ENCODERS.register`."""

    hears: ClassVar[bool] = True
    """False: the model goes by pictures alone, and `build` gives no network."""
    width_field: ClassVar[str]
    """The field that decides `width`; messages about widths name it."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Of its embedding, and of each visual one, which is projected onto it."""

    @abstractmethod
    def build(self, num_bands: int) -> nn.Module | None:
        """Its network with random weights: features (B, 7, T * F, num_bands) -> (B, T, width), F feature frames to a
        label frame. None: it does not hear.

        Pure torch: it reads no files, and knows of no device. Features are normalised before."""

    def check(self, inputs: InputConfig) -> None:
        """Raise UserError where it cannot hear such inputs; the message names the field to change."""

    def slots(self) -> tuple[WeightsSlot, ...]:
        """The places in it that take pre-trained weights, under `audio`."""
        return ()


def check_reductions(inputs: InputConfig, kind: str, in_time: tuple[int, ...], in_frequency: tuple[int, ...]) -> None:
    """UserError unless an encoder makes one embedding of each label frame, and leaves something of the bands.

    Args:
        kind: what the steps are called: "strides" for the fields `audio.time_strides` and `audio.frequency_strides`.
    """
    reduction = math.prod(in_time)
    check(
        reduction == inputs.features_per_label,
        f"audio.time_{kind}",
        in_time,
        f"their product is {reduction}, but inputs.hop = {inputs.hop} gives {inputs.features_per_label} feature frames "
        "in a label frame; make them equal",
    )
    check(
        math.prod(in_frequency) <= inputs.n_mels,
        f"audio.frequency_{kind}",
        in_frequency,
        f"they leave nothing of inputs.n_mels = {inputs.n_mels}",
    )


AUDIO_ENCODERS: Registry[type[AudioEncoder]] = Registry(
    "audio encoder", AudioEncoder, order=("cnn_conformer", "seldnet", "none")
)
