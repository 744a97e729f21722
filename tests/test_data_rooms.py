"""Room responses are right in their physics: direction, delay, level, reverberation."""

import sys

import numpy as np
import pytest

from data.errors import UserError
from data.geometry import angle_between_deg, unit_vector
from data.rooms import Room, early_responses, image_sources, late_response, position_m, spatialise
from data.rows import RATE_HZ

OPEN = Room("open", (9.0, 9.0, 5.0), (4.5, 4.5, 2.5), 0.0)
WALLS = Room("walls", (6.3, 4.7, 2.9), (3.05, 2.4, 1.5), 0.4)
IMPULSE = np.eye(1, 4800, dtype=np.float32)[0]
DIRECTIONS = [(0, 0), (90, 0), (-90, 10), (180, -20), (37, 42), (-143, -35)]


def response(room, azimuth, elevation, distance):
    place = position_m(room, azimuth, elevation, distance)[None]
    return spatialise(room, IMPULSE, place, np.random.default_rng(0)).astype(np.float64)


def heard_direction(sound):
    """Direction of W * [X, Y, Z]: fails on a swapped channel and on a negated axis."""
    w, y, z, x = sound
    return np.array([(w * x).sum(), (w * y).sum(), (w * z).sum()])


@pytest.mark.parametrize(("azimuth", "elevation"), DIRECTIONS)
def test_without_walls_the_direction_is_exact_and_levels_are_sn3d(azimuth, elevation):
    sound = response(OPEN, azimuth, elevation, 1.7)
    assert angle_between_deg(heard_direction(sound), unit_vector(azimuth, elevation)) < 1.0
    ratio = np.linalg.norm(heard_direction(sound)) / (sound[0] ** 2).sum()
    assert ratio == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(("azimuth", "elevation"), DIRECTIONS)
def test_in_a_room_the_direct_sound_has_the_direction(azimuth, elevation):
    sound = response(WALLS, azimuth, elevation, 1.2)
    onset = int(1.2 / 343 * RATE_HZ) - 12
    direct = sound[:, onset : onset + round(0.002 * RATE_HZ)]
    assert angle_between_deg(heard_direction(direct), unit_vector(azimuth, elevation)) < 5.0


@pytest.mark.parametrize("distance", [0.5, 1.0, 2.0, 3.9])
def test_delay_and_level_follow_the_distance(distance):
    # A signal below 4 kHz, so that the peak of a delay between samples is not lost.
    t = (np.arange(481) - 240) / RATE_HZ
    pulse = (np.sinc(8000 * t) * np.hanning(481)).astype(np.float32)
    place = position_m(OPEN, 20, 0, distance)[None]
    sound = spatialise(OPEN, pulse, place, np.random.default_rng(0))[0]
    assert abs(int(np.argmax(sound)) - 240 - distance / 343 * RATE_HZ) <= 1.0
    assert 20 * np.log10(np.abs(sound).max() * distance) == pytest.approx(0.0, abs=0.5)


@pytest.mark.parametrize("rt60", [0.2, 0.4, 0.8])
def test_reverberation_time_is_what_was_asked(rt60):
    room = Room("r", WALLS.size_m, WALLS.receiver_m, rt60)
    energy = np.cumsum(response(room, 30, 0, 1.5)[0][::-1] ** 2)[::-1]
    level = 10 * np.log10(energy / energy[0] + 1e-30)
    start, stop = np.argmax(level < -5), np.argmax(level < -35)
    slope = np.polyfit(np.arange(start, stop) / RATE_HZ, level[start:stop], 1)[0]
    assert -60 / slope == pytest.approx(rt60, rel=0.15)


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


def test_a_moving_source_is_heard_where_it_is():
    samples, azimuths = 2 * RATE_HZ, np.linspace(-60, 80, 2 * RATE_HZ // 1200 + 2)
    path = np.stack([position_m(WALLS, azimuth, 10, 1.2) for azimuth in azimuths])
    signal = np.random.default_rng(2).standard_normal(samples).astype(np.float32)
    sound = spatialise(WALLS, signal, path, np.random.default_rng(0))
    delay = round(1.2 / 343 * RATE_HZ)
    errors = []
    for start in range(0, samples - 2400, 2400):
        heard = heard_direction(sound[:, start + delay : start + delay + 2400])
        truth = unit_vector(np.interp(start + 1200, np.arange(len(azimuths)) * 1200, azimuths), 10)
        errors.append(angle_between_deg(heard, truth))
    assert np.median(errors) < 5.0


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
