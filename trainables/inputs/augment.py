"""Augmentation of batches on their way into the model: made louder or softer, shifted in frequency, mixed, masked, each
off by default.

Channel swaps are made where windows are cut (`data.feeding.windows`), as labels and pictures turn with them. Random
numbers come from torch's global generator, which the loop seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.checks import check, check_positive, later
from trainables.inputs.features import FLOOR_DB

LOG_MEL_CHANNELS = 4
LARGEST_GAIN_DB = 100.0

Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]


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
    gain_db: tuple[float, float] = later((0.0, 0.0))
    """Each window is made louder by a gain between these, in dB, such as [-30, 6]. For `inputs.level` = absolute: what
    is relative to its own level does not notice."""

    def __post_init__(self) -> None:
        for name in ("time_mask_frames", "mel_mask_bands", "cutouts", "frequency_shift_bands", "mixup_alpha"):
            check(getattr(self, name) >= 0, f"augment.{name}", getattr(self, name), "has to be 0 or more")
        check_positive(self, "augment", "cutout_frames", "cutout_bands")
        low, high = self.gain_db
        check(
            -LARGEST_GAIN_DB <= low <= high <= LARGEST_GAIN_DB,
            "augment.gain_db",
            self.gain_db,
            f"has to be the least and the largest gain, within {LARGEST_GAIN_DB:g} dB of 0",
        )


@dataclass(frozen=True)
class Mix:
    """Mixup (Zhang et al., 2018): window i is `share` of itself and `1 - share` of window `partner[i]`.

    Label rule: so is its loss, each part against its own target in its own valid labels. A mixed target would not do,
    since the best assignment of tracks to the events of both is no mixture of the best for each.

    One share for the batch, as in the authors' release: the loss is then a mixture of two means over equally many valid
    frames, because `partner` is a permutation. Without partner nothing is mixed.
    """

    share: float = 1.0
    partner: Tensor | None = None
    """(B,): a permutation of the windows."""

    def inputs(self, x: Tensor) -> Tensor:
        """Features, pictures (uint8 becomes float, still 0..255) or anything else of (B, ...) in which means make
        sense."""
        return x if self.partner is None else x[self.partner].float().lerp_(x.float(), self.share)

    def loss(self, loss_of: Loss, output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """The loss of what the model makes of mixed inputs, a scalar."""
        own = loss_of(output, target, valid)
        if self.partner is None:
            return own
        return self.share * own + (1.0 - self.share) * loss_of(output, target[self.partner], valid[self.partner])


class Augment:
    """All that a config asks for: levels changed, bands shifted, then windows mixed, then places masked."""

    def __init__(self, config: AugmentConfig) -> None:
        self._config = config

    def __call__(
        self, features: Tensor, seen: Mapping[str, Tensor], has_video: Tensor
    ) -> tuple[Tensor, dict[str, Tensor], Mix]:
        """Features (B, 7, T, M), what is seen, by column (B, ...), has_video (B,) -> the first two anew, and how the
        loss mixes.

        What is given stays as it was, and is handed back itself where nothing changes it.
        """
        config = self._config
        if config.gain_db != (0.0, 0.0):
            features = change_level(features, *config.gain_db)
        if config.frequency_shift_bands:
            features = shift_bands(features, config.frequency_shift_bands)
        mix = draw_mix(has_video, config.mixup_alpha) if config.mixup_alpha else Mix()
        return self._masked(mix.inputs(features)), {column: mix.inputs(x) for column, x in seen.items()}, mix

    def _masked(self, features: Tensor) -> Tensor:
        """SpecAugment (Park et al., 2019), one time mask and one band mask, and random cut-out, for each window.

        All channels alike. A masked place takes its channel's mean in log-mel and zero in intensity: no level that
        stands out, no direction. Label rule: they stay, since what is left tells them still.
        """
        config, (time, bands) = self._config, features.shape[2:]
        # How many rectangles, and how long they may be in time and in bands; nothing: from edge to edge.
        kinds = (
            (1, config.time_mask_frames, None),
            (1, None, config.mel_mask_bands),
            (config.cutouts, config.cutout_frames, config.cutout_bands),
        )
        drawn = [(count, *longest) for count, *longest in kinds if count and 0 not in longest]
        if not drawn:
            return features
        masked = torch.zeros(len(features), time, bands, dtype=torch.bool, device=features.device)
        for count, longest_time, longest_bands in drawn:
            shape = (len(features), count)
            in_time = random_spans(shape, time, longest_time, features.device).unsqueeze(3)
            in_bands = random_spans(shape, bands, longest_bands, features.device).unsqueeze(2)
            masked |= (in_time & in_bands).any(dim=1)
        fill = features.mean(dim=(2, 3), keepdim=True)
        fill[:, LOG_MEL_CHANNELS:] = 0.0
        return torch.where(masked[:, None], fill, features)


def draw_mix(has_video: Tensor, alpha: float) -> Mix:
    """A share ~ Beta(alpha, alpha), and a partner for each window.

    Windows with video are mixed with such, those without with those: `has_video` (B,) holds for the mixture too.
    """
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    shuffled = (has_video + torch.rand(len(has_video), device=has_video.device)).argsort()
    partner = torch.empty_like(shuffled)
    partner[has_video.argsort(stable=True)] = shuffled
    return Mix(share, partner)


def change_level(features: Tensor, low_db: float, high_db: float) -> Tensor:
    """Each window of (B, 7, T, M) as if its recording were louder by a gain drawn between the two, in dB.

    Exact but for bands at the floor of log-mel, which stay there when it gets softer. Label rule: they stay; the
    intensity has no level.
    """
    gain_db = torch.rand(len(features), 1, 1, 1, device=features.device) * (high_db - low_db) + low_db
    louder = (features[:, :LOG_MEL_CHANNELS] + gain_db).clamp_(min=FLOOR_DB)
    return torch.cat((louder, features[:, LOG_MEL_CHANNELS:]), dim=1)


def shift_bands(features: Tensor, most: int) -> Tensor:
    """Frequency shift (Nguyen et al., "SALSA", 2022): each window of (B, 7, T, M) by up to `most` bands up or down.

    All channels alike, the band at the edge repeated. Label rule: they stay, for a shifted sound is of the same class
    and the intensity of a band is a direction wherever the band lies.
    """
    shape, device = features.shape, features.device
    shift = torch.randint(-most, most + 1, (shape[0], 1), device=device)
    source = (torch.arange(shape[3], device=device) - shift).clamp(0, shape[3] - 1)
    return features.gather(3, source[:, None, None].expand(shape))


def random_spans(shape: tuple[int, ...], size: int, longest: int | None, device: torch.device) -> Tensor:
    """(*shape, size) bool: true inside one random span of each row, of 0 to `longest` places; nothing: all of them."""
    if longest is None:
        return torch.ones(*shape, size, dtype=torch.bool, device=device)
    width = torch.randint(0, min(longest, size) + 1, (*shape, 1), device=device)
    start = (torch.rand(*shape, 1, device=device) * (size - width + 1)).long()
    place = torch.arange(size, device=device)
    return (place >= start) & (place < start + width)
