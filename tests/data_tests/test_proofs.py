"""What synthetic recordings have to prove before a model may learn from them: sound, labels and pictures agree.

Every proof about directions is also run on sound whose channels, or pictures whose axes, are wrong, and has to fail.
"""

import json
from fractions import Fraction

import numpy as np
import pytest
import soundfile

from data.files.video import TREE_RATE_HZ, write_mp4
from data.geometry import angle_between_deg, pixel_of, unit_vector
from data.labels import Events
from data.scenes.mixing import render_audio, render_stems, sounding_samples
from data.scenes.painting import Painter
from data.scenes.parts import Scene, SceneEvent
from data.scenes.rooms import Room, position_m, seen_from_receiver, spatialise
from data.scenes.sampling import make_room, sample_scene, scene_events, scene_facts
from data.scenes.settings import PROFILES, SceneSettings, profile
from data.scenes.video import scene_pictures
from data.swaps import NUM_SWAPS, swap_angles, swap_audio, swap_pictures
from data.timing import RATE_HZ, SAMPLES_PER_LABEL
from support.scene_measures import apart, centroid, cover_of, heard_direction, painted, reverberation_s
from trainables.scores.metrics import scores, seld_counts

OPEN = Room("open", (9.0, 9.0, 5.0), (4.5, 4.5, 2.5), 0.0)
WALLS = Room("walls", (6.3, 4.7, 2.9), (3.05, 2.4, 1.5), 0.4)
IMPULSE = np.eye(1, 4800, dtype=np.float32)[0]
DIRECTIONS = [(0, 0), (90, 0), (-90, 10), (180, -20), (37, 42), (-143, -35)]
# A ring: symmetric, so that its centroid is its centre.
RING = 3
PIXEL = 1.0

