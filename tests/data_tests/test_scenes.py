"""Scenes: repeatable, within their settings, with labels that say what is heard."""

from dataclasses import replace

import numpy as np
import pytest

from data.classes import STARSS23
from data.geometry import angle_between_deg, unit_vector
from data.scenes.interferers import KINDS, make_interferer
from data.scenes.mixing import render_audio, render_stems
from data.scenes.parts import Occluder
from data.scenes.sampling import make_room, sample_scene, scene_events, scene_facts
from data.scenes.settings import PROFILES, SceneSettings, profile
from data.scenes.sources import make_source
from data.scenes.waveforms import REFERENCE_RMS, active_rms
from data.timing import RATE_HZ, SAMPLES_PER_LABEL

EASY = SceneSettings(duration_s=12.0)


def easy_scene(seed=0, settings=EASY):
    return sample_scene(settings, make_room(settings, "room1", seed), seed)


@pytest.mark.parametrize("class_index", range(len(STARSS23)))
def test_sources_are_varied_repeatable_and_equally_loud(class_index):
    check_recipe(lambda rng: make_source(class_index, rng, 2.0))


@pytest.mark.parametrize("kind", KINDS)
def test_interferers_are_varied_repeatable_and_equally_loud(kind):
    check_recipe(lambda rng: make_interferer(kind, rng, 2.0))


