"""Pictures show each visible source where it is, and what stands before it hides it."""

import numpy as np
import pytest

from data.classes import STARSS23
from data.geometry import pixel_of, unit_vector
from data.scenes.painting import GLYPH_COLOURS, Painter, draw_glyph, paint_room
from data.scenes.parts import Distractor, Occluder, Scene, SceneEvent
from data.scenes.rooms import Room, position_m
from data.scenes.sampling import make_room, sample_scene
from data.scenes.settings import profile
from support.scene_measures import apart, centroid, cover_of, painted

ROOM = Room("room1", (6.0, 5.0, 3.0), (3.0, 2.5, 1.5), 0.3)


@pytest.mark.parametrize("class_index", range(len(STARSS23)))
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

    shown = [small(c) for c in range(len(STARSS23))]
    apart_by = [np.abs(a - b).mean() for i, a in enumerate(shown) for b in shown[:i]]
    assert min(apart_by) > 8


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


def test_a_room_has_walls_of_different_colour_and_no_direction_is_black():
    picture = paint_room(ROOM, 128, 64)
    assert picture.min() > 20
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50


def moving_scene():
    """One source that walks once round the microphone in three seconds."""
    azimuth = np.deg2rad(np.linspace(-180, 180, 62))
    path = np.stack([3 + 1.5 * np.cos(azimuth), 2.5 + 1.5 * np.sin(azimuth), np.full(62, 1.5)], axis=-1)
    return Scene(ROOM, (SceneEvent(3, 1, 0, 30, path, 0.0, True, 1),), 30, 20.0, 0)


def test_vectors_of_the_painter_agree_with_geometry():
    scene = moving_scene()
    ((_, azimuth, elevation, _),) = Painter(scene).glyphs(0.75)
    offset = scene.events[0].position_at(np.array([0.75]))[0] - np.asarray(ROOM.receiver_m)
    np.testing.assert_allclose(unit_vector(azimuth, elevation), offset / np.linalg.norm(offset), atol=0.005)


