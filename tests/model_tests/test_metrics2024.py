"""DCASE 2024 scores against a plain loop over frames and classes, and corner cases by hand."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from data.errors import UserError
from data.geometry import unit_vector
from data.labels import Events
from trainables.scores.detections import Detections
from trainables.scores.metrics import jackknife
from trainables.scores.metrics2024 import (
    SCORE_NAMES,
    SeldCounts2024,
    distances_m,
    score_table_2024,
    scores_2024,
    seld_counts_2024,
)

AVERAGES = ["macro", "micro", "present"]


def table(*rows: tuple[float, ...]) -> Events:
    """Rows of frame, class, azimuth, distance in metres."""
    label, class_index, azimuth, distance_m = np.array(rows, dtype=float).reshape(-1, 4).T
    zeros = np.zeros(len(rows))
    return Events.build(label, class_index, zeros, azimuth, zeros, distance_m * 100)


def scene(rng, num_labels: int, classes, polyphony: int) -> Events:
    rows = []
    for label in range(num_labels):
        for _ in range(rng.integers(0, polyphony + 1)):
            rows.append(
                (label, rng.choice(classes), 0, rng.uniform(-180, 180), rng.uniform(-80, 80), rng.uniform(40, 500))
            )
    return Events.build(*np.array(rows).reshape(-1, 6).T)


def heard(rng, events: Events, spread_deg: float) -> Events:
    """Some of the events, elsewhere than they are, and some that are not."""
    kept = events.select(rng.uniform(size=len(events)) < 0.8)
    elevation = np.clip(kept.elevation_deg + rng.normal(0, spread_deg, len(kept)), -90, 90)
    azimuth = kept.azimuth_deg + rng.normal(0, spread_deg, len(kept))
    distance = kept.distance_cm * rng.uniform(0.2, 2.6, len(kept))
    extra = scene(rng, 1 + int(events.frame.max(initial=0)) + 5, np.arange(13), 1)
    columns = zip(
        (kept.frame, kept.class_index, kept.source, azimuth, elevation, distance), extra.columns(), strict=True
    )
    both = Events.build(*(np.concatenate(pair) for pair in columns))
    return both.select(rng.permutation(len(both)))


class LoopEvaluator:
    """The definition, one frame and class at a time."""

    def __init__(self):
        self.tp, self.far, self.fp, self.fn, self.ref, self.angle, self.relative = np.zeros((7, 13))

    def add(self, reference: Events, predicted: Events) -> None:
        num_labels = max(reference.frame.tolist(), default=0)
        for label in range(num_labels):
            for c in range(13):
                true = [
                    i for i in range(len(reference)) if (reference.frame[i], reference.class_index[i]) == (label, c)
                ]
                ours = [
                    i for i in range(len(predicted)) if (predicted.frame[i], predicted.class_index[i]) == (label, c)
                ]
                self.ref[c] += len(true)
                self.fn[c] += max(0, len(true) - len(ours))
                self.fp[c] += max(0, len(ours) - len(true))
                angles = np.array([[self.between(reference, i, predicted, j) for j in ours] for i in true])
                if not angles.size:
                    continue
                for row, column in zip(*linear_sum_assignment(angles), strict=True):
                    own = reference.distance_cm[true[row]] / 100
                    relative = abs(own - predicted.distance_cm[ours[column]] / 100) / (own + np.finfo(float).eps)
                    self.angle[c] += angles[row, column]
                    self.relative[c] += relative
                    if angles[row, column] > 20 or relative > 1:
                        self.far[c] += 1
                    else:
                        self.tp[c] += 1

    @staticmethod
    def between(first: Events, i: int, second: Events, j: int) -> float:
        a = unit_vector(first.azimuth_deg[i], first.elevation_deg[i])
        b = unit_vector(second.azimuth_deg[j], second.elevation_deg[j])
        cosine = (a / np.sqrt((a**2).sum() + 1e-10)) @ (b / np.sqrt((b**2).sum() + 1e-10))
        return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))

    def scores(self, average: str) -> list[float]:
        columns = [self.tp, self.far, self.fp, self.fn, self.angle, self.relative]
        if average == "micro":
            columns = [column.sum(keepdims=True) for column in columns]
        elif average == "present":
            columns = [column[self.ref > 0] for column in columns]
        per_class = [self.of_one(*values) for values in zip(*columns, strict=True)]
        return [float(np.nanmean([row[i] for row in per_class])) for i in range(4)]

    @staticmethod
    def of_one(tp, far, fp, fn, angle, relative) -> list[float]:
        f = tp / (np.finfo(float).eps + tp + far + 0.5 * (fp + fn))
        doa, rde = (angle / (tp + far), relative / (tp + far)) if tp + far else (np.nan, np.nan)
        return [f, doa, rde, float(np.nanmean([1 - f, doa / 180, rde]))]


def four(s) -> list[float]:
    return [s.f_score, s.doa_error_deg, s.relative_distance_error, s.seld]


SCENES = [
    pytest.param(1, np.arange(13), 3, 8.0, id="all classes"),
    pytest.param(2, np.array([3]), 5, 30.0, id="one class, up to five at once"),
    pytest.param(3, np.array([0, 1, 8]), 4, 60.0, id="three classes, far off"),
    pytest.param(4, np.array([2, 11]), 1, 2.0, id="one at a time"),
]


@pytest.mark.parametrize(("seed", "classes", "polyphony", "spread_deg"), SCENES)
def test_equal_to_the_definition(seed, classes, polyphony, spread_deg):
    rng = np.random.default_rng(seed)
    loop, total = LoopEvaluator(), SeldCounts2024.zero()
    for num_labels in (31, 20):
        reference = scene(rng, num_labels, classes, polyphony)
        predicted = heard(rng, reference, spread_deg)
        loop.add(reference, predicted)
        total = total + seld_counts_2024(reference, predicted)
    for name, column in zip(
        ("true_positive", "far", "false_positive", "false_negative", "reference"),
        (loop.tp, loop.far, loop.fp, loop.fn, loop.ref),
        strict=True,
    ):
        np.testing.assert_array_equal(getattr(total, name), column, err_msg=name)
    assert loop.tp.sum() > 0
    assert loop.far.sum() > 0
    for average in AVERAGES:
        np.testing.assert_allclose(four(scores_2024(total, average)), loop.scores(average), atol=1e-9)
    per_class = scores_2024(total).per_class
    for c in range(13):
        ours = [
            per_class.f_score[c],
            per_class.doa_error_deg[c],
            per_class.relative_distance_error[c],
            per_class.seld[c],
        ]
        values = [column[c] for column in (loop.tp, loop.far, loop.fp, loop.fn, loop.angle, loop.relative)]
        np.testing.assert_allclose(ours, LoopEvaluator.of_one(*values), atol=1e-9)


def test_vectors_with_distances_count_like_angles():
    rng = np.random.default_rng(7)
    reference = scene(rng, 30, np.arange(4), 3)
    predicted = heard(rng, reference, 15.0)
    vectors = 0.7 * unit_vector(predicted.azimuth_deg, predicted.elevation_deg)
    as_vectors = Detections(predicted.frame, predicted.class_index, vectors, distance_m=predicted.distance_cm / 100)
    expected = four(scores_2024(seld_counts_2024(reference, predicted)))
    np.testing.assert_allclose(four(scores_2024(seld_counts_2024(reference, as_vectors))), expected, atol=1e-9)


def test_nothing_predicted():
    s = scores_2024(seld_counts_2024(table((0, 3, 0, 1), (5, 3, 0, 1)), table()))
    assert four(s) == pytest.approx([0, np.nan, np.nan, 1], nan_ok=True)
    assert np.isnan(s.per_class.doa_error_deg).all()


@pytest.mark.parametrize("average", AVERAGES)
def test_no_events_at_all(average):
    s = scores_2024(SeldCounts2024.zero(), average)
    assert four(s) == pytest.approx([0, np.nan, np.nan, 1], nan_ok=True)


def test_absent_classes_count_in_f_alone():
    reference = table((0, 3, 0, 2), (1, 3, 0, 2), (2, 3, 0, 2))
    counts = seld_counts_2024(reference, table((0, 3, 6, 1), (1, 3, 6, 1)))
    assert four(scores_2024(counts, "macro"))[:3] == pytest.approx([1 / 13, 6, 0.5], abs=1e-6)
    assert four(scores_2024(counts, "present"))[:3] == pytest.approx([1, 6, 0.5], abs=1e-6)
    assert scores_2024(counts, "present").seld == pytest.approx((0 + 6 / 180 + 0.5) / 3, abs=1e-6)


def test_last_label_of_the_reference_is_not_seen_unless_the_length_is_known():
    reference, predicted = table((0, 1, 0, 1), (7, 1, 0, 1)), table((0, 1, 0, 1), (7, 1, 0, 1), (9, 2, 0, 1))
    assert seld_counts_2024(reference, predicted).reference.sum() == 1
    assert seld_counts_2024(reference, predicted).false_positive.sum() == 0
    assert seld_counts_2024(reference, predicted, num_labels=10).reference.sum() == 2
    assert seld_counts_2024(reference, predicted, num_labels=10).false_positive[2] == 1


@pytest.mark.parametrize(
    ("azimuth_deg", "distance_m", "found"),
    [(19, 1.5, 1), (20, 1.5, 0), (0, 3.0, 1), (0, 3.01, 0), (0, 0.0, 1), (21, 1.5, 0)],
)
def test_thresholds(azimuth_deg, distance_m, found):
    """A relative error of 1 is found; 20 degrees are not, as the evaluator's norms make a little more of them."""
    counts = seld_counts_2024(table((0, 4, 0, 1.5)), table((0, 4, azimuth_deg, distance_m)), num_labels=1)
    assert (counts.true_positive[4], counts.far[4]) == (found, 1 - found)
    assert counts.false_positive.sum() == counts.false_negative.sum() == 0


