"""The clocks that everything runs by: sound, labels and pictures, and how recordings and windows are cut along them.

Three words for what the field calls a frame. A label frame is a step of the annotations, 0.1 s; names say `labels`,
such as `num_labels`. A picture is one image of a video; names say `pictures`. A feature frame is a column of the
features; names say `feature_frames`. What is stored or written by users keeps DCASE's word: the columns `frame`,
`start_label`, `num_labels` and `frames` of stores and csv files, and fields such as `inputs.frame_width`.
"""

from __future__ import annotations

from collections.abc import Iterator

RATE_HZ = 24_000
"""Of sound."""
LABEL_HOP_S = 0.1
"""Length of a label frame."""
LABEL_RATE_HZ = 10
SAMPLES_PER_LABEL = RATE_HZ // LABEL_RATE_HZ
PICTURE_RATE_HZ = 10.0
"""Of the pictures in a store."""

WINDOW_LABELS = 30
HOP_LABELS = 5

# A row owns at most a minute, and carries what a window of 3 s that starts at its last hop still needs.
ROW_LABELS = 600
TAIL_LABELS = WINDOW_LABELS - HOP_LABELS


def stretches(total_labels: int) -> Iterator[tuple[int, int, int]]:
    """How a recording of so many label frames is cut into rows: (start, end of the own frames, end of the tail)."""
    for start in range(0, total_labels, ROW_LABELS):
        own_stop = min(start + ROW_LABELS, total_labels)
        yield start, own_stop, min(own_stop + TAIL_LABELS, total_labels)
