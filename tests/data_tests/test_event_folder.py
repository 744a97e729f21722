"""Events from a folder of recordings: found, read, and heard while their labels say so."""

import numpy as np
import pytest
import soundfile

from data.classes import STARSS23
from data.errors import UserError
from data.scenes import event_folder
from data.scenes.event_folder import draw_excerpt, event_files, event_folder_sha256, read_excerpt, tell_unused
from data.scenes.mixing import render_audio, render_stems
from data.scenes.sampling import make_room, sample_scene, scene_events
from data.scenes.settings import SceneSettings
from data.scenes.waveforms import REFERENCE_RMS, active_rms
from data.timing import RATE_HZ, SAMPLES_PER_LABEL

CLASSES = (0, 7, 11)


def tone(seconds, rate_hz=RATE_HZ, frequency_hz=440.0, amplitude=0.3):
    return amplitude * np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * rate_hz)) / rate_hz)


def write(folder, name, audio, rate_hz=RATE_HZ):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, rate_hz)
    return str(path)


@pytest.fixture
def folder(tmp_path):
    """Rates, channels and lengths as they come: a long file, short ones, one with silence around it."""
    write(tmp_path, "Female speech, woman speaking/a.wav", tone(1.2, 44_100), 44_100)
    write(tmp_path, "Female speech, woman speaking/b.wav", np.stack([tone(9.0, 16_000)] * 2, axis=1), 16_000)
    write(tmp_path, "door/slam.WAV", np.concatenate([np.zeros(12_000), tone(0.8), np.zeros(30_000)]))
    write(tmp_path, "BELL/x.wav", tone(30.0, 48_000, 1000.0), 48_000)
    (tmp_path / "notes.txt").write_text("none")
    return tmp_path


def scene_of(folder, seed=0, **settings):
    chosen = SceneSettings(duration_s=20.0, events=str(folder), classes=CLASSES, **settings)
    return sample_scene(chosen, make_room(chosen, "room1", seed), seed)


@pytest.mark.parametrize(
    "names", [STARSS23.names, STARSS23.short_names, [n.upper().replace(", ", "_") for n in STARSS23.names]]
)
def test_classes_are_found_by_long_and_short_names(tmp_path, names):
    for name in names:
        write(tmp_path, f"{name}/a.wav", tone(0.5))
    files = event_files(str(tmp_path), range(13))
    assert [len(files[c]) for c in range(13)] == [1] * 13
    assert files[12][0].endswith(f"{names[12]}/a.wav")


@pytest.mark.parametrize(("name", "index"), [("Water tap", 10), ("faucet", 10), ("footsteps", 6), ("Male-Speech", 1)])
def test_parts_of_names_will_do(tmp_path, name, index):
    write(tmp_path, f"{name}/a.wav", tone(0.5))
    assert list(event_files(str(tmp_path), [index])) == [index]


def test_missing_classes_are_listed_with_what_was_found(folder):
    (folder / "tap").mkdir()
    with pytest.raises(UserError, match=r"no sound for 'tap', 'knock'.*BELL, Female speech.*door, tap.*classes=fem"):
        event_files(str(folder), (0, 10, 12))
    with pytest.raises(UserError, match="'male'"):
        sample_scene(SceneSettings(events=str(folder)), make_room(SceneSettings(), "room1", 0), 0)


PLACES = {
    "of generators": {
        "doorCupboard/train/a.wav": 7,
        "musicInstrument/test/b.flac": 9,
        "Walk_and_footsteps/c.wav": 6,
        "Domestic_sounds_and_home_sounds/d.ogg": 5,
        "Doorbell/e.wav": None,
        "bell/._f.wav": None,
        "bell/notes.txt": None,
        "bell/g.WAV": 11,
    },
    "below train and test": {
        "train/waterTap/a.wav": 10,
        "test/Female_speech_and_woman_speaking/b.mp3": 0,
        "train/Doorbell/e.wav": None,
        "all/knock/deep/c.opus": 12,
        "knock.wav": None,
        "all/knock/c.m4a": None,
    },
}
TOLD = {
    "of generators": ("these folders: Doorbell\n", "in a class's folder: bell/notes.txt\n"),
    "below train and test": ("these folders: train/Doorbell\n", "in a class's folder: all/knock/c.m4a, knock.wav\n"),
}


@pytest.mark.parametrize("which", PLACES)
def test_the_names_and_folders_of_public_generators_are_known_and_what_is_not_used_is_named(tmp_path, caplog, which):
    for place in PLACES[which]:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(b"sound")
    expected = {index: (str(tmp_path / place),) for place, index in PLACES[which].items() if index is not None}
    assert event_files(str(tmp_path), sorted(expected)) == expected
    tell_unused(str(tmp_path))
    for told in TOLD[which]:
        assert told in caplog.text


@pytest.mark.parametrize("use", [event_folder_sha256, lambda folder: event_files(folder, [0])])
def test_what_is_no_folder_is_refused(tmp_path, use):
    with pytest.raises(UserError, match="nowhere is no folder"):
        use(str(tmp_path / "nowhere"))


def test_an_empty_folder_has_no_identity(tmp_path):
    with pytest.raises(UserError, match="holds no <class>/"):
        event_folder_sha256(str(tmp_path))


