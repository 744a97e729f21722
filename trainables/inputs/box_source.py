"""Where the boxes of a recording come from: a csv for each recording, or a detector that looks at its frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.boxes import BOX_FIELDS, MAX_BOXES, Boxes, read_boxes_csv
from data.labels import LABEL_RATE_HZ


@dataclass(frozen=True)
class BoxSource:
    """Boxes at `rate_hz` pictures a second. Picklable."""

    csv: str | None
    detector: str | None
    rate_hz: float

    @property
    def reads_frames(self) -> bool:
        return self.detector is not None

    def __call__(self, recording: str, start_frame: int, count: int, frames: NDArray[np.uint8] | None) -> Boxes:
        """`count` boxes from label frame `start_frame` of the recording on, (count, 6, 5); none without video.

        Args:
            frames: the pictures at the same places, where `reads_frames`.

        Raises:
            UserError: the recording's csv is missing or wrong, or the detector cannot be loaded.
        """
        if self.csv is not None:
            return boxes_at(f"{self.csv.rstrip('/')}/{recording}.csv", start_frame, count, self.rate_hz)
        assert self.detector is not None
        assert frames is not None
        from trainables.inputs.detector import load_detector  # torchvision's detection models are slow to import

        return load_detector(self.detector)(frames) if len(frames) else np.zeros((0, MAX_BOXES, BOX_FIELDS), np.float32)


def boxes_at(csv: str, start_frame: int, count: int, rate_hz: float) -> Boxes:
    """`count` boxes of a csv, (count, 6, 5), at `rate_hz` from label frame `start_frame` on.

    Raises:
        UserError: see `read_boxes_csv`.
    """
    at = start_frame + np.floor(np.arange(count) * (LABEL_RATE_HZ / rate_hz) + 0.5).astype(np.int64)
    return read_boxes_csv(csv, int(at[-1]) + 1)[at]
