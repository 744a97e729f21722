"""DCASE 2023 scores against the challenge's evaluator, and its corner cases by hand."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from data.errors import UserError
from data.geometry import unit_vector
from data.labels import Events
from trainables.scores.detections import Detections
from trainables.scores.metrics import SCORE_NAMES, SeldCounts, jackknife, score_table, scores, seld_counts

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "trainables_metrics.npz")
CASES = sorted({name.split("/")[0] for name in GOLDEN.files})


def table(*rows: tuple[float, ...]) -> Events:
    """Rows of frame, class, azimuth."""
    frame, class_index, azimuth = np.array(rows, dtype=float).reshape(-1, 3).T
    return Events.build(frame, class_index, np.zeros(len(rows)), azimuth, np.zeros(len(rows)))


def count_recordings(case: str, as_events: bool = False) -> list[SeldCounts]:
    counts = []
    for name in GOLDEN.files:
        if name.startswith(f"{case}/") and name.endswith("/reference"):
            rows = GOLDEN[name.replace("/reference", "/predicted")]
            predicted = Detections(rows[:, 0].astype(int), rows[:, 1].astype(int), rows[:, 2:])
            reference = Events.build(*GOLDEN[name].T)
            counts.append(seld_counts(reference, predicted.events() if as_events else predicted))
    return counts


def count_case(case: str, as_events: bool = False) -> SeldCounts:
    return sum(count_recordings(case, as_events), SeldCounts.zero())


def five(s) -> list[float]:
    return [s.error_rate, s.f_score, s.localisation_error_deg, s.localisation_recall, s.seld]


@pytest.mark.parametrize("average", ["macro", "micro"])
@pytest.mark.parametrize("case", CASES)
def test_equal_to_the_challenge_evaluator(case, average):
    assert len(CASES) == 6
    np.testing.assert_allclose(five(scores(count_case(case), average)), GOLDEN[f"{case}/{average}"], atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_per_class_equals_the_challenge_evaluator(case):
    per_class = scores(count_case(case)).per_class
    _, f_score, error_deg, recall, seld = GOLDEN[f"{case}/classwise"]
    np.testing.assert_allclose(per_class.f_score, f_score, atol=1e-6)
    np.testing.assert_allclose(per_class.localisation_error_deg, error_deg, atol=1e-6)
    np.testing.assert_allclose(per_class.localisation_recall, recall, atol=1e-6)
    np.testing.assert_allclose(per_class.seld, seld, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_angles_and_vectors_count_alike(case):
    np.testing.assert_allclose(five(scores(count_case(case, as_events=True))), GOLDEN[f"{case}/macro"], atol=1e-6)


def test_present_leaves_absent_classes_out():
    counts = seld_counts(table((0, 3, 0), (11, 5, 0)), table((0, 3, 10)), num_labels=20)
    s = scores(counts, "present")
    assert s.per_class.present.nonzero()[0].tolist() == [3, 5]
    assert s.f_score == pytest.approx(0.5)
    assert s.localisation_error_deg == pytest.approx((10 + 180) / 2)
    assert s.localisation_recall == pytest.approx(0.5)
    assert s.error_rate == pytest.approx(0.5)
    assert s.seld == pytest.approx((0.5 + 0.5 + 95 / 180 + 0.5) / 4)
    assert scores(counts, "macro").f_score == pytest.approx(1 / 13)


def test_perfect_is_perfect_over_present_classes_only():
    reference = table(*[(frame, 2, frame) for frame in range(35)])
    counts = seld_counts(reference, reference)
    assert five(scores(counts, "present")) == pytest.approx([0, 1, 0, 1, 0], abs=1e-6)
    assert scores(counts, "macro").seld > 0.6


def test_last_label_is_dropped_where_the_evaluator_drops_it():
    reference = table((0, 1, 0), (10, 4, 0))
    assert seld_counts(reference, reference).reference.sum() == 1
    assert seld_counts(reference, reference, num_labels=11).reference.sum() == 2
    assert seld_counts(table((0, 1, 0), (11, 4, 0)), reference).reference.sum() == 2


def test_predictions_after_the_reference_count_only_when_the_length_is_known():
    reference, predicted = table((0, 1, 0), (5, 1, 0)), table((0, 1, 0), (35, 2, 0))
    assert seld_counts(reference, predicted).insertions == 0
    assert seld_counts(reference, predicted, num_labels=40).insertions == 1
    assert seld_counts(table(), predicted, num_labels=40).insertions == 2
    assert seld_counts(table(), predicted).insertions == 0


def test_far_track_is_a_substitution_when_another_is_missed():
    counts = seld_counts(table((0, 1, 0), (1, 2, 0)), table((0, 1, 90)), num_labels=10)
    assert (counts.far[1], counts.false_negative[2]) == (1, 1)
    assert (counts.substitutions, counts.deletions, counts.insertions) == (1, 0, 0)


def test_class_in_the_segment_but_never_in_the_same_label():
    counts = seld_counts(table((0, 1, 0)), table((5, 1, 0), (5, 1, 90)), num_labels=10)
    assert counts.false_negative[1] == 2
    assert counts.matched[1] == counts.false_positive[1] == 0


def test_tracks_are_matched_for_the_smallest_sum():
    """Greedy matching would pair 10 with 12 and leave 0 with 40."""
    counts = seld_counts(table((0, 1, 0), (0, 1, 10)), table((0, 1, 12), (0, 1, -6)), num_labels=10)
    assert counts.error_sum_deg[1] == pytest.approx(6 + 2)
    assert counts.true_positive[1] == 2


def test_counts_of_recordings_add_up():
    first, second = table((0, 1, 0), (3, 1, 0)), table((0, 1, 30), (8, 7, 0))
    both = seld_counts(first, second, 10) + seld_counts(second, first, 10)
    assert both.reference.sum() == 3
    assert both.matched[1] == 2
    assert five(scores(both + SeldCounts.zero(), "micro")) == five(scores(both, "micro"))


def test_no_reference_at_all_gives_finite_scores():
    for average in ("macro", "micro", "present"):
        s = scores(SeldCounts.zero(), average)
        assert five(s) == pytest.approx([0, 0, 180, 0, 0.75])


def test_unknown_average_lists_the_choices():
    with pytest.raises(UserError, match=r"'weighted'.*macro, micro or present"):
        scores(SeldCounts.zero(), "weighted")


def test_vectors_need_no_unit_length():
    rows = table((0, 1, 33), (4, 1, 12))
    unit = unit_vector(rows.azimuth_deg, rows.elevation_deg)
    counts = seld_counts(rows, Detections(rows.frame, rows.class_index, 0.6 * unit), num_labels=10)
    assert counts.error_sum_deg.sum() == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("average", ["macro", "micro", "present"])
def test_table_holds_the_scores(average):
    counts = count_case("noisy")
    s, values = scores(counts, average), score_table(counts, average)
    assert values.shape == (len(SCORE_NAMES), 14)
    assert values[:, 0].tolist() == five(s)
    assert (values[0] == s.error_rate).all()
    np.testing.assert_array_equal(
        values[1:4, 1:],
        [getattr(s.per_class, name) for name in ("f_score", "localisation_error_deg", "localisation_recall")],
    )
    np.testing.assert_array_equal(values[4, 1:], s.per_class.seld)


@dataclass
class Sum:
    total: float
    number: int

    @classmethod
    def zero(cls):
        return cls(0.0, 0)

    def __add__(self, other):
        return Sum(self.total + other.total, self.number + other.number)


def test_jackknife_of_a_mean_is_its_t_interval():
    values = [3.0, 5.0, 4.0, 8.0]
    intervals = jackknife([Sum(v, 1) for v in values], lambda s: np.array([s.total / s.number]))
    half_width = 3.182446305 * np.std(values, ddof=1) / 2
    assert intervals.value == pytest.approx(5.0)
    assert intervals.low == pytest.approx(5.0 - half_width)
    assert intervals.high == pytest.approx(5.0 + half_width)


def test_jackknife_corrects_the_bias_of_a_variance():
    """The jackknife turns the mean square about the mean, divided by n, into that divided by n - 1."""
    values = [3.0, 5.0, 4.0, 8.0]

    @dataclass
    class Squares(Sum):
        squares: float = 0.0

        def __add__(self, other):
            return Squares(self.total + other.total, self.number + other.number, self.squares + other.squares)

    counts = [Squares(v, 1, v * v) for v in values]
    intervals = jackknife(counts, lambda s: np.array(s.squares / s.number - (s.total / s.number) ** 2))
    assert intervals.value == pytest.approx(np.var(values))
    assert (intervals.low + intervals.high) / 2 == pytest.approx(np.var(values, ddof=1))


@pytest.mark.parametrize("average", ["macro", "micro"])
def test_intervals_as_from_counting_again_without_each_recording(average):
    counts = count_recordings("noisy")
    intervals = jackknife(counts, lambda c: score_table(c, average))
    n = len(counts)
    whole = score_table(sum(counts, SeldCounts.zero()), average)
    without = np.array([score_table(sum(counts[:i] + counts[i + 1 :], SeldCounts.zero()), average) for i in range(n)])
    mean = without.mean(axis=0)
    error = np.sqrt((n - 1) / n * ((without - mean) ** 2).sum(axis=0))
    np.testing.assert_allclose(intervals.value, whole, atol=1e-12)
    np.testing.assert_allclose((intervals.low + intervals.high) / 2, n * whole - (n - 1) * mean, atol=1e-9)
    np.testing.assert_allclose(intervals.high - intervals.low, 2 * 3.182446305 * error, rtol=1e-7, atol=1e-9)
    assert (intervals.high > intervals.low).any()


def test_one_recording_has_no_interval():
    with pytest.raises(UserError, match="two or more are needed, got 1"):
        jackknife(count_recordings("noisy")[:1], score_table)
