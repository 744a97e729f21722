"""Log-mel and intensity features against the reference figures, and their symmetry under channel swaps."""

from pathlib import Path

import numpy as np
import pytest
import torch

from data.swaps import NUM_SWAPS, swap_audio, swap_features
from trainables.inputs.features import FeatureExtractor

GOLDEN = Path(__file__).parents[1] / "golden" / "trainables_features.npz"


def reference_signal() -> torch.Tensor:
    x = np.random.default_rng(20231104).standard_normal((2, 4, 72000)).astype("float32") * 0.1
    tone = np.sin(2 * np.pi * 440 * np.arange(72000) / 24000).astype("float32")
    x[1, 0] += tone
    x[1, 1] += 0.5 * tone
    x[1, 3] -= 0.25 * tone
    return torch.from_numpy(x)


def test_equal_to_the_reference():
    features = FeatureExtractor()(reference_signal()).numpy()
    assert features.shape == (2, 7, 480, 128)
    assert features.dtype == np.float32
    difference = np.abs(features[:, :, ::8, ::4] - np.load(GOLDEN)["features_sub"])
    assert difference[:, :4].max() < 1e-3  # dB
    assert difference[:, 4:].max() < 1e-5


@pytest.mark.parametrize(("hop", "n_mels"), [(150, 128), (300, 64), (300, 20), (480, 96)])
def test_mel_matrix_equals_librosa(hop, n_mels):
    librosa = pytest.importorskip("librosa")
    expected = librosa.filters.mel(sr=24000, n_fft=512, n_mels=n_mels, fmin=0.0, fmax=12000.0)
    extractor = FeatureExtractor(hop=hop, n_mels=n_mels)
    # An impulse has the same power in every bin, so that each band shows the sum of its weights.
    audio = torch.zeros(4, 4 * hop)
    audio[:, 2 * hop] = 1.0
    shown = 10 ** (extractor(audio)[0, 2] / 10)
    np.testing.assert_allclose(shown.numpy(), np.maximum(expected.sum(axis=1), 1e-10), rtol=1e-4)


@pytest.mark.parametrize("k", range(NUM_SWAPS))
def test_swapping_audio_swaps_features(k):
    audio = np.random.default_rng(1).standard_normal((4, 4800)).astype(np.float32)
    extractor = FeatureExtractor(hop=300, n_mels=64)
    of_swapped = extractor(torch.from_numpy(swap_audio(audio, k))).numpy()
    swapped = swap_features(extractor(torch.from_numpy(audio)).numpy(), k)
    np.testing.assert_allclose(of_swapped, swapped, atol=1e-5)


@pytest.mark.parametrize("samples", [0, 149, 150, 200, 257, 2400, 24150])
def test_any_length_gives_whole_hops(samples):
    features = FeatureExtractor(n_mels=32)(torch.ones(4, samples))
    assert features.shape == (7, samples // 150, 32)
    assert torch.isfinite(features).all()


def test_leading_axes_and_blocks_do_not_matter():
    audio = torch.randn(1, 2, 4, 48_000, generator=torch.Generator().manual_seed(0))
    extractor = FeatureExtractor(n_mels=64)
    together = extractor(audio)
    assert together.shape == (1, 2, 7, 320, 64)
    torch.testing.assert_close(together[0, 1], extractor(audio[0, 1].double()))
    # A stretch in the middle is the same whatever surrounds it.
    torch.testing.assert_close(extractor(audio[0, 0, :, 2400:24000])[:, 4:-4], together[0, 0, :, 20:156])


def test_silence_is_the_floor():
    features = FeatureExtractor()(torch.zeros(4, 2400))
    assert (features[:4] == -100.0).all()
    assert (features[4:] == 0.0).all()


def test_intensity_points_to_the_source():
    """A plane wave from azimuth 90 is in W and Y alone: intensity Y is positive, Z and X are nothing."""
    wave = torch.randn(4800, generator=torch.Generator().manual_seed(0))
    features = FeatureExtractor()(torch.stack([wave, wave, 0 * wave, 0 * wave]))
    assert (features[4] >= 0).all()
    assert features[4].mean() > 1e-3
    assert features[5:].abs().max() < 1e-6
