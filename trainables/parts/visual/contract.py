"""What a visual encoder is, and the registry of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from data.registry.parts import Registry
from trainables.inputs.box_source import BoxSource
from trainables.inputs.input_config import InputConfig
from trainables.parts.audio import AudioEncoder
from trainables.parts.contract import Part
from trainables.parts.visual.modules import VisualModule
from trainables.weights.fitting import WeightsSlot


class VisualEncoder(Part):
    """How a model sees; register with `@VISUAL_ENCODERS.register`."""

    reads: ClassVar[str | None] = None
    """What a model with this encoder looks at when it is used: "frames", "boxes", or None: it does not see."""
    mixes: ClassVar[bool] = True
    """What it reads may be a mixture of two windows (mixup)."""
    detector: str | None = None
    """A field of those that read boxes: URI of the detector that finds them in frames, where there is no csv."""
    computed_width: ClassVar[int | None] = None
    """Where `VisualModule.embed` computes vectors outside the network, their width, for estimates; None: the network
    itself looks."""

    @property
    def sees(self) -> bool:
        return self.reads is not None

    @property
    def columns(self) -> tuple[str, ...]:
        """What of a prepared row (`data.feeding.windows`) it learns from: what it reads, or embeddings in its place."""
        return () if self.reads is None else (self.reads,)

    def width_out(self, width: int) -> int:
        """Width of its embedding, where the audio encoder's is `width` wide."""
        return width

    def members(self, path: str = "visual") -> Mapping[str, VisualEncoder]:
        """The encoders that it consists of, by their dotted place in a config, which is their place in the model too:
        itself alone, but where several stand side by side."""
        return {path: self}

    @abstractmethod
    def build(self, width: int) -> VisualModule | None:
        """Its network with random weights, projected to the audio encoder's width. None: it does not see.

        Pure torch: it reads no files, and knows of no device. Frames are normalised in it."""

    def check(self, inputs: InputConfig, audio: AudioEncoder, path: str = "visual") -> None:
        """Raise UserError where it cannot see such inputs beside that audio encoder.

        Args:
            path: where it stands in the config; the message begins with the field under it.
        """

    def slots(self, path: str = "visual") -> tuple[WeightsSlot, ...]:
        """The places in it that take pre-trained weights.

        Args:
            path: where it stands, in the config and in the model.
        """
        return ()

    def box_source(self, inputs: InputConfig) -> BoxSource | None:
        """Where the boxes that it reads come from; None: it reads none.

        Raises:
            UserError: its config does not say.
        """
        return None


VISUAL_ENCODERS: Registry[type[VisualEncoder]] = Registry(
    "visual encoder", VisualEncoder, order=("none", "resnet_conformer", "i3d", "both", "boxes")
)
