"""What a model hears and sees."""

from __future__ import annotations

import math
from dataclasses import dataclass

from data.timing import LABEL_HOP_S, RATE_HZ
from trainables.checks import check, later

LEVELS = ("absolute", "normalised", "relative")


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """What a model hears and sees. Trials that share these share the decoded data of a sweep."""

    n_fft: int = 512
    hop: int = 150
    """Samples between feature frames; a whole number of frames has to fill the label hop of 2,400 samples."""
    n_mels: int = 128
    window_s: float = 3.0
    """Length of one training example and of one forward pass."""
    train_hop_s: float = 0.5
    """Spacing of the places where a training window may start."""
    frame_width: int = 448
    frame_height: int = 224
    frame_rate_hz: float = 10.0
    level: str = later("absolute")
    """Of the log-mel channels: `absolute`, as the papers have it; `normalised` to the power of W in the window, so that
    a softer recording of the same sounds gives the same output; `relative` to the window's mean log-mel of W, which
    silence drags down: for models that were trained so."""

    def __post_init__(self) -> None:
        label_hop = round(RATE_HZ * LABEL_HOP_S)
        check(
            self.hop > 0 and label_hop % self.hop == 0,
            "inputs.hop",
            self.hop,
            f"choose a divisor of {label_hop}, e.g. 150 or 300",
        )
        check(self.n_fft >= self.hop, "inputs.n_fft", self.n_fft, f"has to be at least inputs.hop ({self.hop})")
        check(0 < self.n_mels <= self.n_fft // 2, "inputs.n_mels", self.n_mels, "has to be in 1..n_fft/2")
        for name in ("window_s", "train_hop_s"):
            count = getattr(self, name) / LABEL_HOP_S
            check(
                count >= 1 and math.isclose(count, round(count), abs_tol=1e-6),
                f"inputs.{name}",
                getattr(self, name),
                f"has to be a positive multiple of the label hop, {LABEL_HOP_S} s",
            )
        check(
            self.frame_width > 0 and self.frame_width % 4 == 0,
            "inputs.frame_width",
            self.frame_width,
            "has to be a positive multiple of 4, so that a turn by 90 degrees is a whole number of columns",
        )
        check(self.level in LEVELS, "inputs.level", self.level, f"choose from {', '.join(LEVELS)}")
        check(self.frame_height > 0, "inputs.frame_height", self.frame_height, "has to be positive")
        count = self.frame_rate_hz * self.window_s
        check(
            count >= 1 and math.isclose(count, round(count), abs_tol=1e-6),
            "inputs.frame_rate_hz",
            self.frame_rate_hz,
            f"has to give a whole number of frames in {self.window_s} s",
        )

    @property
    def window_labels(self) -> int:
        """Label frames in one window (30 for 3 s)."""
        return round(self.window_s / LABEL_HOP_S)

    @property
    def train_hop_labels(self) -> int:
        return round(self.train_hop_s / LABEL_HOP_S)

    @property
    def features_per_label(self) -> int:
        """Feature frames in one label frame (16 for a hop of 150)."""
        return round(RATE_HZ * LABEL_HOP_S) // self.hop

    @property
    def window_pictures(self) -> int:
        """Pictures in one window (30 for 3 s at 10 Hz)."""
        return round(self.window_s * self.frame_rate_hz)
