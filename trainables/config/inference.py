"""How a model's outputs become events."""

from __future__ import annotations

import math
from dataclasses import dataclass

from data.timing import LABEL_HOP_S
from trainables.checks import check


@dataclass(frozen=True, kw_only=True)
class InferenceConfig:
    """How outputs become events, in validation and in use alike."""

    threshold: float = 0.5
    """Length of an ACCDOA vector from which its class counts as active."""
    tune_thresholds: bool = False
    """Choose a threshold for each class on the validation split, and keep it with the best model. The scores that a
    search goes by stay those of `threshold`."""
    swap_average: bool = False
    """Average the outputs under all eight channel swaps, turned back, tracks aligned: eight times the cost."""
    hop_s: float | None = None
    """Spacing of windows, whose outputs are averaged where they overlap; nothing: windows do not overlap."""

    def __post_init__(self) -> None:
        check(0.0 < self.threshold < 1.0, "inference.threshold", self.threshold, "has to be in (0, 1)")
        if self.hop_s is not None:
            frames = self.hop_s / LABEL_HOP_S
            check(
                frames >= 1 and math.isclose(frames, round(frames), abs_tol=1e-6),
                "inference.hop_s",
                self.hop_s,
                f"has to be a positive multiple of the label hop, {LABEL_HOP_S} s",
            )
