"""How a model is trained: learning-rate schedules, optimisers, augmentation, and the loop around them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainables.checks import check, check_positive, check_share


@dataclass(frozen=True, kw_only=True)
class ConstantDecay:
    """The paper's: the base rate, and after `constant_epochs` 5 % less each epoch."""

    name: ClassVar[str] = "constant_decay"
    constant_epochs: int = 30
    decay: float = 0.95
    compounding: bool = False
    """As in the authors' release, where the decay multiplies the already decayed rate."""

    def __post_init__(self) -> None:
        check(self.constant_epochs >= 0, "schedule.constant_epochs", self.constant_epochs, "has to be 0 or more")
        check(0.0 < self.decay <= 1.0, "schedule.decay", self.decay, "has to be in (0, 1]")


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Half a cosine from the base rate down to `final_fraction` of it."""

    name: ClassVar[str] = "cosine"
    final_fraction: float = 0.01

    def __post_init__(self) -> None:
        check_share(self, "schedule", "final_fraction")


@dataclass(frozen=True, kw_only=True)
class OneCycle:
    """Smith's one-cycle: cosine up over `rise_fraction` of the steps, cosine down to almost nothing."""

    name: ClassVar[str] = "one_cycle"
    rise_fraction: float = 0.3
    initial_fraction: float = 0.04
    final_fraction: float = 1e-4

    def __post_init__(self) -> None:
        check(0.0 < self.rise_fraction < 1.0, "schedule.rise_fraction", self.rise_fraction, "has to be in (0, 1)")
        check_share(self, "schedule", "initial_fraction", "final_fraction")


@dataclass(frozen=True, kw_only=True)
class WarmupCosine:
    """Linear warm-up over `warmup_fraction` of the steps, then half a cosine to `final_fraction`."""

    name: ClassVar[str] = "warmup_cosine"
    warmup_fraction: float = 0.1
    final_fraction: float = 0.01

    def __post_init__(self) -> None:
        check(0.0 < self.warmup_fraction < 1.0, "schedule.warmup_fraction", self.warmup_fraction, "has to be in (0, 1)")
        check_share(self, "schedule", "final_fraction")


@dataclass(frozen=True, kw_only=True)
class Adam:
    """Adam; the paper's optimiser."""

    name: ClassVar[str] = "adam"
    lr: float = 5e-4
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_positive(self, "optimiser", "lr")
        check(self.weight_decay >= 0, "optimiser.weight_decay", self.weight_decay, "has to be 0 or more")


@dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    """Adam with decoupled weight decay."""

    name: ClassVar[str] = "adamw"
    weight_decay: float = 0.01


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """What changes an example each time it is drawn."""

    channel_swaps: bool = True
    """One of the eight audio-visual channel swaps, at random, for each window."""
    time_mask_frames: int = 0
    """SpecAugment: longest masked stretch in feature frames; 0 is off."""
    mel_mask_bands: int = 0
    """SpecAugment: widest masked band; 0 is off."""
    cutouts: int = 0
    """Random cut-out: masked rectangles in each window; 0 is off."""
    cutout_frames: int = 64
    """Longest side of a cut-out in feature frames."""
    cutout_bands: int = 16
    """Longest side of a cut-out in mel bands."""
    frequency_shift_bands: int = 0
    """Largest shift of a window's mel bands, up or down; 0 is off."""
    mixup_alpha: float = 0.0
    """Mixup: windows are mixed in pairs, in shares from Beta(alpha, alpha); 0 is off."""

    def __post_init__(self) -> None:
        for name in ("time_mask_frames", "mel_mask_bands", "cutouts", "frequency_shift_bands", "mixup_alpha"):
            check(getattr(self, name) >= 0, f"augment.{name}", getattr(self, name), "has to be 0 or more")
        check_positive(self, "augment", "cutout_frames", "cutout_bands")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The loop around the model."""

    epochs: int = 50
    batch_size: int = 32
    """Windows in one optimiser step, over all workers together."""
    epoch_windows: int | None = None
    """Windows drawn in one epoch; nothing: every place where a window may start, once."""
    clip_norm: float = 5.0
    """Largest norm of the whole gradient; larger ones are scaled down."""
    precision: str = "fp32"
    """`fp32`, or `bf16`: matrix products in bfloat16, weights and everything else in float32 (autocast)."""
    compile: bool = False
    """Compile the network with `torch.compile`: a minute or more at the start, faster steps on GPUs."""
    initial_weights: str | None = None
    """URI of a whole model's weights to start from (`seldtune weights import`), or nothing: random ones."""
    seed: int = 0

    def __post_init__(self) -> None:
        check_positive(self, "training", "epochs", "batch_size", "clip_norm")
        check(self.precision in ("fp32", "bf16"), "training.precision", self.precision, "choose fp32 or bf16")
        check(
            self.epoch_windows is None or self.epoch_windows >= self.batch_size,
            "training.epoch_windows",
            self.epoch_windows,
            f"has to be at least training.batch_size ({self.batch_size})",
        )


Schedule = ConstantDecay | Cosine | OneCycle | WarmupCosine
Optimiser = Adam | AdamW

SCHEDULES: dict[str, type] = {c.name: c for c in (ConstantDecay, Cosine, OneCycle, WarmupCosine)}
OPTIMISERS: dict[str, type] = {c.name: c for c in (Adam, AdamW)}
