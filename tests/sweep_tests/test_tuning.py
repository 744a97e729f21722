"""Trials that fail, on a real Ray cluster: which are tried again, from where, and when it is enough.

The trials train nothing: each notes its epochs in a file, which stands for its checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.bench.search.own_ray import own_ray
from infra.record.budget import Budget
from infra.record.trials import COMPLETE, FAILED
from support.small_searches import DIVERGES, FINE, KILLED_TWICE, RAISES_ONCE, RUNS_OUT, search

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with own_ray(num_cpus=2):
        yield


def attempts_of(folder: Path, number: int) -> list[int]:
    return [int(text) for text in (folder / "log" / f"{number}.attempts").read_text().split()]


def test_failed_trials_go_on_from_their_last_epoch_until_it_is_enough(cluster: None, tmp_path: Path) -> None:
    records = search(tmp_path, [], 6)
    outcomes = {record.number: [attempt.outcome for attempt in record.attempts] for record in records}
    assert outcomes == {
        FINE: ["ended"],
        RAISES_ONCE: ["raised", "ended"],
        DIVERGES: ["diverged", "diverged"],
        KILLED_TWICE: ["node lost", "node lost", "ended"],
        RUNS_OUT: ["out of memory", "ended"],
        5: ["ended"],
    }
    for record in records:
        epochs = [int(report["epoch"]) for report in record.reports]
        if record.number == DIVERGES:
            assert (record.state, epochs) == (FAILED, [1])
            assert record.reason is not None
            assert record.reason.startswith("diverged: ")
            assert "loss is nan at step 7" in record.reason
        else:
            assert (record.state, epochs, record.error) == (COMPLETE, [1, 2, 3], None)
            # Each epoch was trained once: what failed went on from where it was.
            assert (tmp_path / "log" / str(record.number)).read_text().split() == ["1", "2", "3"]
    # The trial is told how often it failed; a lost process is not its fault.
    assert attempts_of(tmp_path, RAISES_ONCE) == [0, 1]
    assert attempts_of(tmp_path, KILLED_TWICE) == [0, 0, 0]
    assert all(a.cpus == 1 and a.seconds > 0 for record in records for a in record.attempts)


def test_a_spent_budget_does_not_wait_for_what_failed(cluster: None, tmp_path: Path) -> None:
    budget = Budget(trials=50, wall_s=600, cpu_hours=2 / 3600)
    records = search(tmp_path, [], budget.trials, budget)
    assert len(records) < 50
    held_s = sum(attempt.cpus * attempt.seconds for record in records for attempt in record.attempts)
    assert held_s >= 2
