"""Kinds of sources: who is of which, and what is found of each."""

import numpy as np
import pytest

from data.labels import Events
from trainables.scores.kinds import DECOYED, KINDS, UNSEEN, KindCounts, kind_counts, recall_gain


def events(*rows):
    """Rows of frame, class, source, azimuth."""
    frame, class_index, source, azimuth = np.array(rows).T
    return Events.build(frame, class_index, source, azimuth, np.zeros(len(rows)))


def of_kind(counted):
    return {kind: (int(e), int(f)) for kind, e, f in zip(KINDS, counted.events, counted.found, strict=True)}


STILL = [(frame, 0, 1, 30 + frame % 3) for frame in range(10)]
MOVING = [(frame, 4, 2, -90 + 4 * frame) for frame in range(6, 12)]


def test_what_is_found_is_counted_for_each_kind_that_it_is_of():
    reference = events(*STILL, *MOVING)
    predicted = events(*((frame, 0, 9, 35) for frame in range(5)), *((frame, 4, 9, 80) for frame in range(6, 12)))
    counted = of_kind(kind_counts(reference, predicted, {UNSEEN: [(4, 2, 6, 12)], DECOYED: [(0, 1, 0, 10)]}))
    assert counted == {
        "alone": (6 + 2, 5),
        "overlapped": (8, 0),
        "still": (10, 5),
        "moving": (6, 0),
        "seen": (10, 5),
        "unseen": (6, 0),
        "with a decoy": (10, 5),
        "without a decoy": (6, 0),
    }


def test_of_real_recordings_nothing_is_known_of_the_picture():
    counted = of_kind(kind_counts(events(*STILL), events(*STILL)))
    assert counted["alone"] == counted["still"] == (10, 10)
    assert [counted[kind] for kind in KINDS[4:]] == [(0, 0)] * 4


def test_an_event_that_comes_back_elsewhere_has_not_moved():
    reference = events(*((frame, 0, 1, 10) for frame in range(5)), *((frame, 0, 1, 90) for frame in range(6, 10)))
    assert of_kind(kind_counts(reference, Events.build()))["moving"] == (0, 0)


def test_only_what_is_within_twenty_degrees_is_found():
    reference = events((0, 0, 1, 0), (1, 0, 1, 0))
    assert of_kind(kind_counts(reference, events((0, 0, 1, 19), (1, 0, 1, 21))))["alone"] == (2, 1)
    assert of_kind(kind_counts(Events.build(), events((0, 0, 1, 19))))["alone"] == (0, 0)


def test_the_gain_is_paired_over_recordings():
    size = len(KINDS)
    ours = [KindCounts(np.full(size, 10.0), np.full(size, found)) for found in (8.0, 6.0, 7.0)]
    theirs = [KindCounts(np.full(size, 10.0), np.full(size, found)) for found in (6.0, 4.0, 5.0)]
    spread = recall_gain(ours, theirs)
    np.testing.assert_allclose(spread.value, 0.2)
    np.testing.assert_allclose(spread.low, 0.2)
    none = KindCounts.zero()
    assert np.isnan(recall_gain([none, none], [none, none]).value).all()
    assert (ours[0] + none).recall == pytest.approx(ours[0].recall)
