"""Directions, vectors and pixels agree with each other and with the convention of STARSS23."""

import numpy as np
import pytest

from data.geometry import angle_between_deg, angles_deg, direction_of_pixel, pixel_of, unit_vector, wrap_azimuth_deg


@pytest.mark.parametrize(
    ("azimuth", "elevation", "vector"),
    [(0, 0, (1, 0, 0)), (90, 0, (0, 1, 0)), (-90, 0, (0, -1, 0)), (0, 90, (0, 0, 1)), (180, 0, (-1, 0, 0))],
)
def test_axes_point_front_left_and_up(azimuth, elevation, vector):
    np.testing.assert_allclose(unit_vector(azimuth, elevation), vector, atol=1e-12)


def test_angles_invert_unit_vectors():
    rng = np.random.default_rng(0)
    azimuth, elevation = rng.uniform(-180, 180, 200), rng.uniform(-89, 89, 200)
    back = angles_deg(3.0 * unit_vector(azimuth, elevation))
    np.testing.assert_allclose(back, (azimuth, elevation), atol=1e-9)


def test_angle_between_is_exact_when_tiny_and_when_opposite():
    x = np.array([1.0, 0.0, 0.0])
    assert angle_between_deg(x, unit_vector(1e-5, 0)) == pytest.approx(1e-5, rel=1e-6)
    assert angle_between_deg(x, -2 * x) == pytest.approx(180.0)


def test_azimuths_wrap():
    np.testing.assert_allclose(wrap_azimuth_deg([180, -180, 540, 181, -190]), [-180, -180, -180, -179, 170])


@pytest.mark.parametrize(
    ("azimuth", "elevation", "column", "row"),
    [(0, 0, 224, 112), (90, 0, 112, 112), (-90, 45, 336, 56), (180, 90, 0, 0), (-180, -90, 0, 224)],
)
def test_pixels_follow_the_equirectangular_map(azimuth, elevation, column, row):
    assert pixel_of(azimuth, elevation, 448, 224) == (column, row)


def test_directions_of_pixels_invert_pixels():
    columns, rows = np.meshgrid(np.arange(64) + 0.5, np.arange(32) + 0.5)
    np.testing.assert_allclose(pixel_of(*direction_of_pixel(columns, rows, 64, 32), 64, 32), (columns, rows))
