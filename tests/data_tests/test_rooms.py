"""Room responses: early and late parts fit, and moving sources agree with those at rest."""

import sys

import numpy as np
import pytest

from data.errors import UserError
from data.rooms import Room, early_responses, image_sources, late_response, position_m, spatialise
from data.rows import RATE_HZ

OPEN = Room("open", (9.0, 9.0, 5.0), (4.5, 4.5, 2.5), 0.0)
WALLS = Room("walls", (6.3, 4.7, 2.9), (3.05, 2.4, 1.5), 0.4)
IMPULSE = np.eye(1, 4800, dtype=np.float32)[0]


def response(room, azimuth, elevation, distance):
    place = position_m(room, azimuth, elevation, distance)[None]
    return spatialise(room, IMPULSE, place, np.random.default_rng(0)).astype(np.float64)


def test_the_late_field_takes_over_at_the_level_of_the_images():
    # Energy in 5 ms before the fade, of images alone, against 5 ms after it, of the late field alone.
    room = Room("r", WALLS.size_m, WALLS.receiver_m, 0.8)
    early, late = [], []
    for azimuth in range(-180, 180, 15):
        w = response(room, azimuth, 10, 1.2)[0] ** 2
        early.append(w[round(0.009 * RATE_HZ) : round(0.015 * RATE_HZ)].mean())
        late.append(w[round(0.031 * RATE_HZ) : round(0.037 * RATE_HZ)].mean())
    natural_decay_db = 60 * 0.022 / 0.8
    assert 10 * np.log10(np.mean(early) / np.mean(late)) == pytest.approx(natural_decay_db, abs=2.0)


def test_the_late_field_is_diffuse():
    late = late_response(Room("r", (6, 5, 3), (3, 2.5, 1.5), 1.0), 1.0, np.random.default_rng(1))
    correlation = np.corrcoef(late)
    assert np.abs(correlation[~np.eye(4, dtype=bool)]).max() < 0.1
    power = (late.astype(float) ** 2).sum(axis=1)
    np.testing.assert_allclose(power[1:] / power[0], 1 / 3, rtol=0.15)


def test_first_order_images_are_the_mirror_images():
    source = np.array([[1.0, 1.2, 0.9]])
    offsets, gains = image_sources(WALLS, source, order=1)
    x, y, z = source[0]
    length, width, height = WALLS.size_m
    mirrored = [
        (-x, y, z),
        (2 * length - x, y, z),
        (x, -y, z),
        (x, 2 * width - y, z),
        (x, y, -z),
        (x, y, 2 * height - z),
    ]
    images = offsets[0] + np.asarray(WALLS.receiver_m)
    np.testing.assert_allclose(images[0], source[0], atol=1e-5)
    np.testing.assert_allclose(sorted(map(tuple, images[1:])), sorted(mirrored), atol=1e-4)
    np.testing.assert_allclose(gains[0], [1] + [np.sqrt(1 - WALLS.absorption)] * 6, atol=1e-5)


def test_a_source_that_moves_nowhere_sounds_like_one_at_rest():
    signal = np.random.default_rng(3).standard_normal(9600).astype(np.float32)
    place = position_m(WALLS, 75, -10, 1.4)[None]
    still = spatialise(WALLS, signal, place, np.random.default_rng(0))
    moving = spatialise(WALLS, signal, np.repeat(place, 10, axis=0), np.random.default_rng(0))
    shared = min(still.shape[1], moving.shape[1])
    np.testing.assert_allclose(moving[:, :shared], still[:, :shared], atol=1e-4)


def test_responses_of_many_positions_equal_those_of_each():
    places = np.stack([position_m(WALLS, a, 5, 1.0) for a in (0, 100)])
    np.testing.assert_allclose(early_responses(WALLS, places)[1], early_responses(WALLS, places[1:])[0], atol=1e-7)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyroomacoustics", None)
    with pytest.raises(UserError, match=r"pyroomacoustics.*seldtune\[synth\]"):
        image_sources(WALLS, np.array([[1.0, 1.0, 1.0]]))
