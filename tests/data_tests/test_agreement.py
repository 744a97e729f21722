"""Ten ways in which labels and sound disagree, planted in synthetic scenes, are found by name; clean ones are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from data.agreement.changes import FROM_CAPSULES
from data.agreement.directions import listen, listen_to_some
from data.agreement.verdict import Agreement, compare, compare_once
from data.geometry import unit_vector
from data.labels import Events
from data.scenes.mixing import render_audio
from data.scenes.sampling import scene_events
from data.scenes.synth import SynthSettings, make_scene

Audio = NDArray[np.int16]
Recording = tuple[Audio, Events]


def recordings(profile: str, clips: int) -> list[Recording]:
    settings = SynthSettings(profile=profile, clip_s=30.0)
    scenes = [make_scene(settings, "train", clip)[1] for clip in range(clips)]
    return [(render_audio(scene), scene_events(scene)) for scene in scenes]


def heard(given: list[Recording]) -> Agreement:
    return compare([listen(audio, events) for audio, events in given])


@pytest.fixture(scope="module")
def easy() -> list[Recording]:
    return recordings("easy", 3)


def as_int16(audio: NDArray[np.floating]) -> Audio:
    return np.clip(np.rint(audio), -32768, 32767).astype(np.int16)


def turned(azimuth: Callable, elevation: Callable = lambda a, e: e) -> Callable[[Audio, Events], Recording]:
    def plant(audio: Audio, events: Events) -> Recording:
        angles = events.azimuth_deg, events.elevation_deg
        return audio, replace(events, azimuth_deg=azimuth(*angles), elevation_deg=elevation(*angles))

    return plant


def mixed(matrix: NDArray[np.floating]) -> Callable[[Audio, Events], Recording]:
    """Other channels, as weighted sums of W, Y, Z, X."""
    return lambda audio, events: (as_int16(matrix @ audio), events)


def late(label_frames: int) -> Callable[[Audio, Events], Recording]:
    return lambda audio, events: (np.roll(audio, 2400 * label_frames, axis=1), events)


def in_hundredths(audio: Audio, events: Events) -> Recording:
    """Metres, as they come where centimetres are expected."""
    return audio, replace(events, distance_cm=events.distance_cm / 100)


def of_20_ms(audio: Audio, events: Events) -> Recording:
    columns = [np.concatenate([5 * events.frame + part for part in range(5)])]
    return audio, Events(*columns, *(np.tile(column, 5) for column in events.columns()[1:]))


WYZX = np.eye(4)
FUMA = WYZX[[0, 3, 1, 2]] * np.array([[0.5**0.5], [1], [1], [1]])
PLANTED: dict[str, tuple[Callable[[Audio, Events], Recording], str]] = {
    "clockwise": (turned(lambda a, e: -a), "they agree after azimuth -> -azimuth"),
    "downwards": (turned(lambda a, e: a, lambda a, e: -e), "they agree after elevation -> -elevation"),
    "back to front": (turned(lambda a, e: 180 - a), "they agree after azimuth -> 180 - azimuth"),
    "from the top": (turned(lambda a, e: a, lambda a, e: 90 - e), "do labels count elevation from the top?"),
    "columns swapped": (turned(lambda a, e: e, lambda a, e: np.clip(a, -90, 90)), "two columns of the labels swapped?"),
    "radians": (turned(lambda a, e: np.deg2rad(a), lambda a, e: np.deg2rad(e)), "are the labels in radians?"),
    "azimuth in radians": (turned(lambda a, e: np.deg2rad(a)), "is the azimuth of the labels in radians?"),
    "turned array": (turned(lambda a, e: a + 40), "they agree after azimuth -> azimuth - "),
    "FuMa": (mixed(FUMA), "is it FuMa's order (ingest --ambisonics fuma)?"),
    "FuMa's W": (mixed(FUMA), "is W 3 dB lower, as FuMa has it (ingest --ambisonics fuma)?"),
    "X Y Z W": (mixed(WYZX[[3, 1, 2, 0]]), "channels read as X Y Z W"),
    "N3D": (mixed(np.diag([3**-0.5, 1, 1, 1])), "are they N3D (ingest --ambisonics n3d)?"),
    "capsules": (mixed(0.5 * np.linalg.inv(FROM_CAPSULES)), "is it the signal of four capsules"),
    "20 ms": (of_20_ms, "do label frames count 20 ms?"),
    "sound 0.3 s late": (late(3), "labels are about 0.3 s earlier than the sound"),
    "sound 0.7 s early": (late(-7), "labels are about 0.7 s later than the sound"),
    "metres": (in_hundredths, "are they in metres?"),
}


@pytest.mark.parametrize("what", PLANTED)
def test_what_is_planted_is_found_by_name(what: str, easy: list[Recording]) -> None:
    plant, said = PLANTED[what]
    found = heard([plant(*one) for one in easy])
    assert said in str(found)
    assert str(found).startswith("sound and labels disagree: ")


@pytest.mark.parametrize(("profile", "clips", "most_deg"), [("easy", 3, 5.0), ("standard", 8, 15.0)])
def test_clean_scenes_agree(profile: str, clips: int, most_deg: float) -> None:
    found = heard(recordings(profile, clips))
    assert found.doubts == ()
    assert found.median_deg is not None
    assert found.median_deg < most_deg
    assert str(found) == f"sound and labels agree: {found.median_deg:.1f} deg over {found.frames:,} frames"


@pytest.mark.parametrize("profile", ["hard", "ambiguous"])
def test_what_nobody_labelled_is_no_false_alarm(profile: str) -> None:
    assert heard(recordings(profile, 4)).doubts == ()


def test_a_label_frame_of_delay_is_not_worth_a_word(easy: list[Recording]) -> None:
    for frames in (-1, 1):
        assert heard([late(frames)(*one) for one in easy]).doubts == ()


def test_noise_and_silence_say_nothing(easy: list[Recording]) -> None:
    noise = np.random.default_rng(0).normal(0, 1000, easy[0][0].shape)
    for audio in (as_int16(noise), np.zeros_like(easy[0][0])):
        found = heard([(audio, easy[0][1])])
        assert (found.told, found.doubts) == (False, ())
    assert compare_once(listen_to_some(easy[0][0], Events.build(), 100)) == Agreement(0, None, 0.0)
    assert str(heard([])) == "sound and labels: too few frames of one clear source to compare them (0)"


def test_labels_of_other_recordings_fit_in_no_way(easy: list[Recording]) -> None:
    sounds = [audio for audio, _ in easy]
    others = [(audio, events) for audio, (_, events) in zip(sounds[1:] + sounds[:1], easy, strict=True)]
    found = heard(others)
    assert found.told
    assert "sound and labels disagree" in str(found)


def with_noise(audio: Audio, level: float) -> Audio:
    """As much of it in each channel."""
    return as_int16(audio + np.random.default_rng(1).normal(0, level, audio.shape))


def test_the_noise_of_quiet_channels_is_not_taken_for_another_scale(easy: list[Recording]) -> None:
    audio, events = easy[0]
    quiet = np.zeros((4, 8 * audio.shape[1]), np.int16)
    quiet[:, : audio.shape[1]] = audio
    assert heard([(with_noise(quiet, 30), events)]).doubts == ()


def test_a_fan_that_nobody_labelled_is_no_label_gone_wrong(easy: list[Recording]) -> None:
    """Louder than what is labelled, and always there: what is left of the frames says what is right, or nothing."""
    hum = np.random.default_rng(2).normal(0, 1, easy[0][0].shape[1])
    x, y, z = unit_vector(120.0, 0.0)
    for loudness in (1.0, 3.0):
        level = loudness * np.std([audio[0].std() for audio, _ in easy] + [audio[0].std() * 3 for audio, _ in easy])
        fan = np.array([1.0, y, z, x])[:, None] * hum * level
        found = heard([(as_int16(audio + fan), events) for audio, events in easy])
        assert found.doubts == (), loudness


def test_distances_that_are_not_known_are_no_distances(easy: list[Recording]) -> None:
    unknown = [(audio, replace(events, distance_cm=np.zeros(len(events)))) for audio, events in easy]
    assert heard(unknown).doubts == ()
    few = [
        (audio, replace(events, distance_cm=np.where(np.arange(len(events)) == 0, 3.0, np.nan)))
        for audio, events in easy
    ]
    assert heard(few).doubts == ()


def test_an_inverted_w_is_found_and_a_lag_at_the_edge_is_said_as_one(easy: list[Recording]) -> None:
    assert "they agree after W -> -W" in str(heard([mixed(np.diag([-1.0, 1, 1, 1]))(*one) for one in easy]))
    assert "labels are about 2.0 s or more earlier" in str(heard([late(20)(*one) for one in easy]))
