"""The rendering benchmark: both sides render the same rooms, and the last line says what it promises."""

from dataclasses import replace

import numpy as np
import pytest

from data.geometry import angle_between_deg, unit_vector
from data.scenes.mixing import render_audio
from data.scenes.parts import SceneEvent
from data.scenes.rooms import Room, position_m
from infra.bench.data import synth
from support.bench_results import check_result
from support.scene_measures import heard_direction

WALLS = Room("walls", (4.0, 3.6, 2.5), (2.1, 1.7, 1.4), 0.2)


def test_a_plain_response_has_the_direction_the_delay_and_the_level():
    response = synth.plain_response(WALLS, position_m(WALLS, -140, 25, 1.1))
    onset = 1.1 / 343 * 24_000
    assert abs(np.argmax(np.abs(response[0])) - onset) <= 1.0
    direct = response[:, int(onset) - 20 : int(onset) + 20]
    assert angle_between_deg(heard_direction(direct), unit_vector(-140, 25)) < 1.0
    assert np.square(direct[0]).sum() == pytest.approx(1 / 1.1**2, rel=0.1)


def test_pieces_of_a_source_that_moves_nowhere_add_up_to_one_at_rest():
    signal = np.random.default_rng(0).standard_normal(8_000)
    place = position_m(WALLS, 75, -10, 1.2)[None]
    still = SceneEvent(0, 1, 3, 7, place, 0.0, True, 0)
    moving = replace(still, positions_m=np.repeat(place, 9, axis=0))
    expected, heard = (synth.plain_sound(WALLS, signal, thing) for thing in (still, moving))
    shared = min(expected.shape[1], heard.shape[1])
    assert shared >= len(signal)
    np.testing.assert_allclose(heard[:, :shared], expected[:, :shared], atol=1e-9)


def test_rooms_that_differ_are_not_timed(monkeypatch):
    scene = synth.draw("easy", 0, duration_s=3.0)
    assert synth.check(scene)["direct_deg"] < 1.0
    right = synth.plain_response
    for wrong in (lambda r: 1.3 * r, lambda r: r[[0, 3, 2, 1]], lambda r: np.roll(r, 60, axis=1)):
        monkeypatch.setattr(synth, "plain_response", lambda room, place, wrong=wrong: wrong(right(room, place)))
        with pytest.raises(AssertionError):
            synth.check(scene)


def test_both_sides_render_all_of_a_recording():
    scene = synth.draw("hard", 1, duration_s=4.0, rt60_s=(0.2, 0.2))
    stems = list(synth.plain_stems(scene))
    assert len(stems) == len(scene.events) + len(scene.decoys) + len(scene.interferers) > len(scene.events)
    ours, plain = render_audio(scene), synth.render_plainly(scene)
    assert plain.shape == ours.shape == (4, 96_000)
    assert plain.dtype == ours.dtype


def test_synth():
    outcome = synth.measure("easy", 2.0, rt60_s=0.15, seed=0, repeats=1, minute_s=2.0)
    check_result(outcome, "synth", {synth.PEER})
    assert outcome["x_real_time"].keys() == outcome["sides_ms"].keys()
    assert outcome["x_real_time_of_profiles"].keys() == {"easy", "ambiguous", "standard", "hard"}
    for side, spread in outcome["sides_ms"].items():
        assert outcome["x_real_time"][side] == pytest.approx(60_000 / spread["median"])
    assert outcome["parameters"]["image_order"] > 10
