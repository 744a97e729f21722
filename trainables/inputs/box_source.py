"""Where the boxes of a recording come from: a csv for each recording, or a detector that looks at its pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.files.boxes import BOX_FIELDS, MAX_BOXES, Boxes, read_boxes_csv
from data.timing import LABEL_RATE_HZ


@dataclass(frozen=True)
class BoxSource:
    """Boxes at `rate_hz` pictures a second. Picklable."""

    csv: str | None
    detector: str | None
    rate_hz: float

    @property
    def reads_pictures(self) -> bool:
        return self.detector is not None

    def __call__(self, recording: str, start_label: int, count: int, pictures: NDArray[np.uint8] | None) -> Boxes:
        """`count` boxes from label frame `start_label` of the recording on, (count, 6, 5); none without video.

        Args:
            pictures: those at the same places, where `reads_pictures`.

        Raises:
            UserError: the recording's csv is missing or wrong, or the detector cannot be loaded.
        """
        if self.csv is not None:
            return boxes_at(f"{self.csv.rstrip('/')}/{recording}.csv", start_label, count, self.rate_hz)
        assert self.detector is not None
        assert pictures is not None
        from trainables.inputs.detector import load_detector  # torchvision's detection models are slow to import

        return (
            load_detector(self.detector)(pictures)
            if len(pictures)
            else np.zeros((0, MAX_BOXES, BOX_FIELDS), np.float32)
        )


def boxes_at(csv: str, start_label: int, count: int, rate_hz: float) -> Boxes:
    """`count` boxes of a csv, (count, 6, 5), at `rate_hz` from label frame `start_label` on.

    Raises:
        UserError: see `read_boxes_csv`.
    """
    at = start_label + np.floor(np.arange(count) * (LABEL_RATE_HZ / rate_hz) + 0.5).astype(np.int64)
    return read_boxes_csv(csv, int(at[-1]) + 1)[at]
