"""Several predictions for the same frames become one, with tracks brought into one order first."""

from itertools import permutations

import numpy as np
import pytest
import torch

from data.labels import Events
from data.stores.rows import cut_rows
from data.swaps import NUM_SWAPS, swap_features, unswap_output
from trainables.config import CnnConformer, ConformerConfig, InferenceConfig, InputConfig, TrialConfig
from trainables.config.tree import override
from trainables.evaluation.evaluate import predict
from trainables.inputs.prepare import PrepareRow
from trainables.networks.model import SeldModel
from trainables.scores.averaging import TrackMean, align_tracks

CONFORMER = ConformerConfig(layers=1, heads=2, feed_forward=16, kernel=3)
CONFIG = TrialConfig(
    inputs=InputConfig(n_fft=1024, hop=600, n_mels=16),
    audio=CnnConformer(channels=(8, 16), time_strides=(2, 2), frequency_strides=(4, 2), conformer=CONFORMER),
)


def test_tracks_come_into_the_order_of_the_reference():
    rng = np.random.default_rng(0)
    reference = rng.standard_normal((20, 3, 4, 13))
    shuffled = reference.copy()
    for t in range(20):
        for c in range(13):
            shuffled[t, :, :, c] = reference[t, rng.permutation(3), :, c]
    np.testing.assert_array_equal(align_tracks(shuffled, reference), reference)


def test_the_order_is_the_nearest_of_all():
    rng = np.random.default_rng(1)
    values, reference = rng.standard_normal((2, 10, 3, 3, 13))
    aligned = align_tracks(values, reference)
    for t in range(10):
        for c in range(13):
            distance = [((values[t, list(o), :, c] - reference[t, :, :, c]) ** 2).sum() for o in permutations(range(3))]
            assert ((aligned[t, :, :, c] - reference[t, :, :, c]) ** 2).sum() == pytest.approx(min(distance))


def test_a_single_prediction_is_its_own_mean():
    values = np.random.default_rng(2).standard_normal((8, 3, 3, 13)).astype(np.float32)
    mean = TrackMean(6, 3, 3, 13)
    mean.add(0, values[:4])
    mean.add(4, values[4:])
    np.testing.assert_array_equal(mean.mean(), values[:6].reshape(6, -1))


def test_tracks_that_swap_places_do_not_cancel():
    one = np.zeros((1, 3, 3, 13))
    one[0, 0, 0, 5], one[0, 1, 1, 5] = 0.9, 0.7
    mean = TrackMean(1, 3, 3, 13)
    mean.add(0, one)
    mean.add(0, one[:, [1, 2, 0]])
    np.testing.assert_allclose(mean.mean(), one.reshape(1, -1))


def rows(labels: int) -> list[dict]:
    rng = np.random.default_rng(labels)
    audio = rng.normal(0, 2000, (4, labels * 2400)).astype(np.int16)
    return [PrepareRow(CONFIG.inputs)(row) for row in cut_rows("a", "room", audio, Events.build())]


def test_overlapping_windows_are_averaged():
    torch.manual_seed(0)
    model = SeldModel(CONFIG)
    overlapping = SeldModel(override(CONFIG, {"inference.hop_s": 1.0}))
    overlapping.load_state_dict(model.state_dict())
    recording = rows(70)
    (plain,), (averaged,) = predict(model, recording)[0], predict(overlapping, recording)[0]
    assert averaged.shape == plain.shape == (70, 117)
    # The first second is seen by one window alone, the next by two.
    np.testing.assert_allclose(averaged[:10], plain[:10], atol=1e-6)
    assert np.abs(averaged[10:20] - plain[10:20]).max() > 1e-4
    with torch.no_grad():
        first, second = model(
            torch.from_numpy(np.stack([recording[0]["features"][:, s * 4 : (s + 30) * 4] for s in (0, 10)]))
        ).numpy()
    expected = TrackMean(40, 3, 3, 13)
    expected.add(0, first.reshape(30, 3, 3, 13))
    expected.add(10, second.reshape(30, 3, 3, 13))
    np.testing.assert_allclose(averaged[10:20], expected.mean()[10:20], atol=1e-6)


def test_an_average_over_swaps_turns_with_the_scene():
    """A network is not equivariant; its average over the eight swaps is, up to the order of tracks."""
    torch.manual_seed(0)
    config = override(CONFIG, {"inference": {"swap_average": True}, "output.name": "accdoa"})
    assert config.inference == InferenceConfig(swap_average=True)
    model = SeldModel(config)
    (recording,) = rows(30)
    (straight,) = predict(model, [recording])[0]
    plain = SeldModel(override(config, {"inference.swap_average": False}))
    plain.load_state_dict(model.state_dict())
    differs = []
    for k in range(NUM_SWAPS):
        turned = {**recording, "features": swap_features(recording["features"], k)}
        (output,) = predict(model, [turned])[0]
        back = unswap_output(output.reshape(30, 1, 3, 13), k).reshape(30, -1)
        np.testing.assert_allclose(back, straight, atol=1e-5)
        (once,) = predict(plain, [turned])[0]
        differs.append(np.abs(unswap_output(once.reshape(30, 1, 3, 13), k).reshape(30, -1) - straight).max())
    assert min(differs) > 1e-4
