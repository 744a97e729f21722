"""The eight swaps: equal to the reference on audio, and consistent over audio, features, labels and pictures."""

from pathlib import Path

import numpy as np
import pytest

from data.geometry import angle_between_deg, pixel_of, unit_vector
from data.labels import Events, adpit_target
from data.rooms import encoding_gains
from data.swaps import (
    IDENTITY,
    NUM_SWAPS,
    swap_angles,
    swap_audio,
    swap_features,
    swap_frames,
    swap_target,
    unswap_output,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "data_golden.npz"
ALL = pytest.mark.parametrize("k", range(NUM_SWAPS))


def small_features(audio):
    """Log power and intensity over 8 bands of 64-point blocks, (7, T, 8): the real thing in small."""
    blocks = audio.reshape(4, -1, 64)
    spectrum = np.fft.rfft(blocks * np.hanning(64))[..., 1:]
    bands = lambda x: x.reshape(*x.shape[:-1], 8, -1).sum(-1)  # noqa: E731
    log_power = 10 * np.log10(bands(np.abs(spectrum) ** 2) + 1e-10)
    intensity = np.real(np.conj(spectrum[:1]) * spectrum[1:])
    intensity /= np.linalg.norm(intensity, axis=0) + 1e-8
    return np.concatenate([log_power, bands(intensity)])


@ALL
def test_audio_equals_the_reference(k):
    golden = np.load(GOLDEN)
    np.testing.assert_array_equal(swap_audio(golden["acs_input"].T, k).T, golden["acs_output"][k])


def test_identity_changes_nothing_and_the_others_all_differ():
    golden = np.load(GOLDEN)
    np.testing.assert_array_equal(golden["acs_output"][IDENTITY], golden["acs_input"])
    azimuth, elevation = swap_angles(30.0, 20.0, IDENTITY)
    assert (azimuth, elevation) == (30.0, 20.0)
    assert len({tuple(map(float, swap_angles(30.0, 20.0, k))) for k in range(NUM_SWAPS)}) == NUM_SWAPS


@ALL
def test_audio_of_a_plane_wave_moves_as_its_label(k):
    azimuth, elevation = swap_angles([12.0, -130.0], [33.0, -20.0], k)
    before = encoding_gains(unit_vector([12.0, -130.0], [33.0, -20.0])).T
    np.testing.assert_allclose(swap_audio(before, k), encoding_gains(unit_vector(azimuth, elevation)).T, atol=1e-12)


@ALL
def test_features_of_swapped_audio_are_swapped_features(k):
    audio = np.random.default_rng(5).standard_normal((4, 64 * 20))
    audio[1] += 0.5 * audio[0]
    audio[3] -= 0.8 * audio[0]
    expected = small_features(swap_audio(audio, k))
    np.testing.assert_allclose(swap_features(small_features(audio), k), expected, atol=1e-9)
    out = np.empty_like(expected)
    swap_features(small_features(audio), k, out=out)
    np.testing.assert_allclose(out, expected, atol=1e-9)


@ALL
def test_targets_of_swapped_labels_are_swapped_targets(k):
    golden = np.load(GOLDEN)
    frame, class_index, source, azimuth, elevation = golden["adpit_events"].T
    distance = np.arange(100.0, 100.0 + len(frame))
    before = adpit_target(Events.build(frame, class_index, source, azimuth, elevation, distance), 50)
    turned = swap_angles(azimuth, elevation, k)
    after = adpit_target(Events.build(frame, class_index, source, *turned, distance), 50)
    np.testing.assert_allclose(swap_target(before, k), after, atol=1e-6)


@pytest.mark.parametrize("k", range(NUM_SWAPS))
def test_outputs_of_a_swapped_scene_turn_back(k):
    target = np.random.default_rng(k).standard_normal((7, 6, 5, 13)).astype(np.float32)
    turned_back = unswap_output(swap_target(target, k)[:, :, 1:], k)
    np.testing.assert_array_equal(turned_back, target[:, :, 1:])


@ALL
def test_pixels_move_as_their_label(k):
    frames = np.zeros((2, 32, 64, 3), dtype=np.uint8)
    # The centre of pixel (row 5, column 11).
    azimuth, elevation = 180 - 360 * 11.5 / 64, 90 - 180 * 5.5 / 32
    frames[:, 5, 11] = 200
    column, row = pixel_of(*swap_angles(azimuth, elevation, k), 64, 32)
    swapped = swap_frames(frames, k)
    assert swapped.shape == frames.shape
    assert swapped[:, int(row), int(column)].tolist() == [[200] * 3] * 2
    assert (swapped != 0).sum() == 6


@ALL
def test_swaps_keep_angles_between_sources(k):
    first, second = swap_angles(10.0, 20.0, k), swap_angles(-60.0, -5.0, k)
    expected = angle_between_deg(unit_vector(10.0, 20.0), unit_vector(-60.0, -5.0))
    assert angle_between_deg(unit_vector(*first), unit_vector(*second)) == pytest.approx(expected)


def test_a_width_that_has_no_quarters_is_refused():
    with pytest.raises(ValueError, match="width 30"):
        swap_frames(np.zeros((1, 8, 30, 3), dtype=np.uint8), 0)
