"""The profile `hard`: neither sound nor picture tells where the labelled source is, both together do.

Estimators that know everything but what is asked choose between the direction of an event and that of its decoy.
"""

from dataclasses import replace

import numpy as np
import pytest

from data.geometry import angle_between_deg, unit_vector
from data.scenes.mixing import render_audio
from data.scenes.painting import GLYPH_RADIUS_DEG, Painter
from data.scenes.rooms import seen_from_receiver
from data.scenes.sampling import DECOY_APART_DEG, make_room, sample_scene, scene_facts
from data.scenes.settings import profile
from data.timing import SAMPLES_PER_LABEL
from support.scene_measures import cover_of


def hard_scene(seed, **overrides):
    settings = profile("hard", {"duration_s": 30.0, **overrides})
    return sample_scene(settings, make_room(settings, "room1", seed), seed)


def pairs(scene):
    """Each decoy with the event that it imitates."""
    events = {(e.class_index, e.start_label, e.stop_label): e for e in scene.events if e.visible}
    return [(events[d.class_index, d.start_label, d.stop_label], d) for d in scene.decoys]


def loudness(audio, scene, source):
    """Energy of the recording from where a source is, frame by frame, by a cardioid."""
    total = 0.0
    for label, place in zip(range(source.start_label, source.stop_label), source.label_positions(), strict=True):
        w, y, z, x = audio[:, label * SAMPLES_PER_LABEL : (label + 1) * SAMPLES_PER_LABEL]
        ahead = place - np.asarray(scene.room.receiver_m)
        ahead = ahead / np.linalg.norm(ahead)
        total += np.square(0.5 * (w + ahead[0] * x + ahead[1] * y + ahead[2] * z)).sum()
    return total


def colour_share(picture, scene, source, time_s):
    """How much of a class's colour the picture shows where a source is."""
    height, width = picture.shape[:2]
    azimuth, elevation, _ = seen_from_receiver(scene.room, source.position_at(np.array([time_s]))[0])
    rows, columns = np.nonzero(cover_of(picture, source.class_index, tolerance=30))
    view = unit_vector(180 - 360 * (columns + 0.5) / width, 90 - 180 * (rows + 0.5) / height)
    return np.count_nonzero(angle_between_deg(view, unit_vector(azimuth, elevation)) < GLYPH_RADIUS_DEG)


def test_facts_name_the_events_that_a_decoy_goes_with():
    scene = hard_scene(0)
    spans = scene_facts(scene)["spans"]["with a decoy"]
    events = [event for event, _ in pairs(scene)]
    assert len(spans) == len(scene.decoys) > 0
    assert sorted(spans) == sorted([e.class_index, e.source, e.start_label, e.stop_label] for e in events)


def test_sound_alone_is_chance_the_picture_alone_is_poor_and_both_together_are_right():
    by_sound, by_both, by_picture = [], [], []
    for seed in range(9):
        scene = hard_scene(seed)
        audio, painter = render_audio(scene).astype(np.float64), Painter(scene)
        for event, decoy in pairs(scene):
            by_sound.append(loudness(audio, scene, event) > loudness(audio, scene, decoy))
            time_s = (event.start_label + event.num_labels // 2) / 10
            glyphs = painter.glyphs(time_s)
            picture = painter.picture(glyphs)
            by_both.append(colour_share(picture, scene, event, time_s) > colour_share(picture, scene, decoy, time_s))
            # Whatever is in the picture may be what sounds.
            labelled = sum(e.visible and e.start_label <= 10 * time_s < e.stop_label for e in scene.events)
            by_picture.append(labelled / len(glyphs))
    assert len(by_sound) > 50
    chance = 3 * 0.5 / np.sqrt(len(by_sound))
    assert abs(np.mean(by_sound) - 0.5) < chance
    assert np.mean(by_both) > 0.95
    assert np.mean(by_picture) < 0.6


def test_without_decoys_sound_alone_is_mostly_right():
    """The same estimator is a good one where it has a chance: its failure above is the decoys' doing."""
    right = []
    for seed in range(6):
        scene = hard_scene(seed)
        audio = render_audio(replace(scene, decoys=())).astype(np.float64)
        right.extend(loudness(audio, scene, event) > loudness(audio, scene, decoy) for event, decoy in pairs(scene))
    assert len(right) > 40
    assert np.mean(right) > 0.7


def test_a_decoy_is_a_twin_in_another_direction():
    apart, nearer, louder, moves, events = [], [], [], [], 0
    for seed in range(40):
        scene = hard_scene(seed)
        events += sum(event.visible for event in scene.events)
        microphone = np.asarray(scene.room.receiver_m)
        for event, decoy in pairs(scene):
            assert not decoy.visible
            assert scene.hidden_share(event) == scene.hidden_share(decoy) == 0
            assert decoy.seed != event.seed
            here, there = event.label_positions() - microphone, decoy.label_positions() - microphone
            apart.append(angle_between_deg(here, there).min())
            nearer.append(np.linalg.norm(here, axis=1).mean() - np.linalg.norm(there, axis=1).mean())
            louder.append(event.level_db - decoy.level_db)
            moves.append(event.moving - decoy.moving)
    assert min(apart) >= DECOY_APART_DEG
    # A share of 0.8, less those that have no room for one or are hidden behind something.
    assert 0.6 < len(apart) / events < 0.9
    for differences in (nearer, louder, moves):
        assert abs(np.mean(differences)) < 3 * np.std(differences) / np.sqrt(len(differences))


@pytest.mark.parametrize("name", ["easy", "standard"])
def test_other_profiles_have_no_decoys(name):
    settings = profile(name)
    assert not sample_scene(settings, make_room(settings, "room1", 0), 0).decoys
