"""The clocks that everything runs by: sound, labels and pictures, and how recordings and windows are cut along them."""

from __future__ import annotations

from collections.abc import Iterator

RATE_HZ = 24_000
"""Of sound."""
LABEL_HOP_S = 0.1
"""Length of a label frame."""
LABEL_RATE_HZ = 10
SAMPLES_PER_LABEL = RATE_HZ // LABEL_RATE_HZ
FRAME_RATE_HZ = 10.0
"""Of the pictures in a store."""

WINDOW_FRAMES = 30
HOP_FRAMES = 5

# A row owns at most a minute, and carries what a window of 3 s that starts at its last hop still needs.
ROW_FRAMES = 600
TAIL_FRAMES = WINDOW_FRAMES - HOP_FRAMES


def stretches(total_frames: int) -> Iterator[tuple[int, int, int]]:
    """How a recording of so many label frames is cut into rows: (start, end of the own frames, end of the tail)."""
    for start in range(0, total_frames, ROW_FRAMES):
        own_stop = min(start + ROW_FRAMES, total_frames)
        yield start, own_stop, min(own_stop + TAIL_FRAMES, total_frames)
