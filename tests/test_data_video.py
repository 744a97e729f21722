"""Pictures show each visible source where it is, and video files keep their time."""

from fractions import Fraction

import numpy as np
import pytest

from data.classes import NUM_CLASSES
from data.errors import UserError
from data.geometry import pixel_of, unit_vector
from data.painting import Painter, draw_glyph, paint_room
from data.rooms import Room
from data.scenes import Scene, SceneEvent, SceneSettings, make_room, sample_scene, scene_events
from data.swaps import NUM_SWAPS, swap_angles, swap_frames
from data.video import render_jpegs, scene_pictures
from data.video_files import decode_jpeg, read_video, write_mp4

ROOM = Room("room1", (6.0, 5.0, 3.0), (3.0, 2.5, 1.5), 0.3)


def painted(class_index, azimuth, elevation, width=448, height=224):
    """Which pixels a glyph covers, (height, width)."""
    low, high = np.zeros((height, width, 3), np.uint8), np.full((height, width, 3), 255, np.uint8)
    draw_glyph(low, class_index, azimuth, elevation)
    draw_glyph(high, class_index, azimuth, elevation)
    # Where the glyph covers, the canvas does not matter.
    return 1.0 - np.abs(high.astype(int) - low.astype(int)).mean(axis=-1) / 255


def centroid(cover):
    """Column and row of the covered pixels' middle, with the picture's edges joined."""
    height, width = cover.shape
    angle = 2 * np.pi * (np.arange(width) + 0.5) / width
    weights = cover.sum(axis=0)
    column = np.arctan2((weights * np.sin(angle)).sum(), (weights * np.cos(angle)).sum()) / (2 * np.pi) * width
    return column % width, (cover.sum(axis=1) * (np.arange(height) + 0.5)).sum() / cover.sum()


def apart(first, second, width):
    """Distance of two columns with the edges joined."""
    return abs((first - second + width / 2) % width - width / 2)


# A ring: symmetric, so that its centroid is its centre.
@pytest.mark.parametrize(("azimuth", "elevation"), [(0, 0), (90, 10), (-75.3, -22), (180, 0), (-179.5, 15), (13, 30)])
def test_the_centroid_is_at_the_pixel_of_the_direction(azimuth, elevation):
    column, row = centroid(painted(3, azimuth, elevation))
    expected = pixel_of(azimuth, elevation, 448, 224)
    assert apart(column, expected[0], 448) < 1.0
    assert abs(row - expected[1]) < 1.0


@pytest.mark.parametrize("class_index", range(NUM_CLASSES))
def test_every_glyph_is_centred_and_big_enough(class_index):
    cover = painted(class_index, -30, 5)
    column, row = centroid(cover)
    expected = pixel_of(-30, 5, 448, 224)
    assert apart(column, expected[0], 448) < 1.0
    assert abs(row - expected[1]) < 1.5
    assert np.count_nonzero(cover.max(axis=0) > 0.5) + np.count_nonzero(cover.max(axis=1) > 0.5) > 22


def test_glyphs_are_distinct_after_shrinking():
    from PIL import Image

    def small(class_index):
        picture = paint_room(ROOM, 448, 224)
        draw_glyph(picture, class_index, 0, -20)
        return np.asarray(Image.fromarray(picture).resize((128, 64))).astype(int)[36:43, 60:68]

    shown = [small(c) for c in range(NUM_CLASSES)]
    apart_by = [np.abs(a - b).mean() for i, a in enumerate(shown) for b in shown[:i]]
    assert min(apart_by) > 8


def test_glyphs_wrap_at_the_edge_and_stretch_with_latitude():
    cover = painted(0, 180, 0)
    assert cover[:, 0].max() > 0.9
    assert cover[:, -1].max() > 0.9

    def columns(elevation):
        return np.count_nonzero(painted(0, 40, elevation).max(axis=0) > 0.5)

    assert columns(60) / columns(0) == pytest.approx(2.0, rel=0.15)


@pytest.mark.parametrize("k", range(NUM_SWAPS))
def test_swapped_pictures_show_the_swapped_label(k):
    cover = np.rint(255 * painted(3, 50, 25)).astype(np.uint8)[None, ..., None].repeat(3, axis=-1)
    column, row = centroid(swap_frames(cover, k)[0, ..., 0] / 255)
    expected = pixel_of(*swap_angles(50, 25, k), 448, 224)
    assert apart(column, expected[0], 448) < 1.0
    assert abs(row - expected[1]) < 1.0


def test_pictures_show_visible_events_while_they_sound_and_no_others():
    path = np.array([[4.5, 2.5, 1.5]])
    events = (
        SceneEvent(0, 1, 5, 10, path, 0.0, True, 1),
        SceneEvent(7, 2, 5, 10, np.array([[1.0, 2.5, 1.5]]), 0.0, False, 2),
    )
    painter = Painter(Scene(ROOM, events, 20, 20.0, 0))
    assert painter.glyphs(0.4) == ()
    assert [g[0] for g in painter.glyphs(0.5)] == [0]
    assert [g[0] for g in painter.glyphs(0.9)] == [0]
    assert painter.glyphs(1.0) == ()
    np.testing.assert_array_equal(painter.picture(()), painter.background)


