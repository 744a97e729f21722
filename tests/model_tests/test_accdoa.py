"""ADPIT loss and multi-ACCDOA decoding, against the reference figures and a plain enumeration."""

import dataclasses
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import torch

from data.labels import Events, adpit_target
from trainables.config import Accdoa, MultiAccddoa, MultiAccdoa
from trainables.scores.detections import Detections

FORM = MultiAccdoa()
NUM_OUTPUTS = FORM.width(13)
GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "trainables_accdoa.npz")


def random_target(seed: int, num_labels: int) -> torch.Tensor:
    """Busy scenes: up to four events of a class at once."""
    rng = np.random.default_rng(seed)
    rows = 20 * num_labels
    return torch.from_numpy(
        adpit_target(
            Events.build(
                rng.integers(num_labels, size=rows),
                rng.integers(13, size=rows),
                np.zeros(rows),
                rng.uniform(-180, 180, rows),
                rng.uniform(-90, 90, rows),
                rng.uniform(50, 500, rows),
            ),
            num_labels,
        )
    )


def loss_by_enumeration(output: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Per frame, straight from the definition."""
    tracks = output.reshape(len(output), 3, -1, 13)
    axes = tracks.shape[2]
    total = np.zeros(len(output))
    for t, c in product(range(len(output)), range(13)):
        vectors = target[t, :, 0, c, None] * target[t, :, 1 : 1 + axes, c]
        if target[t, 3:, 0, c].any():
            allowed = list(permutations(vectors[3:]))
        elif target[t, 1:3, 0, c].any():
            allowed = [[vectors[i] for i in o] for o in product((1, 2), repeat=3) if len(set(o)) == 2]
        else:
            allowed = [[vectors[0]] * 3]
        total[t] += min(np.mean((tracks[t, :, :, c] - np.array(a)) ** 2) for a in allowed) / 13
    return total


def test_loss_and_gradient_equal_the_reference():
    target = torch.from_numpy(GOLDEN["adpit_target"])[None].repeat(2, 1, 1, 1, 1)
    output = torch.from_numpy(GOLDEN["adpit_output"]).requires_grad_()
    loss = FORM.loss(output, target)
    loss.backward()
    assert abs(loss.item() - float(GOLDEN["adpit_loss"])) < 1e-6
    assert np.abs(output.grad.numpy() - GOLDEN["adpit_grad"]).max() < 1e-6


@pytest.mark.parametrize("form", [MultiAccdoa(), MultiAccddoa()], ids=lambda form: form.name)
def test_loss_equals_the_definition(form):
    target = random_target(0, 24)
    assert target[:, 3:, 0].any()
    assert target[:, 1:3, 0].any()
    output = torch.randn(2, 12, form.width(13), generator=torch.Generator().manual_seed(0)) * 0.7
    expected = loss_by_enumeration(output.flatten(0, 1).numpy(), target.numpy())
    loss = form.loss(output, target.unflatten(0, (2, 12)))
    assert loss.item() == pytest.approx(expected.mean(), abs=1e-6)


@pytest.mark.parametrize("form", [MultiAccdoa(), MultiAccddoa(), Accdoa()], ids=lambda form: form.name)
def test_an_error_of_elevation_weighs_more(form):
    target = torch.zeros(1, 1, 6, 5, 13)
    target[..., 0, 0, 3] = 1.0  # one event of a class, dead ahead
    target[..., 0, 1, 3] = 1.0
    right = torch.zeros(1, 1, form.tracks, form.axes, 13)
    right[..., 0, 3] = 1.0
    assert form.loss(right.flatten(-3), target).item() == 0.0
    for weight in (1.0, 1.5):
        weighed = dataclasses.replace(form, vertical_weight=weight)
        errors = []
        for axis in (1, 2):  # to the left, and above
            wrong = right.clone()
            wrong[..., axis, 3] = 0.5
            errors.append(weighed.loss(wrong.flatten(-3), target).item())
        assert errors[1] / errors[0] == pytest.approx(weight**2)


@pytest.mark.parametrize("form", [MultiAccdoa(), MultiAccddoa(), Accdoa()], ids=lambda form: form.name)
def test_an_error_of_a_class_that_sounds_weighs_more(form):
    target = torch.zeros(1, 2, 6, 5, 13)
    for dummy, class_index in ((0, 3), (1, 5)):  # one event of a class; the first of two
        target[0, 1, dummy, 0, class_index] = target[0, 1, dummy, 1, class_index] = 1.0
    right = torch.zeros(1, 2, form.tracks, form.axes, 13)
    right[0, 1, :, 0, (3, 5)] = 1.0
    places = {"sounds": (1, 3), "one of two": (1, 5), "another class": (1, 4), "another time": (0, 3)}
    for weight in (1.0, 3.0):
        weighed = dataclasses.replace(form, active_weight=weight)
        base = weighed.loss(right.flatten(-3), target).item()
        costs = {}
        for what, (frame, class_index) in places.items():
            wrong = right.clone()
            wrong[0, frame, :, 1, class_index] += 0.1
            costs[what] = weighed.loss(wrong.flatten(-3), target).item() - base
        assert costs["sounds"] / costs["another class"] == pytest.approx(weight, rel=1e-4)
        assert costs["one of two"] / costs["another class"] == pytest.approx(weight, rel=1e-3)
        assert costs["another time"] == pytest.approx(costs["another class"], rel=1e-4)


def test_only_valid_labels_count():
    target, output = random_target(1, 20).unflatten(0, (2, 10)), torch.randn(2, 10, NUM_OUTPUTS, requires_grad=True)
    valid = torch.ones(2, 10, dtype=torch.bool)
    assert FORM.loss(output, target, valid).item() == pytest.approx(FORM.loss(output, target).item(), rel=1e-5)
    valid[1, 4:] = False
    loss = FORM.loss(output, target, valid)
    kept = FORM.loss(output[:1], target[:1]) * 10 + FORM.loss(output[1:, :4], target[1:, :4]) * 4
    assert loss.item() == pytest.approx(kept.item() / 14, rel=1e-5)
    loss.backward()
    assert (output.grad[1, 4:] == 0).all()
    assert FORM.loss(output, target, torch.zeros_like(valid)).item() == 0.0


def test_a_perfect_output_costs_nothing_in_any_order():
    events = Events.build([0] * 3, [5] * 3, [0, 1, 2], [0, 90, 180], [0, 10, -40])
    target = torch.from_numpy(adpit_target(events, 1))[None]
    for order in permutations((3, 4, 5)):
        output = target[:, :, list(order), 1:4].reshape(1, 1, NUM_OUTPUTS)
        assert FORM.loss(output, target).item() == pytest.approx(0.0, abs=1e-12)


def test_decoding_equals_the_reference():
    detections = FORM.decode(GOLDEN["decode_input"])
    expected = GOLDEN["decode_rows"]
    np.testing.assert_array_equal(detections.frame, expected[:, 0])
    np.testing.assert_array_equal(detections.class_index, expected[:, 1])
    np.testing.assert_allclose(detections.vector, expected[:, 2:], atol=1e-6)


def test_decoding_inverts_the_target():
    """Up to three events of a class, further apart than what is unified, come back as they were."""
    azimuths = [0, 60, -90, 90, 179, 45]
    events = Events.build([0, 0, 2, 2, 2, 7], [1, 1, 4, 4, 4, 12], [0, 1, 0, 1, 2, 0], azimuths, [0] * 6)
    target = torch.from_numpy(adpit_target(events, 8))
    tracks = target[:, [0, 0, 0], 1:4] + target[:, [1, 1, 2], 1:4] + target[:, [3, 4, 5], 1:4]
    decoded = FORM.decode(tracks.reshape(8, NUM_OUTPUTS)).events()
    assert sorted(zip(decoded.frame, decoded.class_index, np.round(decoded.azimuth_deg), strict=True)) == sorted(
        zip(events.frame, events.class_index, events.azimuth_deg, strict=True)
    )
    np.testing.assert_allclose(decoded.elevation_deg, 0.0, atol=1e-4)
    assert sorted(decoded.source[decoded.class_index == 4]) == [0, 1, 2]


@pytest.mark.parametrize(("threshold", "count"), [(0.3, 2), (0.5, 1), (0.9, 0)])
def test_threshold(threshold, count):
    output = np.zeros((1, 3, 3, 13))
    output[0, 0, 0, 3], output[0, 1, 1, 7] = 0.8, 0.4
    assert len(FORM.decode(output.reshape(1, -1), threshold)) == count


@pytest.mark.parametrize(("unify_deg", "count"), [(15.0, 2), (25.0, 1)])
def test_tracks_closer_than_the_limit_are_one(unify_deg, count):
    output = np.zeros((1, 3, 3, 13))
    output[0, 0, :, 0] = (1.0, 0.0, 0.0)
    output[0, 2, :, 0] = (np.cos(np.deg2rad(20)), np.sin(np.deg2rad(20)), 0.0)
    detections = MultiAccdoa(unify_deg=unify_deg).decode(output.reshape(1, -1))
    assert len(detections) == count
    assert detections.events().azimuth_deg.mean() == pytest.approx(10.0)


def test_nothing_decodes_to_nothing():
    detections = FORM.decode(torch.zeros(10, NUM_OUTPUTS))
    assert isinstance(detections, Detections)
    assert len(detections) == 0
    assert len(detections.events()) == 0


def test_each_class_has_its_threshold():
    output = np.zeros((1, 3, 3, 13))
    output[0, 0, 0, [3, 7]] = 0.6
    thresholds = np.full(13, 0.5)
    thresholds[7] = 0.7
    assert FORM.decode(output.reshape(1, -1), thresholds).class_index.tolist() == [3]


def test_distances_are_decoded_and_joined():
    form = MultiAccddoa()
    output = np.zeros((2, 3, 4, 13))
    output[0, 0, :, 2], output[0, 1, :, 2] = (0.9, 0.0, 0.0, 2.0), (0.9, 0.05, 0.0, 3.0)
    output[1, 2, :, 8] = (0.0, 0.0, -0.8, 1.5)
    detections = form.decode(output.reshape(2, -1))
    assert detections.distance_m.tolist() == [2.5, 1.5]
    assert detections.events().distance_cm.tolist() == [250, 150]
    assert FORM.decode(np.zeros((1, NUM_OUTPUTS))).distance_m is None


def test_directions_are_bounded_and_distances_positive():
    raw = 5 * torch.randn(2, 4, MultiAccddoa().width(13))
    bounded = MultiAccddoa().activate(raw).unflatten(-1, (3, 4, 13))
    assert bounded[..., :3, :].abs().max() <= 1
    assert bounded[..., 3, :].min() == 0
    torch.testing.assert_close(bounded[..., 3, :], raw.unflatten(-1, (3, 4, 13))[..., 3, :].clamp(min=0))
    torch.testing.assert_close(FORM.activate(raw[..., :NUM_OUTPUTS]), torch.tanh(raw[..., :NUM_OUTPUTS]))


def test_a_single_vector_follows_the_first_event_of_its_class():
    events = Events.build([0, 1, 1, 2, 2, 2], [4] * 6, [0, 0, 1, 0, 1, 2], [0, 90, 0, 180, 0, 90], [0] * 6)
    target = torch.from_numpy(adpit_target(events, 4))[None]
    perfect = torch.zeros(1, 4, 3, 13)
    perfect[0, :3, :2, 4] = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    assert Accdoa().loss(perfect.flatten(2), target).item() == pytest.approx(0.0, abs=1e-12)
    assert Accdoa().loss(torch.zeros(1, 4, 39), target).item() == pytest.approx(3 / (4 * 39))
    valid = torch.tensor([[True, True, False, False]])
    assert Accdoa().loss(torch.zeros(1, 4, 39), target, valid).item() == pytest.approx(2 / (2 * 39))
    decoded = Accdoa().decode(perfect[0].flatten(1)).events()
    assert decoded.azimuth_deg.round().tolist() == [0, 90, 180]
