"""Stored pictures agree with the labels, and video files keep their time."""

import struct
from fractions import Fraction

import numpy as np
import pytest

from data.errors import UserError
from data.files.video import decode_jpeg, read_video, video_info, video_pictures, write_mp4
from data.geometry import pixel_of
from data.scenes.painting import Painter
from data.scenes.sampling import make_room, sample_scene, scene_events
from data.scenes.settings import SceneSettings
from data.scenes.video import render_jpegs
from support.scene_measures import apart, centroid


def test_stored_pictures_agree_with_the_labels():
    settings = SceneSettings(duration_s=6.0, overlap=0.0, visible_share=1.0, moving_share=1.0)
    scene = sample_scene(settings, make_room(settings, "room1", 2), 2)
    pictures, labels = render_jpegs(scene), scene_events(scene)
    assert len(pictures) == 60
    background = Painter(scene).background.astype(int)
    checked = 0
    for i in range(0, len(labels), 5):
        picture = decode_jpeg(pictures[labels.frame[i]])
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
        picture = np.zeros((128, 256, 3), np.uint8)
        picture[:, 8 + round(22 * time_s) : 24 + round(22 * time_s)] = 255
        return picture

    path = tmp_path / "b.mp4"
    write_mp4(path, (bar(float(j / rate)) for j in range(int(10 * rate))), rate)
    pictures = read_video(path, 256, 128, 10.0)
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


def plain(level, height=64, width=128):
    return np.full((height, width, 3), level, np.uint8)


