"""Stored pictures agree with the labels, and video files keep their time."""

from fractions import Fraction

import numpy as np
import pytest

from data.errors import UserError
from data.geometry import pixel_of
from data.painting import Painter
from data.scenes import SceneSettings, make_room, sample_scene, scene_events
from data.video import render_jpegs
from data.video_files import decode_jpeg, read_video, write_mp4
from support.scene_measures import apart, centroid


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
        column, row = centroid((np.abs(picture.astype(int) - background).max(axis=-1) > 40).astype(float))
        expected = pixel_of(labels.azimuth_deg[i], labels.elevation_deg[i], 448, 224)
        # Labels are taken half a frame later than pictures, and a cross or a star has no symmetric cover.
        assert apart(column, expected[0], 448) < 4
        assert abs(row - expected[1]) < 3
        checked += 1
    assert checked > 5


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
