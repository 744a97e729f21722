"""Boxes around objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from data.errors import UserError
from data.files.boxes import VECTOR_WIDTH, gaussian_vectors
from trainables.checks import check
from trainables.inputs.box_source import BoxSource
from trainables.inputs.input_config import InputConfig
from trainables.parts.visual.contract import VISUAL_ENCODERS, VisualEncoder
from trainables.parts.visual.modules import VisualModule, resample_time


@VISUAL_ENCODERS.register
@dataclass(frozen=True, kw_only=True)
class ObjectBoxes(VisualEncoder):
    """Boxes around objects as Gaussian-like vectors (the audio-visual baseline of DCASE 2023), projected.

    One of `csv` and `detector` says where a trial's boxes come from; a model is built without either.
    """

    name: ClassVar[str] = "boxes"
    reads: ClassVar[str] = "boxes"
    mixes: ClassVar[bool] = False
    computed_width: ClassVar[int | None] = VECTOR_WIDTH
    csv: str | None = None
    """Folder or s3:// URI with a `<recording>.csv` of boxes for each recording."""
    detector: str | None = None
    """URI of a state dict of torchvision's Faster R-CNN (MobileNetV3-Large FPN), run on each picture."""

    def __post_init__(self) -> None:
        check(
            self.csv is None or self.detector is None,
            "visual.csv",
            self.csv,
            f"boxes come from a csv or from visual.detector = {self.detector!r}; name one",
        )

    def box_source(self, inputs: InputConfig) -> BoxSource:
        if self.csv is None and self.detector is None:
            raise UserError(
                "visual.csv and visual.detector are not set, so there are no boxes to look at; name a folder of csv "
                "or the weights of torchvision's fasterrcnn_mobilenet_v3_large_fpn"
            )
        return BoxSource(self.csv, self.detector, inputs.frame_rate_hz)

    def build(self, width: int) -> VisualModule:
        return ObjectBoxesEncoder(width)


class ObjectBoxesEncoder(VisualModule):
    """Boxes as Gaussian-like vectors over azimuth and elevation (Shimada et al., 2023, section 5), projected."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(VECTOR_WIDTH, width), nn.Linear(width, width))

    def embed(self, seen: Tensor) -> Tensor:
        vectors = torch.from_numpy(gaussian_vectors(seen.flatten(0, 1).cpu().numpy()))
        return vectors.to(seen.device).unflatten(0, seen.shape[:2])

    def encode(self, embedding: Tensor, steps: int) -> Tensor:
        return self.project(resample_time(embedding, steps))
