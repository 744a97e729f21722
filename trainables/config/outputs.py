"""What a model answers with, and how that becomes events."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from data.labels import LABEL_HOP_S
from trainables.checks import check, check_positive


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """Two fully connected layers to the output format."""

    hidden: int = 128
    activation: str = "relu"
    """Between the two layers: `relu`, or `none` as in the authors' release."""

    def __post_init__(self) -> None:
        check_positive(self, "head", "hidden")
        check(self.activation in ("relu", "none"), "head.activation", self.activation, "choose relu or none")


@dataclass(frozen=True, kw_only=True)
class MultiAccdoa:
    """Three tracks of one vector a class: overlapping events of a class can be told apart (Shimada et al., 2022)."""

    name: ClassVar[str] = "multi_accdoa"
    tracks: ClassVar[int] = 3
    axes: ClassVar[int] = 3
    unify_deg: float = 15.0
    """Active tracks of one class closer than this are one event."""

    def __post_init__(self) -> None:
        check(0.0 <= self.unify_deg <= 180.0, "output.unify_deg", self.unify_deg, "has to be in [0, 180]")


@dataclass(frozen=True, kw_only=True)
class MultiAccddoa(MultiAccdoa):
    """The same with a distance for each track (the baseline of DCASE 2024); the data has to hold distances."""

    name: ClassVar[str] = "multi_accddoa"
    axes: ClassVar[int] = 4


@dataclass(frozen=True, kw_only=True)
class Accdoa:
    """One vector a class: at most one event of each class at a time (Shimada et al., 2021)."""

    name: ClassVar[str] = "accdoa"
    tracks: ClassVar[int] = 1
    axes: ClassVar[int] = 3


Output = MultiAccdoa | MultiAccddoa | Accdoa

OUTPUTS: dict[str, type] = {c.name: c for c in (MultiAccdoa, MultiAccddoa, Accdoa)}


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
