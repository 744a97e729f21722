"""The benchmark of decisions: what it counts, on few of them."""

from __future__ import annotations

import numpy as np
import pytest

from infra.bench.search import decisions
from infra.bench.search.decisions import Spread, decide, draw, measure
from infra.finals.looks import FIRST_SEEDS

NARROW = Spread(seeds=0.01, recordings=0.01, num_recordings=8)


def test_what_is_drawn_has_the_spread_that_is_asked_for() -> None:
    rng = np.random.default_rng(0)
    wide = Spread(seeds=0.03, recordings=0.1, num_recordings=2000)
    ours, theirs = draw(rng, wide, 400, 0.5), draw(rng, wide, 400, 0.5)
    assert ours.scores.std(ddof=1) == pytest.approx(0.03, rel=0.15)
    assert (ours.parts.mean(axis=0) - theirs.parts.mean(axis=0)).std() == pytest.approx(0.1, rel=0.1)


def test_a_large_difference_is_told_at_the_first_look_and_none_costs_all_seeds() -> None:
    rng = np.random.default_rng(1)
    assert decide(draw(rng, NARROW, 8, 0.5), draw(rng, NARROW, 8, 0.0), 8, 0.05) == (True, FIRST_SEEDS)
    same = draw(rng, NARROW, 8, 0.5)
    assert decide(same, same, 8, 0.05) == (False, 8)


def test_errors_power_and_the_fixed_seeds_are_told() -> None:
    found = measure(NARROW, difference=0.03, most=6, alpha=0.05, decisions=120)
    assert found["wrong"] < 0.15
    assert found["power"] > 0.8
    assert FIRST_SEEDS <= found["seeds"] <= 6
    assert found["ratio"] == pytest.approx(found["seeds"] / found["fixed_seeds"])


def test_the_command_ends_with_a_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    decisions.main(["--decisions", "20"])
    line = capsys.readouterr().out.splitlines()[-1]
    assert '"benchmark": "decisions"' in line
