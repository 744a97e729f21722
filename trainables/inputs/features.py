"""What the networks hear: log-mel power of the four ambisonic channels and the active intensity vector.

The definition is that of "Fusion of audio and visual embeddings for SELD" (ICASSP 2024), section 3: 512-point Hann
STFT, 128 Slaney mel bands, four log-mel and three intensity channels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks

NUM_FOA_CHANNELS = 4
NUM_FEATURE_CHANNELS = 7

_POWER_FLOOR = 1e-10
FLOOR_DB = 10 * math.log10(_POWER_FLOOR)
"""Of log-mel."""
_DB = 10 / math.log(10)
"""A factor of e in power."""
_NORMALISED_RANGE_DB = 60.0
_INTENSITY_EPS = float(torch.finfo(torch.float32).eps)
# On the CPU a thread takes this many feature frames at once: few enough that its cache holds their spectra from the FFT
# to the mel bands, many enough that the calls themselves cost little.
_CPU_BLOCK_FEATURE_FRAMES = 240
# Each group of neighbouring mel bands reads only the bins under it, an eighth of the dense product of 128 bands.
# Sixteen fill a vector register; groups of other widths are slower.
_MEL_GROUP_BANDS = 16


class FeatureExtractor(nn.Module):
    """FOA audio to (..., 7, N // hop, n_mels): four log-mel channels (dB; W Y Z X), three of intensity (Y Z X).

    Power spectra are floored at 1e-10 (-100 dB). Intensity is Re(conj(W) * [Y, Z, X]), scaled to length one in each
    bin, then summed by the mel matrix. Feature frames are centred with reflection; none is after the last hop.
    """

    def __init__(self, n_fft: int = 512, hop: int = 150, n_mels: int = 128, rate_hz: int = 24_000) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.hop = hop
        self.n_mels = n_mels
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        mel = melscale_fbanks(n_fft // 2 + 1, 0.0, rate_hz / 2, n_mels, rate_hz, norm="slaney", mel_scale="slaney")
        self._groups: list[tuple[slice, slice]] = []
        for index, weights in enumerate(mel.split(_MEL_GROUP_BANDS, dim=1)):
            # A band narrower than a bin can be empty; its group then reads one bin with weight zero.
            used = weights.any(dim=1).nonzero().flatten().tolist() or [0]
            bins = slice(used[0], used[-1] + 1)
            first = index * _MEL_GROUP_BANDS
            self._groups.append((bins, slice(first, first + weights.shape[1])))
            self.register_buffer(f"mel_{index}", weights[bins].contiguous(), persistent=False)

    window: Tensor

    @torch.no_grad()
    def forward(self, audio: Tensor) -> Tensor:
        """Audio (..., 4, N), order W Y Z X, in [-1, 1] -> features (..., 7, N // hop, n_mels), float32.

        Carries no gradient. Audio shorter than half an FFT is continued with zeros before it is reflected.
        """
        assert audio.shape[-2] == NUM_FOA_CHANNELS, f"expected (..., 4, samples), got {tuple(audio.shape)}"
        feature_frames = audio.shape[-1] // self.hop
        leading = audio.shape[:-2]
        clips = audio.reshape(math.prod(leading), *audio.shape[-2:]).float()
        clips = F.pad(clips, (0, max(0, self.n_fft // 2 + 1 - clips.shape[-1])))
        features = clips.new_empty(len(clips), NUM_FEATURE_CHANNELS, feature_frames, self.n_mels)
        if audio.device.type != "cpu":
            pieces = self._pieces(clips)[:, :, :feature_frames]
            self._features(pieces.transpose(0, 1), out=features.transpose(0, 1))
        else:
            step = _CPU_BLOCK_FEATURE_FRAMES * torch.get_num_threads()
            for clip, of_clip in zip(clips, features, strict=True):
                pieces = self._pieces(clip)
                for start in range(0, feature_frames, step):
                    block = slice(start, min(start + step, feature_frames))
                    self._features(pieces[:, block], out=of_clip[:, block])
        return features.view(*leading, NUM_FEATURE_CHANNELS, feature_frames, self.n_mels)

    def _pieces(self, clip: Tensor) -> Tensor:
        """Audio (..., N) continued by its reflection at both ends -> overlapping views (..., 1 + N // hop, n_fft)."""
        half = self.n_fft // 2
        # The three pieces copied one after the other are six times faster than reflecting `F.pad`.
        start, end = clip[..., 1 : half + 1].flip(-1), clip[..., -half - 1 : -1].flip(-1)
        return torch.cat((start, clip, end), dim=-1).unfold(-1, self.n_fft, self.hop)

    def _features(self, pieces: Tensor, out: Tensor) -> None:
        """Pieces of sound (4, ..., n_fft) -> `out` (7, ..., n_mels), a view of any strides."""
        spectrum = torch.fft.rfft(pieces * self.window)
        # Two contiguous planes: everything after runs over them at full vector width.
        real, imaginary = (plane.contiguous() for plane in torch.view_as_real(spectrum).unbind(-1))
        bins = real.new_empty(NUM_FEATURE_CHANNELS, *real.shape[1:])
        power, intensity = bins[:NUM_FOA_CHANNELS], bins[NUM_FOA_CHANNELS:]
        torch.mul(real, real, out=power).addcmul_(imaginary, imaginary)
        torch.mul(real[:1], real[1:], out=intensity).addcmul_(imaginary[:1], imaginary[1:])
        y, z, x = intensity
        length = (y * y).addcmul_(z, z).addcmul_(x, x).sqrt_()
        intensity.mul_(length.add_(_INTENSITY_EPS).reciprocal_())
        mel = bins.new_empty(*bins.shape[:-1], self.n_mels)
        flat_bins, flat_mel = bins.flatten(0, -2), mel.flatten(0, -2)
        for index, (used, bands) in enumerate(self._groups):
            torch.mm(flat_bins[:, used], getattr(self, f"mel_{index}"), out=flat_mel[:, bands])
        torch.log10(mel[:NUM_FOA_CHANNELS].clamp_(min=_POWER_FLOOR), out=out[:NUM_FOA_CHANNELS]).mul_(10.0)
        out[NUM_FOA_CHANNELS:] = mel[NUM_FOA_CHANNELS:]


def at_level(features: Tensor, level: str) -> Tensor:
    """Features (..., 7, T, M) as `InputConfig.level` says: as they are, or with the log-mel channels in dB above the
    level of W in their window.

    Loudness leaves log-mel by a constant, and the intensity not at all: what is so normalised does not depend on it.
    """
    if level == "absolute":
        return features
    log_mel, intensity = features[..., :NUM_FOA_CHANNELS, :, :], features[..., NUM_FOA_CHANNELS:, :, :]
    omni = features[..., :1, :, :]
    if level == "relative":
        log_mel = log_mel - omni.mean(dim=(-2, -1), keepdim=True)
    else:
        # The mean of power: where half of a window is silent it is 3 dB lower, the mean of decibels half the way to the
        # floor. And silence is not below what soft sounds are above.
        count = omni.shape[-2] * omni.shape[-1]
        power_db = torch.logsumexp(omni / _DB, dim=(-2, -1), keepdim=True) * _DB - 10 * math.log10(count)
        log_mel = (log_mel - power_db).clamp(min=-_NORMALISED_RANGE_DB)
    return torch.cat((log_mel, intensity), dim=-3)
