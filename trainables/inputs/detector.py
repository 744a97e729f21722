"""Boxes around people by torchvision's Faster R-CNN, as the contract of `data.files.boxes` has them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_fpn

from data.files.boxes import BOX_FIELDS, MAX_BOXES, Boxes
from trainables.weights.files import parse_state, read_content
from trainables.weights.fitting import load_fitting

PERSON = 1
"""COCO's class of people, the only objects that the baseline looks at."""
MIN_SCORE = 0.1


class BoxDetector:
    """Pictures to boxes of people, on the CPU.

    Args:
        state: the published state dict of `fasterrcnn_mobilenet_v3_large_fpn` (COCO).
        min_score: boxes that are less sure than this are left out.
        what: names the state dict in errors.

    Raises:
        UserError: the state dict does not fit; the first keys that do not are named.
    """

    def __init__(
        self, state: Mapping[str, Tensor], min_score: float = MIN_SCORE, what: str = "the detector's state dict"
    ) -> None:
        self._network = fasterrcnn_mobilenet_v3_large_fpn(
            weights=None, weights_backbone=None, box_score_thresh=min_score
        )
        load_fitting(self._network, state, what)
        self._network.eval()

    @torch.no_grad()
    def __call__(self, pictures: NDArray[np.uint8]) -> Boxes:
        """uint8 pictures (V, H, W, 3) -> boxes (V, 6, 5)."""
        boxes = np.zeros((len(pictures), MAX_BOXES, BOX_FIELDS), np.float32)
        size = np.array([pictures.shape[2], pictures.shape[1]] * 2, np.float32)
        for index, picture in enumerate(pictures):
            if index and np.array_equal(picture, pictures[index - 1]):
                boxes[index] = boxes[index - 1]
                continue
            (found,) = self._network([torch.from_numpy(picture).movedim(-1, 0) / 255.0])
            people = (found["labels"] == PERSON).nonzero().flatten()[:MAX_BOXES]
            corners = found["boxes"][people].numpy() / size
            # An edge of the picture is the other one's neighbour; one that lies on it is brought just inside.
            corners[:, 0] = np.minimum(corners[:, 0], np.nextafter(np.float32(1), np.float32(0)))
            boxes[index, : len(people), :4] = corners
            boxes[index, : len(people), 4] = found["scores"][people].numpy()
        return boxes


@lru_cache(maxsize=1)
def load_detector(uri: str) -> BoxDetector:
    """The detector whose published state dict lies at `uri`; loaded once a process.

    Raises:
        UserError: the file is missing, truncated or foreign; the first keys that do not fit are named.
    """
    what = f"visual.detector = {uri!r}"
    state, _ = parse_state(read_content(uri, "visual.detector"), what)
    return BoxDetector(state, what=what)
