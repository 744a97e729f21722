"""I3D on the two halves of the panorama."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from trainables.checks import check
from trainables.inputs.input_config import InputConfig
from trainables.layers.i3d import I3dBackbone, i3d_embedding, upsample_time
from trainables.parts.audio import AudioEncoder
from trainables.parts.visual.backbone import Backbone
from trainables.parts.visual.contract import VISUAL_ENCODERS
from trainables.parts.visual.modules import BackboneModule
from trainables.weights.kinds import KINDS, WeightsKind, without

KINDS.register(
    WeightsKind(
        name="i3d",
        title="Inception I3D, RGB (Kinetics)",
        marks=("Conv3d_1a_7x7.conv3d.weight", "Mixed_5c.b0.conv3d.weight"),
        rename=without("logits."),
        field="visual.weights",
        network=lambda state: I3dBackbone(),
    )
)


@VISUAL_ENCODERS.register
@dataclass(frozen=True, kw_only=True)
class I3d(Backbone):
    """Inflated 3-D Inception on the left and the right half of the panorama (Carreira and Zisserman, 2017)."""

    name: ClassVar[str] = "i3d"
    reads: ClassVar[str] = "frames"
    embedded_as: ClassVar[str] = "i3d_embeddings"
    of_windows: ClassVar[bool] = True
    structure: ClassVar[tuple[str, ...]] = ("width",)
    weights_kind: ClassVar[str] = "i3d"
    width: float = 1.0
    """All channels are multiplied by this; 1 is the published network, 1,024 channels at its end."""
    upsample: str = "linear"
    """From the network's few steps in time to label frames: `linear`, or `nearest` as in the authors' release."""
    weights: str | None = None
    """URI of the Kinetics weights (`rgb_imagenet.pt`) or nothing: random weights, said loudly."""
    frozen: bool = False
    """Keep the network as loaded, in evaluation mode, and train only what follows it."""
    embeddings: str | None = None
    """URI of what the frozen network makes of the data (`seldtune data embed`), read in place of pictures, or None."""

    def __post_init__(self) -> None:
        check(0.0 < self.width <= 4.0, "visual.width", self.width, "has to be in (0, 4]")
        check(self.upsample in ("linear", "nearest"), "visual.upsample", self.upsample, "choose linear or nearest")
        self.check_frozen()

    def check(self, inputs: InputConfig, audio: AudioEncoder, path: str = "visual") -> None:
        check(
            inputs.frame_width == 2 * inputs.frame_height,
            "inputs.frame_width",
            inputs.frame_width,
            f"I3D sees the two square halves of a panorama: has to be {2 * inputs.frame_height}, twice "
            "inputs.frame_height",
        )

    def build(self, width: int) -> BackboneModule:
        return I3dEncoder(self, width)


class I3dEncoder(BackboneModule):
    """I3D on the two halves of the panorama, projected (section 3)."""

    backbone: I3dBackbone

    def __init__(self, config: I3d, width: int) -> None:
        super().__init__(I3dBackbone(config.width), config.frozen)
        self.upsample = config.upsample
        self.project = nn.Linear(2 * self.backbone.width_out, width)

    def look(self, pictures: Tensor) -> Tensor:
        return i3d_embedding(self.backbone, pictures)

    def encode(self, embedding: Tensor, steps: int) -> Tensor:
        return upsample_time(self.project(embedding), steps, self.upsample)
