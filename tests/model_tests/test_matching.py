"""Pairing predicted events with those of the reference."""

from itertools import permutations

import numpy as np
import pytest

from data.labels import Events
from trainables.scores.matching import Cells, assignment, axis_errors_deg, match, median_axis_errors_deg


def table(*rows: tuple[float, ...]) -> Events:
    """Rows of frame, class, azimuth."""
    frame, class_index, azimuth = np.array(rows, dtype=float).reshape(-1, 3).T
    return Events.build(frame, class_index, np.zeros(len(rows)), azimuth, np.zeros(len(rows)))


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 4), (4, 1), (2, 2), (3, 3), (3, 5), (4, 3), (5, 5)])
def test_assignment_is_optimal(n, m):
    cost = np.random.default_rng(n * 10 + m).uniform(0, 180, (20, n, m))
    rows, columns = assignment(cost)
    assert rows.shape == columns.shape == (min(n, m), 20)
    for k in range(20):
        assert len(set(rows[:, k])) == len(set(columns[:, k])) == min(n, m)
        wide = cost[k] if n <= m else cost[k].T
        best = min(wide[range(len(wide)), list(p)].sum() for p in permutations(range(wide.shape[1]), len(wide)))
        assert cost[k][rows[:, k], columns[:, k]].sum() == pytest.approx(best)


@pytest.mark.parametrize("shape", [(3, 30), (30, 3), (25, 25)])
def test_crowds_are_paired_too(shape):
    """Each row costs nothing in one column of its own."""
    n, m = shape
    rng = np.random.default_rng(0)
    cost = rng.uniform(1, 180, (4, n, m))
    free = np.stack([rng.permutation(max(n, m))[: min(n, m)] for _ in range(4)])
    for k in range(4):
        own = np.arange(min(n, m))
        cost[k][(own, free[k]) if n <= m else (free[k], own)] = 0.0
    rows, columns = assignment(cost)
    assert rows.shape == columns.shape == (min(n, m), 4)
    assert (cost[np.arange(4), rows, columns] == 0).all()


def test_rows_are_grouped_by_label_and_class_in_file_order():
    cells = Cells(table((2, 5, 10), (0, 1, 20), (2, 5, 30), (2, 4, 40), (3, 0, 50)), num_labels=3, num_classes=13)
    assert cells.rows.tolist() == [1, 3, 0, 2]
    assert cells.count.sum() == 4
    assert cells.count[2 * 13 + 5] == 2
    assert cells.first[2 * 13 + 5] == 2
    np.testing.assert_allclose(cells.unit[0], [np.cos(np.deg2rad(20)), np.sin(np.deg2rad(20)), 0], atol=1e-12)


def test_pairs_name_cell_track_and_rows():
    true = Cells(table((0, 1, 0), (0, 1, 90), (1, 3, 0)), 2, 13)
    predicted = Cells(table((0, 1, 80), (1, 4, 0)), 2, 13)
    pairs = match(true, predicted)
    assert (pairs.cell.tolist(), pairs.track.tolist()) == ([1], [1])
    assert (true.rows[pairs.true].tolist(), predicted.rows[pairs.predicted].tolist()) == ([1], [0])
    assert pairs.angle_deg.tolist() == pytest.approx([10.0])


def test_nothing_in_common_gives_no_pairs():
    assert len(match(Cells(table((0, 1, 0)), 1, 13), Cells(table(), 1, 13)).cell) == 0
    assert len(match(Cells(table(), 0, 13), Cells(table((0, 1, 0)), 0, 13)).cell) == 0


def test_each_axis_has_an_error_of_its_own():
    true = Events.build([0, 1, 1, 2], [3, 3, 4, 5], [0, 0, 0, 0], [175, 10, -90, 0], [0, 20, -30, 0])
    predicted = Events.build([0, 1, 1, 3], [3, 3, 4, 5], [0, 0, 0, 0], [-175, 14, -90, 0], [5, 20, -50, 0])
    azimuth, elevation = axis_errors_deg(true, predicted)
    np.testing.assert_allclose(sorted(azimuth), [0, 4, 10], atol=1e-6)
    np.testing.assert_allclose(sorted(elevation), [0, 5, 20], atol=1e-6)
    assert median_axis_errors_deg([(true, predicted)] * 2) == pytest.approx({"azimuth": 4, "elevation": 5})
    nothing = Events.build([], [], [], [], [])
    assert median_axis_errors_deg([(true, nothing)]) == {"azimuth": None, "elevation": None}
    assert median_axis_errors_deg([(nothing, nothing)]) == {"azimuth": None, "elevation": None}