def test_events_are_paired_by_angle_whatever_their_distance():
    counts = seld_counts_2024(table((0, 1, 0, 1), (0, 1, 40, 3)), table((0, 1, 39, 1), (0, 1, 1, 3)), num_labels=1)
    assert counts.angle_sum_deg[1] == pytest.approx(2.0, abs=1e-4)
    assert counts.relative_distance_sum[1] == pytest.approx(2 + 2 / 3)


def test_intervals_of_classes_heard_in_one_recording_only_are_unknown():
    first, second = table((0, 1, 0, 1), (1, 1, 9, 1)), table((0, 1, 5, 1), (1, 6, 0, 1))
    counts = [seld_counts_2024(a, b, 2) for a, b in ((first, first), (second, second), (first, second))]
    intervals = jackknife(counts, score_table_2024)
    assert intervals.value.shape == (len(SCORE_NAMES), 14)
    doa = SCORE_NAMES.index("DOAE")
    assert np.isfinite(intervals.value[doa, 1 + 6])
    assert np.isnan(intervals.low[doa, 1 + 6])
    assert intervals.low[doa, 1 + 1] < intervals.value[doa, 1 + 1] < intervals.high[doa, 1 + 1]


def test_distance_in_metres():
    assert distances_m(table((0, 1, 0, 2.5))).tolist() == [2.5]
    none = Detections(np.array([0]), np.array([1]), np.array([[1.0, 0, 0]]))
    assert np.isnan(distances_m(none)).all()


def test_missing_distances_are_a_users_error():
    with_distance, without = table((4, 1, 0, 2)), Events.build([4], [1], [0], [0], [0])
    with pytest.raises(UserError, match="the prediction has no distance in frame 4"):
        seld_counts_2024(with_distance, without, 5)
    with pytest.raises(UserError, match="the reference has no distance in frame 4"):
        seld_counts_2024(without, with_distance, 5)
    with pytest.raises(UserError, match="0 or less in frame 4"):
        seld_counts_2024(table((4, 1, 0, 0)), with_distance, 5)


def test_unknown_average_lists_the_choices():
    with pytest.raises(UserError, match=r"'weighted'.*macro, micro or present"):
        scores_2024(SeldCounts2024.zero(), "weighted")