def test_stored_pictures_agree_with_the_labels():
    settings = SceneSettings(duration_s=6.0, overlap=0.0, visible_share=1.0, moving_share=1.0)
    scene = sample_scene(settings, make_room(settings, "room1", 2), 2)
    frames, labels = render_jpegs(scene), scene_events(scene)
    assert len(frames) == 60
    background = Painter(scene).background.astype(int)
    checked = 0
    for i in range(0, len(labels), 5):
        picture = decode_jpeg(frames[labels.frame[i]])
        assert picture.shape == (224, 448, 3)
        cover = (np.abs(picture.astype(int) - background).max(axis=-1) > 40).astype(float)
        column, row = centroid(cover)
        expected = pixel_of(labels.azimuth_deg[i], labels.elevation_deg[i], 448, 224)
        # Labels are taken half a frame later than pictures, and a cross or a star has no symmetric cover.
        assert apart(column, expected[0], 448) < 4
        assert abs(row - expected[1]) < 3
        checked += 1
    assert checked > 5


def test_a_room_has_walls_of_different_colour_and_no_direction_is_black():
    picture = paint_room(ROOM, 128, 64)
    assert picture.min() > 20
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50


def moving_scene():
    """One source that walks once round the microphone in three seconds."""
    azimuth = np.deg2rad(np.linspace(-180, 180, 62))
    path = np.stack([3 + 1.5 * np.cos(azimuth), 2.5 + 1.5 * np.sin(azimuth), np.full(62, 1.5)], axis=-1)
    return Scene(ROOM, (SceneEvent(3, 1, 0, 30, path, 0.0, True, 1),), 30, 20.0, 0)


@pytest.mark.slow
def test_a_video_file_shows_the_source_at_its_pixel_at_its_time(tmp_path):
    scene = moving_scene()
    path = tmp_path / "a.mp4"
    write_mp4(path, scene_pictures(scene))
    pictures = read_video(path, 1920, 960, 29.97)
    assert len(pictures) in (89, 90)
    background = Painter(scene, 1920, 960).background.astype(int)
    for j in (0, 20, 45, 80):
        cover = (np.abs(pictures[j].astype(int) - background).max(axis=-1) > 60).astype(float)
        column, row = centroid(cover)
        offset = scene.events[0].position_at(np.array([j * 1001 / 30000]))[0] - np.asarray(ROOM.receiver_m)
        azimuth = np.rad2deg(np.arctan2(offset[1], offset[0]))
        expected = pixel_of(azimuth, 0, 1920, 960)
        assert apart(column, expected[0], 1920) < 1.5
        assert abs(row - expected[1]) < 1.0


@pytest.mark.parametrize("rate", [Fraction(30000, 1001), Fraction(25), Fraction(10)])
def test_reading_follows_presentation_time_without_drift(tmp_path, rate):
    """A bar whose place tells the time; ten seconds would show a drift of one frame in thirty."""

    def bar(time_s):
        picture = np.zeros((32, 256, 3), np.uint8)
        picture[:, 8 + round(22 * time_s) : 24 + round(22 * time_s)] = 255
        return picture

    path = tmp_path / "b.mp4"
    write_mp4(path, (bar(float(j / rate)) for j in range(int(10 * rate))), rate)
    pictures = read_video(path, 256, 32, 10.0)
    assert len(pictures) in (99, 100)
    shown_s = np.array([(centroid(picture.mean(axis=-1))[0] - 16) / 22 for picture in pictures])
    wanted_s = np.arange(len(pictures)) / 10
    # Half a frame of the source at most, and half a pixel of the bar.
    np.testing.assert_allclose(shown_s, wanted_s, atol=0.5 / float(rate) + 0.5 / 22 + 0.005)
    assert abs(np.mean((shown_s - wanted_s)[-20:])) < 0.015


def test_what_is_no_video_is_refused(tmp_path):
    path = tmp_path / "c.mp4"
    path.write_bytes(b"no video")
    with pytest.raises(UserError, match=r"c\.mp4"):
        read_video(path, 16, 8, 10.0)
    with pytest.raises(UserError, match=r"d\.mp4"):
        read_video(tmp_path / "d.mp4", 16, 8, 10.0)


def test_vectors_of_the_painter_agree_with_geometry():
    scene = moving_scene()
    ((_, azimuth, elevation, _),) = Painter(scene).glyphs(0.75)
    offset = scene.events[0].position_at(np.array([0.75]))[0] - np.asarray(ROOM.receiver_m)
    np.testing.assert_allclose(unit_vector(azimuth, elevation), offset / np.linalg.norm(offset), atol=0.005)
