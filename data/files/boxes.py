"""Boxes around objects in the panorama, and the Gaussian-like vectors that a network reads in their place.

Contract: float32 (V, 6, 5), one entry a picture, the strongest box first; left, top, right and bottom as fractions of
the picture's width and height, then the detector's score. A place without a box is all zeros. A box that crosses the
left and right edge, where the panorama goes on, has its right beyond 1.

Source of the vectors: the audio-visual baseline of DCASE 2023 Task 3 (Shimada et al., "STARSS23: an audio-visual
dataset of spatial recordings of real scenes", 2023, section 5), with azimuth made circular.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data import storage
from data.errors import UserError
from data.swaps import IDENTITY, SWAPS

MAX_BOXES = 6
BOX_FIELDS = 5

_POINTS = 37
# Points 0 and 36 are the two edges; for azimuth they are the same direction.
_PERIOD = _POINTS - 1
VECTOR_WIDTH = 2 * MAX_BOXES * _POINTS
"""Values of `gaussian_vectors` for one picture (444)."""

Boxes = NDArray[np.float32]


def read_boxes_csv(uri: str, num_labels: int) -> Boxes:
    """Boxes of a recording, (num_labels, 6, 5), from a csv on disk or S3.

    Rows are `frame, left, top, right, bottom[, score]`, label frames of 0.1 s counted from 0, the rest fractions of the
    picture; a header line is accepted. Of more than six boxes in a label frame the strongest stay; those past the end
    are left out.

    Raises:
        UserError: naming file and line.
    """
    try:
        lines = storage.read_bytes(uri).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the boxes of {uri}: {error}") from error
    per_label: dict[int, list[tuple[float, ...]]] = {}
    for number, line in enumerate(lines, 1):
        if line.strip() and not (number == 1 and line.lstrip().startswith("frame")):
            label, box = _parse_row(line, f"{uri}:{number}")
            per_label.setdefault(label, []).append(box)
    boxes = np.zeros((num_labels, MAX_BOXES, BOX_FIELDS), np.float32)
    for label, found in per_label.items():
        if label < num_labels:
            strongest = sorted(found, key=lambda box: -box[-1])[:MAX_BOXES]
            boxes[label, : len(strongest)] = strongest
    return boxes


def _parse_row(line: str, where: str) -> tuple[int, tuple[float, ...]]:
    cells = line.split(",")
    try:
        label, (left, top, right, bottom), scores = int(cells[0]), map(float, cells[1:5]), cells[5:]
        (score,) = map(float, scores or ["1"])
    except ValueError as error:
        raise UserError(f"{where}: expected frame, left, top, right, bottom[, score], got {line.strip()!r}") from error
    if label < 0 or not (0 <= left < 1 and left < right <= left + 1 and 0 <= top < bottom <= 1):
        raise UserError(
            f"{where}: {line.strip()!r}: frames count from 0, and left < right, top < bottom are fractions of the "
            "picture in [0, 1]"
        )
    if not 0 < score <= 1:
        raise UserError(f"{where}: score {score:g}: has to be in (0, 1]")
    return label, (left, top, right, bottom, score)


def swap_boxes(boxes: Boxes, k: int) -> Boxes:
    """Boxes (..., 5) under swap `k` (0..7), as `data.swaps.swap_frames` turns the picture they are in; a copy."""
    if k == IDENTITY:
        return boxes.copy()
    swap = SWAPS[k]
    left, top, right, bottom, score = np.moveaxis(boxes, -1, 0)
    if swap.elevation_sign < 0:
        top, bottom = 1 - bottom, 1 - top
    if swap.azimuth_sign < 0:
        left, right = 1 - right, 1 - left
    turned = (left - swap.azimuth_offset_deg / 360) % 1.0
    # Rounding can bring a hair below zero to one.
    turned = np.where(turned >= 1.0, 0.0, turned)
    swapped = np.stack([turned, top, turned + (right - left), bottom, score], axis=-1)
    return np.where(score[..., None] > 0, swapped, 0.0).astype(np.float32)


def gaussian_vectors(boxes: Boxes) -> Boxes:
    """Boxes (V, 6, 5) -> (V, 444): for each of 6 boxes 37 points over the picture's width, then 37 over its height.

    A box is exp(-((p - centre) / half size)^2) at the points p, 0 at the left and 36 at the right edge, or at the top
    and the bottom; across the left and right edge the distance goes the shorter way round. No box: zeros.
    """
    left, top, right, bottom, score = np.moveaxis(boxes.astype(np.float64), -1, 0)
    points = np.arange(_POINTS)
    across = np.abs(points - (_PERIOD * (left + right) / 2)[..., None]) % _PERIOD
    across = np.minimum(across, _PERIOD - across)
    down = points - (_PERIOD * (top + bottom) / 2)[..., None]
    half = [np.maximum(_PERIOD * (b - a) / 2, 1e-6)[..., None] for a, b in ((left, right), (top, bottom))]
    vectors = np.stack([np.exp(-np.square(d / h)) for d, h in zip((across, down), half, strict=True)], axis=-2)
    vectors *= (score > 0)[..., None, None]
    return vectors.reshape(len(boxes), VECTOR_WIDTH).astype(np.float32)
