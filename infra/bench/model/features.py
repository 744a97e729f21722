"""Features of a 3 s chunk: ours against a convolution with the Fourier basis, and against `torch.stft`.

The first peer works as the reference's extractor does: for each channel two strided convolutions whose kernels are the
windowed cosines and sines, then dense mel products of the power and of the normalised intensity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchaudio.functional import melscale_fbanks

from infra.bench.measure import OURS, alternate, parser, result, show
from trainables.inputs.features import FeatureExtractor

N_FFT, HOP, N_MELS, RATE_HZ = 512, 150, 128, 24_000
_INTENSITY_EPS = float(torch.finfo(torch.float32).eps)


class ConvolutionFeatures:
    """Audio (B, 4, N) -> (B, 7, N // hop, n_mels) by strided convolutions."""

    def __init__(self) -> None:
        angle = 2 * torch.pi * torch.outer(torch.arange(N_FFT // 2 + 1), torch.arange(N_FFT)).remainder(N_FFT) / N_FFT
        window = torch.hann_window(N_FFT, dtype=torch.float64)
        self._cosines = (angle.double().cos() * window).float().unsqueeze(1)
        self._sines = (-angle.double().sin() * window).float().unsqueeze(1)
        self._mel = _mel_matrix()

    @torch.no_grad()
    def __call__(self, audio: Tensor) -> Tensor:
        reals, imaginaries = [], []
        for channel in audio.split(1, dim=1):
            padded = F.pad(channel, (N_FFT // 2, N_FFT // 2), mode="reflect")
            reals.append(F.conv1d(padded, self._cosines, stride=HOP).transpose(1, 2))
            imaginaries.append(F.conv1d(padded, self._sines, stride=HOP).transpose(1, 2))
        return _features(torch.stack(reals, dim=1), torch.stack(imaginaries, dim=1), self._mel)


class StftFeatures:
    """The same by `torch.stft`."""

    def __init__(self) -> None:
        self._window = torch.hann_window(N_FFT)
        self._mel = _mel_matrix()

    @torch.no_grad()
    def __call__(self, audio: Tensor) -> Tensor:
        spectrum = torch.stft(audio.flatten(0, 1), N_FFT, HOP, window=self._window, return_complex=True)
        spectrum = spectrum.unflatten(0, audio.shape[:2]).transpose(2, 3)
        return _features(spectrum.real, spectrum.imag, self._mel)


def _mel_matrix() -> Tensor:
    bins = N_FFT // 2 + 1
    return melscale_fbanks(bins, 0.0, RATE_HZ / 2, N_MELS, RATE_HZ, norm="slaney", mel_scale="slaney")


def _features(real: Tensor, imaginary: Tensor, mel: Tensor) -> Tensor:
    """Spectrum (B, 4, T, bins) -> (B, 7, T - 1, n_mels)."""
    log_mel = 10 * torch.log10(torch.clamp((real**2 + imaginary**2) @ mel, min=1e-10))
    intensity = real[:, :1] * real[:, 1:] + imaginary[:, :1] * imaginary[:, 1:]
    norm = intensity.square().sum(dim=1, keepdim=True).sqrt() + _INTENSITY_EPS
    return torch.cat((log_mel, (intensity / norm) @ mel), dim=1)[:, :, :-1]


def check(sides: dict[str, Callable[[Tensor], Tensor]], audio: Tensor) -> dict[str, dict[str, float]]:
    """Largest differences of each peer from ours, which have to be those of rounding."""
    ours = sides[OURS](audio)
    differences = {}
    for name, side in sides.items():
        if name != OURS:
            error = (side(audio) - ours).abs()
            differences[name] = {"log_mel_db": float(error[:, :4].max()), "intensity": float(error[:, 4:].max())}
            assert differences[name]["log_mel_db"] < 0.02, (name, differences[name])
            assert differences[name]["intensity"] < 1e-4, (name, differences[name])
    return differences


def measure(batch: int, samples: int, repeats: int) -> dict[str, Any]:
    """The outcome for a batch of chunks of so many samples."""
    audio = 0.1 * torch.randn(batch, 4, samples, generator=torch.Generator().manual_seed(0))
    extractors: dict[str, Callable[[Tensor], Tensor]] = {
        OURS: FeatureExtractor(N_FFT, HOP, N_MELS, RATE_HZ),
        "convolution": ConvolutionFeatures(),
        "torch.stft": StftFeatures(),
    }
    differences = check(extractors, audio)
    runs = {name: lambda extractor=extractor: extractor(audio) for name, extractor in extractors.items()}
    times = alternate(runs, repeats, per=batch)
    sizes = {"batch": batch, "samples": samples, "n_fft": N_FFT, "hop": HOP, "n_mels": N_MELS}
    return result("features", "chunk", times, sizes, largest_difference=differences)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, repeats=20)
    options.add_argument("--batch", type=int, default=8, help="chunks at once (default %(default)s)")
    options.add_argument("--samples", type=int, default=72_000, help="samples in a chunk (default %(default)s)")
    chosen = options.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    show(measure(chosen.batch, chosen.samples, chosen.repeats), chosen.save)


if __name__ == "__main__":
    main()