def test_identity_is_the_content_and_its_names(folder, tmp_path_factory):
    before = event_folder_sha256(str(folder))
    copy = tmp_path_factory.mktemp("copy")
    for path in folder.glob("*/*"):
        write(copy, str(path.relative_to(folder)), np.zeros(1))
        (copy / path.relative_to(folder)).write_bytes(path.read_bytes())
    assert event_folder_sha256(str(copy)) == before
    (copy / "door/slam.WAV").rename(copy / "door/bang.wav")
    renamed = event_folder_sha256(str(copy))
    content = bytearray((copy / "BELL/x.wav").read_bytes())
    content[-1] ^= 1
    (copy / "BELL/x.wav").write_bytes(content)
    assert len({before, renamed, event_folder_sha256(str(copy))}) == 3


def test_sounds_are_mono_at_24_khz_without_silence_and_levelled(folder):
    files = event_files(str(folder), CLASSES)
    for path, seconds in ((files[0][0], 1.2), (files[0][1], 9.0), (files[7][0], 0.8)):
        excerpt = draw_excerpt([path], 100 * RATE_HZ, np.random.default_rng(0))
        assert excerpt.samples == pytest.approx(seconds * RATE_HZ, abs=960)
        assert excerpt.num_labels == round(10 * seconds)
        sound = read_excerpt(excerpt)
        assert sound.shape == (excerpt.num_labels * SAMPLES_PER_LABEL,)
        assert sound.dtype == np.float32
        assert active_rms(sound) == pytest.approx(REFERENCE_RMS, rel=0.03)
        spectrum = np.abs(np.fft.rfft(sound))
        assert np.argmax(spectrum) * RATE_HZ / len(sound) == pytest.approx(440.0, abs=2.0)


def test_long_files_are_cropped_at_random_places_that_begin_with_sound(tmp_path):
    pauses = np.concatenate([tone(2.0), np.zeros(4 * RATE_HZ)] * 5 + [tone(2.0)])
    path = write(tmp_path, "bell/a.wav", pauses)
    rng = np.random.default_rng(0)
    excerpts = [draw_excerpt([path], RATE_HZ, rng) for _ in range(50)]
    assert len({e.start for e in excerpts}) > 30
    for excerpt in excerpts:
        assert excerpt.samples == RATE_HZ
        assert np.abs(read_excerpt(excerpt)[:480]).max() > 0.001


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"no sound", "cannot read"),
        (np.zeros(0), "is empty"),
        (np.array([0.1, np.nan] * 5000), "no numbers"),
        (np.zeros(5000), "is silent"),
    ],
)
def test_unusable_files_are_named(tmp_path, content, problem):
    path = tmp_path / "bell" / "broken.wav"
    path.parent.mkdir()
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        soundfile.write(path, content, RATE_HZ, subtype="FLOAT")
    with pytest.raises(UserError, match=rf"broken\.wav.*{problem}|{problem}.*broken\.wav"):
        draw_excerpt([str(path)], RATE_HZ, np.random.default_rng(0))


def test_the_shortest_of_sounds_lasts_one_label_frame(tmp_path):
    path = write(tmp_path, "knock/a.wav", tone(0.01))
    excerpt = draw_excerpt([path], RATE_HZ, np.random.default_rng(0))
    assert excerpt.num_labels == 1
    assert np.isfinite(read_excerpt(excerpt)).all()


def test_labels_last_as_long_as_the_files(folder):
    scene = scene_of(folder, rt60_s=(0, 0), moving_share=0.5, event_s=(2.0, 5.0))
    lengths = {event.excerpt.path.rsplit("/")[-1]: event.num_labels for event in scene.events}
    assert lengths["slam.WAV"] == 8
    assert lengths["a.wav"] == 12
    assert lengths["x.wav"] >= 10
    assert len(scene_events(scene)) == sum(event.num_labels for event in scene.events)
    for event, (_, sound) in zip(scene.events, render_stems(scene).events, strict=True):
        power = np.square(sound[0, : event.num_labels * SAMPLES_PER_LABEL]).reshape(event.num_labels, -1).mean(axis=1)
        assert power.min() > 0.25 * np.median(power)
        assert np.abs(sound[0, (event.num_labels + 1) * SAMPLES_PER_LABEL :]).max(initial=0.0) < 1e-4


def test_a_scene_does_not_depend_on_those_before_it(folder, monkeypatch):
    reads = []
    read = soundfile.read

    def counted(path, **options):
        reads.append(path)
        return read(path, **options)

    monkeypatch.setattr(soundfile, "read", counted)
    event_folder._load.cache_clear()
    first = [render_audio(scene_of(folder, seed)) for seed in (0, 1, 2)]
    assert sorted(reads) == sorted(set(reads)), "a file is read once"
    event_folder._load.cache_clear()
    for seed in (2, 0, 1):
        np.testing.assert_array_equal(render_audio(scene_of(folder, seed)), first[seed])


def test_a_decoy_from_the_folder_lasts_as_long_as_its_event(folder):
    scene = scene_of(folder, decoy_share=1.0, visible_share=1.0)
    assert len(scene.decoys) > len(scene.events) / 2
    twins = {(e.class_index, e.start_label): e for e in scene.events}
    other = 0
    for decoy in scene.decoys:
        event = twins[decoy.class_index, decoy.start_label]
        assert decoy.num_labels == event.num_labels == decoy.excerpt.num_labels == event.excerpt.num_labels
        other += decoy.excerpt != event.excerpt
    assert other > 0