# Ways to get channels wrong, of sound (4, N) in order W, Y, Z, X.
WRONG_CHANNELS = {
    "Y negated": lambda sound: sound * np.array([[1], [-1], [1], [1]], dtype=sound.dtype),
    "Z negated": lambda sound: sound * np.array([[1], [1], [-1], [1]], dtype=sound.dtype),
    "X negated": lambda sound: sound * np.array([[1], [1], [1], [-1]], dtype=sound.dtype),
    "W negated": lambda sound: sound * np.array([[-1], [1], [1], [1]], dtype=sound.dtype),
    "X and Y swapped": lambda sound: sound[[0, 3, 2, 1]],
    "in order W, X, Y, Z": lambda sound: sound[[0, 3, 1, 2]],
}
# Ways to get pictures (..., height, width, 3) wrong.
WRONG_PICTURES = {
    "mirrored": lambda picture: picture[..., ::-1, :],
    "upside down": lambda picture: picture[..., ::-1, :, :],
    "off by a quarter": lambda picture: np.roll(picture, picture.shape[-2] // 4, axis=-2),
    "off by two pixels": lambda picture: np.roll(picture, 2, axis=-2),
}


def unchanged(recording):
    return recording


def response(room, azimuth, elevation, distance, channels=unchanged):
    place = position_m(room, azimuth, elevation, distance)[None]
    return channels(spatialise(room, IMPULSE, place, np.random.default_rng(0)))


# --- 1 to 3: the direction of the sound -------------------------------------------------------------------------------


def prove_direction_without_walls(channels):
    for azimuth, elevation in DIRECTIONS:
        sound = response(OPEN, azimuth, elevation, 1.7, channels)
        assert angle_between_deg(heard_direction(sound), unit_vector(azimuth, elevation)) < 1.0
        ratio = np.linalg.norm(heard_direction(sound)) / (sound[0].astype(float) ** 2).sum()
        assert ratio == pytest.approx(1.0, abs=0.01)


def prove_direct_sound_in_a_room(channels):
    for azimuth, elevation in DIRECTIONS:
        sound = response(WALLS, azimuth, elevation, 1.2, channels)
        onset = int(1.2 / 343 * RATE_HZ) - 12
        direct = sound[:, onset : onset + round(0.002 * RATE_HZ)]
        assert angle_between_deg(heard_direction(direct), unit_vector(azimuth, elevation)) < 5.0


def prove_a_moving_source_is_heard_where_it_is(channels):
    samples, azimuths = 2 * RATE_HZ, np.linspace(-60, 80, 2 * RATE_HZ // 1200 + 2)
    path = np.stack([position_m(WALLS, azimuth, 10, 1.2) for azimuth in azimuths])
    signal = np.random.default_rng(2).standard_normal(samples).astype(np.float32)
    sound = channels(spatialise(WALLS, signal, path, np.random.default_rng(0)))
    delay = round(1.2 / 343 * RATE_HZ)
    errors = []
    for start in range(0, samples - SAMPLES_PER_LABEL, SAMPLES_PER_LABEL):
        heard = heard_direction(sound[:, start + delay : start + delay + SAMPLES_PER_LABEL])
        truth = unit_vector(np.interp(start + 1200, np.arange(len(azimuths)) * 1200, azimuths), 10)
        errors.append(angle_between_deg(heard, truth))
    assert np.median(errors) < 5.0


DIRECTION_PROOFS = [
    prove_direction_without_walls,
    prove_direct_sound_in_a_room,
    prove_a_moving_source_is_heard_where_it_is,
]


@pytest.mark.parametrize("prove", DIRECTION_PROOFS)
def test_directions_are_right(prove):
    prove(unchanged)


@pytest.mark.parametrize("prove", DIRECTION_PROOFS)
@pytest.mark.parametrize("wrong", WRONG_CHANNELS)
def test_wrong_channels_are_found_out(prove, wrong):
    with pytest.raises(AssertionError):
        prove(WRONG_CHANNELS[wrong])


# --- 4 and 5: delay, level, reverberation -----------------------------------------------------------------------------


@pytest.mark.parametrize("distance", [0.5, 1.0, 2.0, 3.9])
def test_delay_and_level_follow_the_distance(distance):
    # A signal below 4 kHz, so that the peak of a delay between samples is not lost.
    t = (np.arange(481) - 240) / RATE_HZ
    pulse = (np.sinc(8000 * t) * np.hanning(481)).astype(np.float32)
    place = position_m(OPEN, 20, 0, distance)[None]
    sound = spatialise(OPEN, pulse, place, np.random.default_rng(0))[0]
    assert abs(int(np.argmax(sound)) - 240 - distance / 343 * RATE_HZ) <= 1.0
    assert 20 * np.log10(np.abs(sound).max() * distance) == pytest.approx(0.0, abs=0.5)


@pytest.mark.parametrize("rt60", [0.2, 0.4, 0.8, 1.2])
@pytest.mark.parametrize("size", [(4.0, 3.5, 2.4), (6.3, 4.7, 2.9), (10.0, 8.0, 4.0), (10.0, 3.5, 2.4)])
def test_reverberation_time_is_what_was_asked(size, rt60):
    room = Room("r", size, (size[0] / 2 + 0.2, size[1] / 2 - 0.1, 1.5), rt60)
    for azimuth, distance in ((30, 1.0), (-170, 1.4)):
        rendered = response(room, azimuth, 0, distance)[0]
        assert reverberation_s(rendered) == pytest.approx(rt60, rel=0.15)
        assert reverberation_s(rendered, low_db=-25.0) == pytest.approx(rt60, rel=0.15)


# --- 6: noise, signal-to-noise ratio, polyphony -----------------------------------------------------------------------


@pytest.mark.parametrize("name", PROFILES)
def test_levels_of_the_stems_are_the_scenes_facts(name):
    settings = profile(name, {"duration_s": 12.0})
    scene = sample_scene(settings, make_room(settings, "room1", 5), 5)
    stems, facts = render_stems(scene), scene_facts(scene)
    correlation = np.corrcoef(stems.noise)
    assert np.abs(correlation[~np.eye(4, dtype=bool)]).max() < 0.1
    signal = np.square(stems.mix_events()[0, sounding_samples(scene)].astype(float)).mean()
    noise = np.square(stems.noise[0].astype(float)).mean()
    assert 10 * np.log10(signal / noise) == pytest.approx(facts["snr_db"], abs=0.01)
    assert len(stems.interferers) == len(facts["interferer_db"]) == sum(facts["interferers"].values())
    for interferer, (begin, sound), level_db in zip(
        scene.interferers, stems.interferers, facts["interferer_db"], strict=True
    ):
        assert begin == interferer.start_label * SAMPLES_PER_LABEL
        power = np.square(sound[0, : interferer.num_labels * SAMPLES_PER_LABEL].astype(float)).mean()
        assert 10 * np.log10(power / signal) == pytest.approx(level_db, abs=0.01)
    mixed = stems.mix_events() + stems.noise
    for begin, sound in stems.decoys + stems.interferers:
        mixed[:, begin : begin + sound.shape[1]] += sound
    np.testing.assert_allclose(stems.mix(), mixed, atol=1e-5)
    audio = render_audio(scene) / 32767
    gain = (audio * mixed).sum() / (mixed * mixed).sum()
    np.testing.assert_allclose(audio, gain * mixed, atol=1 / 32767)
    assert 10 * np.log10(gain**2 * signal) == pytest.approx(facts["recording_dbfs"], abs=0.01)
    assert json.loads(json.dumps(facts)) == facts


def test_polyphony_of_the_sound_is_the_scenes(tmp_path):
    """Steady recordings without walls: in which frames each stem sounds is measured, not asked."""
    rng = np.random.default_rng(0)
    for name in ("bell", "door", "tap"):
        (tmp_path / name).mkdir()
        for i, seconds in enumerate((0.9, 2.3, 6.0)):
            noise = 0.1 * rng.standard_normal(round(seconds * RATE_HZ))
            soundfile.write(tmp_path / name / f"{i}.wav", noise, RATE_HZ)
    settings = SceneSettings(
        duration_s=30.0,
        events=str(tmp_path),
        classes=(7, 10, 11),
        polyphony=4,
        overlap=0.7,
        same_class_overlap=True,
        rt60_s=(0, 0),
    )
    scene = sample_scene(settings, make_room(settings, "room1", 1), 1)
    voices = np.zeros(scene.num_labels, dtype=int)
    for begin, sound in render_stems(scene).events:
        stem = np.zeros(scene.num_labels * SAMPLES_PER_LABEL)
        stem[begin : begin + sound.shape[1]] = sound[0]
        power = np.square(stem).reshape(-1, SAMPLES_PER_LABEL).mean(axis=1)
        voices += power > 0.25 * np.median(power[power > 0])
    assert np.bincount(voices).tolist() == scene_facts(scene)["polyphony"]
    assert voices.max() >= 3
    labels = scene_events(scene)
    np.testing.assert_array_equal(np.bincount(labels.frame, minlength=scene.num_labels), voices)
    cells = labels.frame * 13 + labels.class_index
    assert np.bincount(cells).max() > 1, "no two events of one class at once"


# --- 7: the picture ---------------------------------------------------------------------------------------------------


def prove_the_centroid_is_at_the_pixel_of_the_direction(pictures):
    for azimuth, elevation in [(0, 0), (90, 10), (-75.3, -22), (180, 0), (-179.5, 15), (13, 30)]:
        column, row = centroid(pictures(painted(RING, azimuth, elevation)[..., None])[..., 0])
        expected = pixel_of(azimuth, elevation, 448, 224)
        assert apart(column, expected[0], 448) < PIXEL
        assert abs(row - expected[1]) < PIXEL


def test_the_centroid_is_at_the_pixel_of_the_direction():
    prove_the_centroid_is_at_the_pixel_of_the_direction(unchanged)


@pytest.mark.parametrize("wrong", WRONG_PICTURES)
def test_wrong_pictures_are_found_out(wrong):
    with pytest.raises(AssertionError):
        prove_the_centroid_is_at_the_pixel_of_the_direction(WRONG_PICTURES[wrong])


def test_glyphs_wrap_at_the_edge_and_stretch_with_latitude():
    cover = painted(0, 180, 0)
    assert cover[:, 0].max() > 0.9
    assert cover[:, -1].max() > 0.9

    def columns(elevation):
        return np.count_nonzero(painted(0, 40, elevation).max(axis=0) > 0.5)

    for elevation in (-60, -30, 30, 60):
        assert columns(elevation) / columns(0) == pytest.approx(1 / np.cos(np.deg2rad(elevation)), rel=0.15)


@pytest.mark.slow
def test_a_video_file_shows_the_source_at_its_pixel_at_its_time(tmp_path):
    """One source that walks once round the microphone in three seconds, across the picture's edge."""
    import av

    azimuth = np.deg2rad(np.linspace(-180, 180, 62))
    path = np.stack([3 + 1.5 * np.cos(azimuth), 2.5 + 1.5 * np.sin(azimuth), np.full(62, 1.9)], axis=-1)
    room = Room("room1", (6.0, 5.0, 3.0), (3.0, 2.5, 1.5), 0.3)
    scene = Scene(room, (SceneEvent(RING, 1, 0, 30, path, 0.0, True, 1),), 30, 20.0, 0)
    write_mp4(tmp_path / "a.mp4", scene_pictures(scene))
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert Fraction(stream.average_rate) == TREE_RATE_HZ
        for j, frame in enumerate(container.decode(stream)):
            shown_s = float(frame.pts * stream.time_base)
            assert shown_s == pytest.approx(j * 1001 / 30000, abs=1e-4)
            if j % 10 == 0:
                column, row = centroid(cover_of(frame.to_ndarray(format="rgb24"), RING))
                azimuth, elevation, _ = seen_from_receiver(room, scene.events[0].position_at(np.array([shown_s]))[0])
                expected = pixel_of(azimuth, elevation, 1920, 960)
                assert apart(column, expected[0], 1920) < PIXEL
                assert abs(row - expected[1]) < PIXEL
    assert j == 88


# --- 8: the eight swaps -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recording():
    """One scene's sound, labels and picture: a ringing telephone at (50, 25)."""
    event = SceneEvent(RING, 1, 0, 10, position_m(OPEN, 50, 25, 1.5)[None], 0.0, True, 1)
    scene = Scene(OPEN, (event,), 10, 60.0, 0)
    painter = Painter(scene)
    return render_audio(scene), scene_events(scene), painter.picture(painter.glyphs(0.5))


def prove_swaps_agree(recording, k, channels=unchanged, pictures=unchanged):
    audio, labels, picture = recording
    azimuth, elevation = swap_angles(labels.azimuth_deg[0], labels.elevation_deg[0], k)
    heard = heard_direction(swap_audio(channels(audio), k))
    assert angle_between_deg(heard, unit_vector(azimuth, elevation)) < 1.0
    column, row = centroid(cover_of(swap_pictures(pictures(picture), k), RING))
    expected = pixel_of(azimuth, elevation, 448, 224)
    assert apart(column, expected[0], 448) < PIXEL
    assert abs(row - expected[1]) < PIXEL


@pytest.mark.parametrize("k", range(NUM_SWAPS))
def test_under_every_swap_sound_label_and_picture_agree(recording, k):
    prove_swaps_agree(recording, k)
    for wrong in WRONG_CHANNELS.values():
        with pytest.raises(AssertionError):
            prove_swaps_agree(recording, k, channels=wrong)
    for wrong in WRONG_PICTURES.values():
        with pytest.raises(AssertionError):
            prove_swaps_agree(recording, k, pictures=wrong)


# --- 9: oracle labels -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROFILES)
def test_oracle_labels_have_perfect_scores(name):
    settings = profile(name, {"polyphony": 5, "same_class_overlap": True})
    scene = sample_scene(settings, make_room(settings, "room1", 3), 3)
    labels = scene_events(scene)

    def score(predicted):
        return scores(seld_counts(labels, predicted, scene.num_labels), "present")

    perfect = score(labels)
    assert (perfect.error_rate, perfect.f_score, perfect.localisation_recall) == pytest.approx((0, 1, 1), abs=1e-9)
    assert perfect.localisation_error_deg == pytest.approx(0, abs=1e-4)
    mirrored = Events.build(*labels.columns()[:3], -labels.azimuth_deg, labels.elevation_deg)
    turned = Events.build(*labels.columns()[:3], 90 - labels.azimuth_deg, labels.elevation_deg)
    upside_down = Events.build(*labels.columns()[:4], -labels.elevation_deg)
    for wrong in (mirrored, turned, upside_down):
        assert score(wrong).f_score < 0.8
        assert score(wrong).localisation_error_deg > 10
