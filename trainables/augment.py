"""Augmentation of features on their way into the model. Channel swaps are made where windows are cut (`data.windows`),
because labels and frames turn with them."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.config import AugmentConfig

LOG_MEL_CHANNELS = 4


class SpecAugment:
    """One time mask and one band mask for each window (Park et al., 2019), over all channels alike.

    A masked place takes its channel's mean in log-mel and zero in intensity: no level that stands out, no direction.
    Widths are uniform from zero to the configured largest. Random numbers come from torch's global generator.
    """

    def __init__(self, config: AugmentConfig) -> None:
        self._widths = (config.time_mask_frames, config.mel_mask_bands)

    def __call__(self, features: Tensor) -> Tensor:
        """(B, 7, T, M) -> the same shape; the input is left as it was."""
        if not any(self._widths):
            return features
        batch, _, time, bands = features.shape
        masked = self._span(batch, time, self._widths[0], features.device)[:, :, None]
        masked = masked | self._span(batch, bands, self._widths[1], features.device)[:, None, :]
        fill = features.mean(dim=(2, 3), keepdim=True)
        fill[:, LOG_MEL_CHANNELS:] = 0.0
        return torch.where(masked[:, None], fill, features)

    @staticmethod
    def _span(batch: int, size: int, longest: int, device: torch.device) -> Tensor:
        """(B, size) bool: true inside one random span of each row."""
        width = torch.randint(0, min(longest, size) + 1, (batch, 1), device=device)
        start = (torch.rand(batch, 1, device=device) * (size - width + 1)).long()
        place = torch.arange(size, device=device)[None]
        return (place >= start) & (place < start + width)
