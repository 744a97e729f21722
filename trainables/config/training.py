"""The loop around the model."""

from __future__ import annotations

from dataclasses import dataclass

from trainables.checks import check, check_positive, check_share, later

PRECISIONS = ("fp32", "bf16", "auto")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The loop around the model."""

    epochs: int = 50
    batch_size: int = 32
    """Windows in one optimiser step, over all workers together."""
    epoch_windows: int | None = None
    """Windows drawn in one epoch; nothing: every place where a window may start, once."""
    added_share: float | None = later(None)
    """Share of an epoch's windows that come from what was added to a mixed store (`seldtune data mix`), which keeps it
    even where one side has too few windows for the epoch; nothing: every window as likely as any other."""
    clip_norm: float = 5.0
    """Largest norm of the whole gradient; larger ones are scaled down."""
    precision: str = "fp32"
    """`fp32`; `bf16`: matrix products in bfloat16, weights and everything else in float32 (autocast); `auto`: what a
    sweep's machines train faster in, for all its trials."""
    compile: bool = False
    """Compile the network with `torch.compile`: a minute or more at the start, faster steps on GPUs."""
    initial_weights: str | None = None
    """URI of a whole model's weights to start from: published ones (`seldtune weights import`), or what fits of a model
    that was trained here; nothing: random ones."""
    taken_rate: float = later(1.0)
    """Share of each step that weights from elsewhere take, whatever the optimiser: 0.1 is a tenth of the rate."""
    taken_frozen_epochs: int = later(0)
    """First epochs in which weights from elsewhere stay as they came; statistics of batch norms follow the data."""
    seed: int = 0

    def __post_init__(self) -> None:
        check_positive(self, "training", "epochs", "batch_size", "clip_norm")
        check_share(self, "training", "taken_rate")
        if self.added_share is not None:
            check_share(self, "training", "added_share")
        frozen = self.taken_frozen_epochs
        rule = f"has to be 0 or more, and no more than training.epochs ({self.epochs})"
        check(0 <= frozen <= self.epochs, "training.taken_frozen_epochs", frozen, rule)
        check(
            self.precision in PRECISIONS, "training.precision", self.precision, f"choose from {', '.join(PRECISIONS)}"
        )
        check(
            self.epoch_windows is None or self.epoch_windows >= self.batch_size,
            "training.epoch_windows",
            self.epoch_windows,
            f"has to be at least training.batch_size ({self.batch_size})",
        )