def written(path, pictures, starts, *, tick=Fraction(1, 10), last=None, sound_s=0.0, sound_at=0, turned_deg=0):
    """A video whose pictures begin at `starts`, in ticks; with a sound of its own from `sound_at` on if so."""
    import av

    with av.open(str(path), "w", format="mp4") as out:
        video = out.add_stream("libx264", rate=int(1 / tick), options={"preset": "ultrafast", "bf": "0", "crf": "10"})
        video.height, video.width = pictures[0].shape[:2]
        video.pix_fmt = "yuv420p"
        if turned_deg:
            video.set_display_rotation(turned_deg)
        sound = out.add_stream("aac", rate=24_000, layout="mono") if sound_s else None
        packets = []
        for start, picture in zip(starts, pictures, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = start, tick
            packets += video.encode(frame)
        packets += video.encode(None)
        if last is not None:
            packets[-1].duration = int(last * tick / packets[-1].time_base)
        if sound is not None:
            hum = av.AudioFrame.from_ndarray(
                np.zeros((1, int(24_000 * sound_s)), np.float32), format="fltp", layout="mono"
            )
            hum.sample_rate, hum.pts, hum.time_base = 24_000, int(24_000 * sound_at * tick), Fraction(1, 24_000)
            packets += [*sound.encode(hum), *sound.encode(None)]
        for packet in packets:
            out.mux(packet)


def levels(path, **options):
    return [int(picture.mean()) for picture in video_pictures(path, 128, 64, 10.0, **options)]


def test_a_picture_stays_as_long_as_the_file_says(tmp_path):
    pictures = [plain(40 * i + 20) for i in range(4)]
    written(tmp_path / "stays.mp4", pictures, [0, 1, 2, 3], last=30)
    shown = levels(tmp_path / "stays.mp4")
    assert len(shown) == 33
    np.testing.assert_allclose(shown, [20, 60, 100, *30 * [140]], atol=3)
    written(tmp_path / "gap.mp4", pictures, [0, 1, 2, 22])
    np.testing.assert_allclose(levels(tmp_path / "gap.mp4"), [20, 60, *20 * [100], 140], atol=3)


@pytest.mark.parametrize(
    ("first", "sound", "late"),
    [(5, 0, 0.5), (3, 0, 0.3), (55, 50, 0.5), (0, 5, 0.0), (45, 50, 0.0), (50, 50, 0.0), (5, None, 0.0)],
)
def test_a_video_that_begins_after_its_sound_is_as_late_as_it_is(tmp_path, first, sound, late):
    """And not where both begin late, or the sound alone does. Encoders of sound begin some milliseconds early."""
    pictures = [plain(40 * i + 20) for i in range(4)]
    path = tmp_path / "late.mp4"
    written(path, pictures, range(first, first + 4), sound_s=0.0 if sound is None else 1.0, sound_at=sound or 0)
    assert video_info(path).late_s == pytest.approx(late, abs=0.05)
    shown = levels(path)
    before = round(10 * late)
    np.testing.assert_allclose(shown[: 4 + before], [*(before + 1) * [20], 60, 100, 140], atol=3)
    assert shown[4 + before :] in ([], shown[-1:])


@pytest.mark.parametrize("turned_deg", [90, 180, -90])
def test_the_rotation_flag_turns_the_picture(tmp_path, turned_deg):
    upright = plain(30)
    upright[:32, :64] = 220  # the upper left
    stored = np.ascontiguousarray(np.rot90(upright, -turned_deg // 90))
    written(tmp_path / "turned.mp4", [stored] * 3, [0, 1, 2], turned_deg=turned_deg)
    assert video_info(tmp_path / "turned.mp4").turned_deg == turned_deg % 360
    picture = next(video_pictures(tmp_path / "turned.mp4", 128, 64, 10.0)).astype(int)
    np.testing.assert_allclose(picture[8:24, 8:56], 220, atol=6)
    np.testing.assert_allclose(picture[40:56, 72:120], 30, atol=6)


@pytest.mark.parametrize(
    ("matrix", "stored"),
    [
        ((-1, 0, 0, 1), lambda picture: picture[:, ::-1]),
        ((1, 0, 0, -1), lambda picture: picture[::-1]),
        ((0, 1, 1, 0), lambda picture: picture.transpose(1, 0, 2)),
        ((0, -1, -1, 0), lambda picture: picture[::-1, ::-1].transpose(1, 0, 2)),
        ((-1, 0, 0, -1), lambda picture: picture[::-1, ::-1]),
    ],
)
def test_a_mirror_in_the_flag_mirrors_the_picture(tmp_path, matrix, stored):
    upright = plain(30)
    upright[:32, :64] = 220  # the upper left
    path = tmp_path / "mirrored.mp4"
    written(path, [np.ascontiguousarray(stored(upright))] * 3, [0, 1, 2])
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 44  # in a box of version 0
    a, b, c, d = (0x10000 * part for part in matrix)
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    assert video_info(path).is_mirrored == (matrix != (-1, 0, 0, -1))
    picture = next(video_pictures(path, 128, 64, 10.0)).astype(int)
    np.testing.assert_allclose(picture[8:24, 8:56], 220, atol=6)
    np.testing.assert_allclose(picture[40:56, 72:120], 30, atol=6)


@pytest.mark.parametrize(("how", "axis"), [("top-bottom", 0), ("left-right", 1)])
def test_two_panoramas_in_a_picture_are_named_and_one_is_taken_on_request(tmp_path, how, axis):
    both = np.concatenate([plain(40), plain(200)], axis=axis)
    written(tmp_path / "both.mp4", [both] * 3, [0, 1, 2])
    with pytest.raises(
        UserError, match=rf"both\.mp4 has pictures of .*--stereoscopic {how} takes the (upper|left) one"
    ):
        levels(tmp_path / "both.mp4")
    np.testing.assert_allclose(levels(tmp_path / "both.mp4", stereoscopic=how), [40, 40, 40], atol=3)


def test_what_is_no_panorama_is_refused(tmp_path):
    written(tmp_path / "phone.mp4", [plain(40, 72, 128)] * 3, [0, 1, 2])
    with pytest.raises(
        UserError, match=r"phone\.mp4 has pictures of 128 x 72: equirectangular pictures are twice as wide"
    ):
        levels(tmp_path / "phone.mp4")


@pytest.mark.parametrize(
    ("inside", "outside", "refused"), [(120, 0, True), (60, 5, True), (120, 60, False), (10, 0, False)]
)
def test_two_round_pictures_side_by_side_are_no_panorama(tmp_path, inside, outside, refused):
    y, x = np.mgrid[:64, :128]
    within = np.hypot(y - 31.5, x % 64 - 31.5) < 32
    picture = np.repeat(np.where(within, inside, outside).astype(np.uint8)[..., None], 3, axis=2)
    written(tmp_path / "lenses.mp4", [picture] * 3, [0, 1, 2])
    if refused:
        with pytest.raises(UserError, match=r"lenses\.mp4 shows two round pictures, as a camera with two lenses"):
            levels(tmp_path / "lenses.mp4")
    else:
        assert len(levels(tmp_path / "lenses.mp4")) == 3


def spherical(content, box):
    """The file with a box that says what its pictures are, behind all others."""
    return content + len(box + b"0000").to_bytes(4, "big") + box


def test_what_spherical_metadata_say_is_believed(tmp_path):
    written(tmp_path / "plain.mp4", [plain(40, 128, 128)] * 3, [0, 1, 2])
    content = (tmp_path / "plain.mp4").read_bytes()
    v1 = b"uuid<rdf><GSpherical:StereoMode>left-right</GSpherical:StereoMode></rdf>"
    v2 = b"sv3d" + b"\x00\x00\x00\x14proj" + b"\x00\x00\x00\x0ccbmp\x00\x00\x00\x00"
    for name, box, said in (("v1", v1, "--stereoscopic left-right"), ("v2", v2, "is a cubemap by its header")):
        (tmp_path / f"{name}.mp4").write_bytes(spherical(content, box))
        with pytest.raises(UserError, match=rf"{name}\.mp4 .*{said}"):
            levels(tmp_path / f"{name}.mp4")


def test_two_squeezed_panoramas_are_taken_for_what_the_file_says(tmp_path):
    both = np.concatenate([plain(40, 32), plain(200, 32)])
    written(tmp_path / "squeezed.mp4", [both] * 3, [0, 1, 2])
    content = (tmp_path / "squeezed.mp4").read_bytes()
    box = b"uuid<GSpherical:StereoMode>top-bottom</GSpherical:StereoMode>"
    (tmp_path / "squeezed.mp4").write_bytes(spherical(content, box))
    with pytest.raises(UserError, match="--stereoscopic top-bottom takes the upper one"):
        levels(tmp_path / "squeezed.mp4")
    np.testing.assert_allclose(levels(tmp_path / "squeezed.mp4", stereoscopic="top-bottom"), [40, 40, 40], atol=3)