def check_recipe(make):
    first, again, other = (make(np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01
    assert first.dtype == np.float32
    assert first.shape == (2 * RATE_HZ,)
    assert active_rms(first) == pytest.approx(REFERENCE_RMS, rel=1e-4)


def test_classes_and_interferers_are_told_apart_by_their_mean_spectrum_and_rhythm():
    """Nearest neighbour on a crude fingerprint: were two alike, it would mix them up."""

    def fingerprint(signal):
        blocks = signal[: len(signal) // 480 * 480].reshape(-1, 480)
        spectrum = np.abs(np.fft.rfft(blocks * np.hanning(480))) ** 2
        edges = np.unique(np.geomspace(1, 241, 17).astype(int))
        bands = 10 * np.log10(np.add.reduceat(spectrum, edges[:-1], axis=1) + 1e-4)
        return np.concatenate([bands.mean(0), bands.std(0)])

    def made(kind, *seed):
        rng = np.random.default_rng(seed)
        return fingerprint(
            make_source(kind, rng, 3.0) if kind in range(len(STARSS23)) else make_interferer(kind, rng, 3.0)
        )

    kinds = (*range(len(STARSS23)), *KINDS)
    seen = {kind: [made(kind, k, i) for i in range(4)] for k, kind in enumerate(kinds)}
    hits = 0
    for k, kind in enumerate(kinds):
        unseen = made(kind, k, 99)
        hits += min(seen, key=lambda other: min(np.linalg.norm(unseen - known) for known in seen[other])) == kind
    assert hits >= len(kinds) - 1


def test_a_scene_follows_from_its_seed():
    np.testing.assert_array_equal(render_audio(easy_scene(3)), render_audio(easy_scene(3)))
    assert not np.array_equal(render_audio(easy_scene(3)), render_audio(easy_scene(4)))


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_keep_their_promises(name):
    settings = profile(name)
    for seed in range(3):
        scene = easy_scene(seed, settings)
        labels = scene_events(scene)
        assert np.bincount(labels.frame).max() <= settings.polyphony
        low, high = settings.elevation_deg
        assert labels.elevation_deg.min() >= low - 1e-6
        assert labels.elevation_deg.max() <= high + 1e-6
        for event in scene.events:
            assert (event.positions_m > 0).all()
            assert (event.positions_m < scene.room.size_m).all()
        assert settings.rt60_s[0] <= scene.room.rt60_s <= settings.rt60_s[1]


def test_easy_scenes_are_balanced_and_mostly_of_one_or_two_voices():
    counts, voices = np.zeros(len(STARSS23)), []
    for seed in range(20):
        labels = scene_events(easy_scene(seed, profile("easy")))
        counts += np.bincount(labels.class_index, minlength=len(STARSS23))
        voices.append(np.bincount(labels.frame, minlength=600))
    assert counts.min() / counts.max() > 0.6
    assert (np.concatenate(voices) >= 1).mean() > 0.85
    assert 0.1 < (np.concatenate(voices) == 2).mean() < 0.5


@pytest.mark.parametrize(("rt60", "limit_deg"), [(0.0, 1.0), (0.2, 20.0)])
def test_each_event_is_heard_from_where_its_label_says(rt60, limit_deg):
    """Direction of the intensity of each event's own sound against its labels, moving events too."""
    settings = SceneSettings(duration_s=20.0, moving_share=0.6, overlap=0.0, rt60_s=(rt60, rt60))
    errors = {True: [], False: []}
    for seed in range(2):
        scene = easy_scene(seed, settings)
        for event, (_, sound) in zip(scene.events, render_stems(scene).events, strict=True):
            labels_of = np.arange(event.start_label, event.stop_label)
            truth = event.position_at((labels_of + 0.5) * 0.1) - np.asarray(scene.room.receiver_m)
            for i in range(1, len(labels_of) - 1):
                w, y, z, x = sound[:, i * SAMPLES_PER_LABEL : (i + 1) * SAMPLES_PER_LABEL].astype(float)
                heard = np.array([(w * x).sum(), (w * y).sum(), (w * z).sum()])
                if (w**2).mean() > 1e-6:
                    errors[event.moving].append(angle_between_deg(heard, truth[i]))
    assert np.median(errors[True]) < limit_deg
    assert np.median(errors[False]) < limit_deg


def test_labels_cover_events_from_first_to_last():
    scene = easy_scene(7)
    labels = scene_events(scene)
    for event in scene.events:
        mine = labels.select((labels.class_index == event.class_index) & (labels.source == event.source))
        assert set(range(event.start_label, event.stop_label)) <= set(mine.frame.tolist())
    assert (np.diff(labels.frame) >= 0).all()
    assert len(labels) == sum(event.stop_label - event.start_label for event in scene.events)


def test_labels_hold_the_direction_at_their_middle():
    scene = next(s for s in map(easy_scene, range(50)) if any(e.moving for e in s.events))
    event = next(e for e in scene.events if e.moving)
    labels = scene_events(scene)
    row = np.flatnonzero((labels.frame == event.start_label + 3) & (labels.source == event.source))[0]
    # 0.35 s after the start: step 7 of the path.
    offset = event.positions_m[7] - np.asarray(scene.room.receiver_m)
    label = unit_vector(labels.azimuth_deg[row], labels.elevation_deg[row])
    assert angle_between_deg(label, offset) < 1e-6
    assert labels.distance_cm[row] == pytest.approx(100 * np.linalg.norm(offset))


def test_visible_share_is_kept():
    hidden = SceneSettings(duration_s=60.0, visible_share=0.0)
    assert not any(event.visible for event in easy_scene(0, hidden).events)


def test_recordings_do_not_clip():
    loud = SceneSettings(duration_s=6.0, recording_dbfs=(0.0, 0.0), polyphony=5, overlap=1.0)
    assert 31000 < np.abs(render_audio(easy_scene(1, loud)).astype(int)).max() < 32767


def test_recordings_are_as_loud_as_real_ones():
    found = [scene_facts(easy_scene(seed))["recording_dbfs"] for seed in range(40)]
    assert -54 <= min(found) < -52
    assert -44 < max(found) <= -42


def test_interferers_distractors_and_occluders_leave_the_labels_as_they_were():
    more = SceneSettings(duration_s=30.0, interferers=2, interferer_gap_s=(0, 5), distractors=2, occluders=(3, 3))
    for seed in range(3):
        scene, plain = easy_scene(seed, more), easy_scene(seed, SceneSettings(duration_s=30.0))
        assert scene.interferers
        assert scene.distractors
        assert len(scene.occluders) == 3
        assert (plain.interferers, plain.distractors, plain.occluders, plain.decoys) == ((), (), (), ())
        for column, same in zip(scene_events(scene).columns(), scene_events(plain).columns(), strict=True):
            np.testing.assert_array_equal(column, same)


@pytest.mark.parametrize(("voices", "most"), [("interferers", 3), ("distractors", 2)])
def test_no_more_than_asked_are_there_at_once_and_all_stay_in_the_room(voices, most):
    settings = SceneSettings(duration_s=60.0, moving_share=0.5, **{voices: most})
    counts = np.zeros(600, dtype=int)
    for seed in range(5):
        scene = easy_scene(seed, settings)
        for thing in getattr(scene, voices):
            counts[thing.start_label : thing.stop_label] += 1
            assert (thing.positions_m > 0).all()
            assert (thing.positions_m < scene.room.size_m).all()
        assert counts.max() <= most
        assert counts.mean() > 0.3
        assert any(thing.moving for thing in getattr(scene, voices))
        counts[:] = 0


def test_interferers_follow_the_events_when_these_get_louder():
    levels = []
    for level_db in (-20.0, 5.0):
        settings = SceneSettings(
            duration_s=12.0, level_db=(level_db, level_db), interferers=1, interferer_gap_s=(0.5, 1.0)
        )
        stems = render_stems(easy_scene(1, settings))
        levels.append([10 * np.log10(np.square(part[0][1][0]).mean()) for part in (stems.events, stems.interferers)])
    np.testing.assert_allclose(np.subtract(levels[1], levels[0]), 25.0, atol=0.01)


def test_facts_count_what_is_in_a_scene():
    settings = profile("hard", {"duration_s": 30.0, "visible_share": 0.7, "decoy_share": 0.5})
    scene = easy_scene(2, settings)
    facts = scene_facts(scene)
    labels = scene_events(scene)
    assert facts["polyphony"] == np.bincount(np.bincount(labels.frame, minlength=300)).tolist()
    assert sum(facts["polyphony"]) == 300
    assert facts["events"] == len(scene.events)
    assert facts["moving"] == sum(len(e.positions_m) > 1 for e in scene.events)
    assert 0 < facts["hidden"] == sum(not e.visible for e in scene.events) < len(scene.events)
    assert 0 < facts["decoys"] <= facts["events"] - facts["hidden"]
    assert facts["distractors"] == len(scene.distractors)
    assert settings.snr_db[0] <= facts["snr_db"] <= settings.snr_db[1]
    assert facts["rt60_s"] == scene.room.rt60_s
    assert all(settings.interferer_db[0] <= db <= settings.interferer_db[1] for db in facts["interferer_db"])


def test_an_event_behind_a_pillar_is_occluded_but_labelled_and_heard():
    scene = easy_scene(0, SceneSettings(duration_s=12.0, moving_share=0.0, visible_share=1.0))
    event = scene.events[0]
    azimuth = scene_events(scene).azimuth_deg[0]
    behind = replace(scene, occluders=(Occluder(float(azimuth), 0.5, 0.3, 9.0, False),))
    assert behind.hidden_share(event) == 1
    assert scene_facts(behind)["occluded"] >= 1 > scene_facts(scene)["occluded"]
    span = [event.class_index, event.source, event.start_label, event.stop_label]
    assert span in scene_facts(behind)["spans"]["unseen"]
    assert scene_facts(scene)["spans"] == {"unseen": [], "with a decoy": []}
    np.testing.assert_array_equal(scene_events(behind).frame, scene_events(scene).frame)
    np.testing.assert_array_equal(render_audio(behind), render_audio(scene))
