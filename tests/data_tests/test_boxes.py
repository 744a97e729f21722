"""Boxes: read, turned with the panorama, and spread into vectors."""

import re

import numpy as np
import pytest

from data.boxes import MAX_BOXES, VECTOR_WIDTH, gaussian_vectors, read_boxes_csv, swap_boxes
from data.errors import UserError
from data.geometry import direction_of_pixel, unit_vector
from data.swaps import IDENTITY, NUM_SWAPS, swap_angles, swap_frames

BOX = (0.125, 0.25, 0.375, 0.5, 0.8)


def boxes_of(*rows: tuple[float, ...]) -> np.ndarray:
    boxes = np.zeros((1, MAX_BOXES, 5), np.float32)
    boxes[0, : len(rows)] = rows
    return boxes


def random_boxes(count: int) -> np.ndarray:
    rng = np.random.default_rng(count)
    left, width = rng.uniform(0, 1, (count, MAX_BOXES)), rng.uniform(0.05, 0.5, (count, MAX_BOXES))
    top, height = rng.uniform(0, 0.5, (count, MAX_BOXES)), rng.uniform(0.05, 0.5, (count, MAX_BOXES))
    boxes = np.stack([left, top, left + width, top + height, rng.uniform(0.1, 1, left.shape)], axis=-1)
    boxes[::3, 4:] = 0
    return boxes.astype(np.float32)


@pytest.mark.parametrize("k", range(NUM_SWAPS))
def test_a_box_stays_around_its_object(k):
    """A bright rectangle in a picture and the box around it turn alike."""
    frame = np.zeros((32, 64, 3), np.uint8)
    frame[8:16, 8:24] = 255
    (left, top, right, bottom, score) = swap_boxes(boxes_of(BOX), k)[0, 0]
    bright = np.zeros((32, 64), bool)
    columns = np.arange(round(64 * left), round(64 * right)) % 64
    bright[round(32 * top) : round(32 * bottom), columns] = True
    np.testing.assert_array_equal(swap_frames(frame, k)[..., 0] > 0, bright)
    assert score == np.float32(0.8)


@pytest.mark.parametrize("k", range(NUM_SWAPS))
def test_centres_turn_as_directions_do(k):
    boxes = random_boxes(40)

    def centres(found: np.ndarray) -> np.ndarray:
        found = found.astype(np.float64)
        return unit_vector(
            *direction_of_pixel((found[..., 0] + found[..., 2]) / 2, (found[..., 1] + found[..., 3]) / 2, 1, 1)
        )

    there = boxes[..., 4] > 0
    middle = (boxes[..., 0] + boxes[..., 2]) / 2, (boxes[..., 1] + boxes[..., 3]) / 2
    expected = unit_vector(*swap_angles(*direction_of_pixel(*middle, 1, 1), k))
    swapped = swap_boxes(boxes, k)
    np.testing.assert_allclose(centres(swapped)[there], expected[there], atol=1e-5)
    assert ((swapped[there][:, 0] >= 0) & (swapped[there][:, 0] < 1)).all()
    assert not swapped[~there].any()


@pytest.mark.parametrize("k", range(NUM_SWAPS))
def test_vectors_turn_with_their_boxes(k):
    """Turned by quarters, points of azimuth move by nine; mirrored, they run backwards."""
    boxes = random_boxes(20)
    vectors = gaussian_vectors(boxes).reshape(20, MAX_BOXES, 2, 37)
    turned = gaussian_vectors(swap_boxes(boxes, k)).reshape(20, MAX_BOXES, 2, 37)
    azimuths, _ = swap_angles(180 - 10 * np.arange(36), np.zeros(36), k)
    points = np.round((180 - azimuths) / 10).astype(int) % 36
    np.testing.assert_allclose(turned[:, :, 0, points], vectors[:, :, 0, :36], atol=1e-4)
    np.testing.assert_array_equal(turned[:, :, 0, 36], turned[:, :, 0, 0])
    mirrored = swap_angles(0, 1, k)[1] < 0
    np.testing.assert_allclose(turned[:, :, 1], vectors[:, :, 1, :: -1 if mirrored else 1], atol=1e-4)


def test_a_vector_is_one_at_the_middle_and_fades_with_the_size():
    vectors = gaussian_vectors(boxes_of((0.25, 0.0, 0.75, 1.0, 0.9)))
    assert vectors.shape == (1, VECTOR_WIDTH)
    across, down = vectors.reshape(MAX_BOXES, 2, 37)[0]
    points = np.arange(37)
    np.testing.assert_allclose(across, np.exp(-(((points - 18) / 9) ** 2)), atol=1e-6)
    np.testing.assert_allclose(down, np.exp(-(((points - 18) / 18) ** 2)), atol=1e-6)
    assert not vectors[0, 74:].any()
    assert not gaussian_vectors(np.zeros((2, MAX_BOXES, 5), np.float32)).any()


def test_identity_changes_nothing():
    boxes = random_boxes(5)
    np.testing.assert_allclose(swap_boxes(boxes, IDENTITY), boxes, atol=1e-6)


def test_the_strongest_boxes_of_a_csv_stay(tmp_path):
    path = tmp_path / "a.csv"
    rows = [f"2,0.1,0.1,0.{i + 2},0.5,0.{9 - i}" for i in range(7)]
    path.write_text(
        "frame,left,top,right,bottom,score\n0,0.5,0.2,1.1,0.4\n" + "\n".join(reversed(rows)) + "\n9,0,0,1,1\n"
    )
    boxes = read_boxes_csv(str(path), 4)
    assert boxes.shape == (4, 6, 5)
    np.testing.assert_allclose(boxes[0, 0], (0.5, 0.2, 1.1, 0.4, 1.0), atol=1e-6)
    np.testing.assert_allclose(boxes[2, :, 4], (0.9, 0.8, 0.7, 0.6, 0.5, 0.4), atol=1e-6)
    assert not boxes[[1, 3]].any()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0,0.1,0.1,0.2", "expected frame, left"),
        ("0,a,0.1,0.2,0.3", "expected frame, left"),
        ("-1,0.1,0.1,0.2,0.3", "frames count from 0"),
        ("0,0.3,0.1,0.2,0.3", "left < right"),
        ("0,0.1,0.4,0.2,0.3", "top < bottom"),
        ("0,0.1,0.1,0.2,0.3,1.5", "score 1.5"),
    ],
)
def test_faults_are_named_with_file_and_line(tmp_path, row, message):
    path = tmp_path / "a.csv"
    path.write_text(f"0,0,0,1,1\n{row}\n")
    with pytest.raises(UserError, match=rf"{re.escape(str(path))}:2.*{re.escape(message)}"):
        read_boxes_csv(str(path), 1)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"boxes of .*nowhere\.csv"):
        read_boxes_csv(str(tmp_path / "nowhere.csv"), 1)
