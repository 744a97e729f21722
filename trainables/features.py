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
_INTENSITY_EPS = float(torch.finfo(torch.float32).eps)
# On the CPU, spectra of this many frames stay in the second-level cache from the FFT to the mel bands.
_CPU_BLOCK_FRAMES = 160
# Each group of neighbouring mel bands reads only the bins under it: an eighth of the dense product is left.
_MEL_GROUPS = 8


class FeatureExtractor(nn.Module):
    """FOA audio to (..., 7, N // hop, n_mels): four log-mel channels (dB; W Y Z X), three of intensity (Y Z X).

    Power spectra are floored at 1e-10 (-100 dB). Intensity is Re(conj(W) * [Y, Z, X]), scaled to length one in each
    bin, then summed by the mel matrix. Frames are centred with reflection; the frame after the last hop is left out.
    """

    def __init__(self, n_fft: int = 512, hop: int = 150, n_mels: int = 128, rate_hz: int = 24_000) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.hop = hop
        self.n_mels = n_mels
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        mel = melscale_fbanks(n_fft // 2 + 1, 0.0, rate_hz / 2, n_mels, rate_hz, norm="slaney", mel_scale="slaney")
        self._bins: list[slice] = []
        for index, weights in enumerate(torch.tensor_split(mel, min(_MEL_GROUPS, n_mels), dim=1)):
            # A band narrower than a bin can be empty; its group then reads one bin with weight zero.
            used = weights.any(dim=1).nonzero().flatten().tolist() or [0]
            bins = slice(used[0], used[-1] + 1)
            self._bins.append(bins)
            self.register_buffer(f"mel_{index}", weights[bins].contiguous(), persistent=False)

    window: Tensor

    @torch.no_grad()
    def forward(self, audio: Tensor) -> Tensor:
        """Audio (..., 4, N), order W Y Z X, in [-1, 1] -> features (..., 7, N // hop, n_mels), float32.

        Carries no gradient. Audio shorter than half an FFT is continued with zeros before it is reflected.
        """
        assert audio.shape[-2] == NUM_FOA_CHANNELS, f"expected (..., 4, samples), got {tuple(audio.shape)}"
        num_frames = audio.shape[-1] // self.hop
        leading = audio.shape[:-2]
        clips = audio.reshape(math.prod(leading), *audio.shape[-2:]).float()
        half = self.n_fft // 2
        clips = F.pad(clips, (0, max(0, half + 1 - clips.shape[-1])))
        clips = F.pad(clips, (half, half), mode="reflect")
        frames = clips.unfold(-1, self.n_fft, self.hop)[:, :, :num_frames]
        if audio.device.type != "cpu":
            features = self._features(frames.transpose(0, 1)).transpose(0, 1)
        else:
            features = audio.new_empty(len(clips), NUM_FEATURE_CHANNELS, num_frames, self.n_mels, dtype=torch.float32)
            for clip in range(len(clips)):
                for start in range(0, num_frames, _CPU_BLOCK_FRAMES):
                    block = slice(start, start + _CPU_BLOCK_FRAMES)
                    features[clip, :, block] = self._features(frames[clip, :, block])
        return features.reshape(*leading, NUM_FEATURE_CHANNELS, num_frames, self.n_mels)

    def _features(self, frames: Tensor) -> Tensor:
        """Frames (4, ..., n_fft) -> (7, ..., n_mels)."""
        spectrum = torch.fft.rfft(frames * self.window)
        # Two contiguous planes: everything after runs over them at full vector width.
        real, imaginary = torch.view_as_real(spectrum).movedim(-1, 0).contiguous()
        bins = real.new_empty(NUM_FEATURE_CHANNELS, *real.shape[1:])
        power, intensity = bins[:NUM_FOA_CHANNELS], bins[NUM_FOA_CHANNELS:]
        torch.mul(real, real, out=power).addcmul_(imaginary, imaginary)
        torch.mul(real[:1], real[1:], out=intensity).addcmul_(imaginary[:1], imaginary[1:])
        intensity.div_(intensity.square().sum(0).sqrt_().add_(_INTENSITY_EPS))
        flat = bins.view(-1, bins.shape[-1])
        groups = [flat[:, used] @ getattr(self, f"mel_{index}") for index, used in enumerate(self._bins)]
        mel = torch.cat(groups, dim=1).view(*bins.shape[:-1], self.n_mels)
        mel[:NUM_FOA_CHANNELS].clamp_(min=_POWER_FLOOR).log10_().mul_(10.0)
        return mel