def picture_of(distance, *occluders, azimuth=30.0, width=448):
    """A scene with the glyph of class 0 at a distance, and the occluders, the farthest first."""
    event = SceneEvent(0, 1, 0, 10, position_m(ROOM, azimuth, 0, distance)[None], 0.0, True, 1)
    painter = Painter(Scene(ROOM, (event,), 10, 20.0, 0, occluders=occluders), width, width // 2)
    return painter.picture(painter.glyphs(0.0))


def shown(*arguments, **more):
    return cover_of(picture_of(*arguments, **more), 0).sum()


def pillar(azimuth, distance, width=0.8):
    return Occluder(azimuth, distance, width, ROOM.size_m[2], False)


def test_a_pillar_hides_what_is_behind_it_and_nothing_else():
    whole = shown(2.0)
    assert whole > 100
    assert shown(2.0, pillar(30, 1.0)) == 0
    assert shown(2.0, pillar(30, 2.2)) == whole
    assert shown(2.0, pillar(90, 1.0)) == whole
    # Its edge is at 30 degrees: half the glyph is left.
    assert shown(2.0, pillar(30 + np.rad2deg(np.arctan(0.4)), 1.0)) == pytest.approx(whole / 2, rel=0.1)
    # Between a near pillar and a far one.
    far, near = pillar(30, 2.2), pillar(30, 0.9, width=0.1)
    assert 0 < shown(2.0, far, near) < whole
    np.testing.assert_array_equal(picture_of(2.0, far, pillar(30, 1.0)), picture_of(2.4, far, pillar(30, 1.0)))


def test_pillars_wrap_at_the_edge_of_the_picture():
    assert shown(2.0, pillar(180, 1.0), azimuth=-175.0) == shown(2.0, pillar(180, 1.0), azimuth=175.0) == 0


def test_a_pillar_stands_from_the_floor_to_the_ceiling_and_a_person_is_smaller():
    empty = paint_room(ROOM, 448, 224).astype(int)
    rows = {}
    for is_person, height in ((False, 3.0), (True, 1.7)):
        scene = Scene(ROOM, (), 10, 20.0, 0, occluders=(Occluder(60, 1.2, 0.5, height, is_person),))
        changed = np.abs(Painter(scene, 448, 224).background - empty).max(axis=-1) > 0
        column, _ = centroid(changed.astype(float))
        assert apart(column, pixel_of(60, 0, 448, 224)[0], 448) < 1.0
        rows[is_person] = np.flatnonzero(changed.any(axis=1))
    for is_person, top_m in ((False, 1.5), (True, 0.2)):
        expected = [pixel_of(0, np.rad2deg(np.arctan(z / 1.2)), 448, 224)[1] for z in (top_m, -1.5)]
        np.testing.assert_allclose([rows[is_person][0], rows[is_person][-1] + 1], expected, atol=1.5)


def test_what_is_hidden_by_geometry_is_hidden_in_the_picture():
    """Centres behind a pillar have another colour than their class's, all others have it."""
    settings = profile("hard", {"duration_s": 30.0, "occluders": (4, 4), "polyphony": 1, "distractors": 0})
    seen = {True: [], False: []}
    for seed in range(12):
        scene = sample_scene(settings, make_room(settings, "room1", seed), seed)
        pillars = tuple(Occluder(o.azimuth_deg, o.distance_m, o.width_m, 9.0, False) for o in scene.occluders)
        scene = Scene(scene.room, scene.events, scene.num_labels, 20.0, 0, occluders=pillars)
        painter = Painter(scene, 896, 448)
        for event in scene.events:
            # A ring, a cross and the like have no colour at their centre, or hardly any.
            if event.visible and event.class_index in (0, 1, 4, 5, 7, 8, 10, 12):
                time_s = (event.start_label + event.stop_label) / 20
                place = event.position_at(np.array([time_s]))
                (glyph,) = painter.glyphs(time_s)
                column, row = pixel_of(glyph.azimuth_deg, glyph.elevation_deg, 896, 448)
                colour = painter.picture((glyph,))[int(row), int(column)]
                hidden = any(bool(pillar.hides(scene.room, place)[0]) for pillar in pillars)
                seen[hidden].append(np.abs(colour - GLYPH_COLOURS[event.class_index]).max() < 30)
    assert len(seen[True]) > 3
    assert not any(seen[True])
    assert len(seen[False]) > 30
    assert all(seen[False])


def test_distractors_are_shown_like_events_and_decoys_are_not_shown():
    places = [position_m(ROOM, azimuth, 0, 1.5)[None] for azimuth in (0, 60, 120)]
    event, decoy = (SceneEvent(0, 1, 0, 10, place, 0.0, False, 1) for place in places[:2])
    scene = Scene(ROOM, (event,), 20, 20.0, 0, decoys=(decoy,), distractors=(Distractor(5, 5, 15, places[2]),))
    painter = Painter(scene)
    assert painter.glyphs(0.4) == ()
    ((class_index, azimuth, elevation, _),) = painter.glyphs(0.5)
    assert (class_index, elevation) == (5, 0)
    assert azimuth == pytest.approx(120, abs=0.2)
    assert painter.glyphs(1.5) == ()


@pytest.mark.parametrize(("nearer", "top"), [(0, 0), (1, 5)])
def test_the_nearer_of_two_glyphs_is_on_top_whether_it_sounds_or_not(nearer, top):
    distances = [1.0, 2.0] if nearer == 0 else [2.0, 1.0]
    places = [position_m(ROOM, 20, 0, distance)[None] for distance in distances]
    event = SceneEvent(0, 1, 0, 10, places[0], 0.0, True, 1)
    painter = Painter(Scene(ROOM, (event,), 10, 20.0, 0, distractors=(Distractor(5, 0, 10, places[1]),)))
    column, row = pixel_of(20, 0, 448, 224)
    colour = painter.picture(painter.glyphs(0.0))[int(row), int(column)]
    np.testing.assert_allclose(colour, GLYPH_COLOURS[top], atol=2)
