"""What a score depends on is found, also where only some of the trials have it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from infra.comparison.importance import EVERYTHING, importances
from support.planted_sweeps import trial


def test_importance_finds_what_a_planted_score_depends_on() -> None:
    rng = np.random.default_rng(0)
    records = []
    for number in range(60):
        fusion = ["audio_only", "gru"][number % 2]
        lr, depth = float(np.exp(rng.uniform(np.log(4e-4), np.log(4e-3)))), int(rng.integers(1, 3))
        gate = {"gate": float(rng.uniform())} if fusion == "gru" else {}
        score = 0.3 + 0.2 * abs(math.log10(lr / 4e-4)) + 0.01 * depth + (0.5 * gate["gate"] if gate else 0.0)
        records.append(trial(number, fusion, [score], lr=lr, depth=depth, extra=gate))
    found = {
        each.scope: each
        for each in importances([(r, str(r.params["fusion"]), r.reports[0]["present/SELD"]) for r in records])
    }
    assert set(found) == {EVERYTHING, "gru", "audio_only"}
    assert set(found[EVERYTHING].spread) == {"fusion", "lr", "depth", "gate"}
    assert "schedule" not in found[EVERYTHING].spread  # the same everywhere
    assert next(iter(found["gru"].spread)) == "gate"
    assert list(found["audio_only"].spread) == ["lr", "depth"]
    assert found["audio_only"].spread["lr"] > 0.9
    assert max(found["gru"].top, key=lambda name: found["gru"].top[name]) == "gate"
    assert sum(found["gru"].spread.values()) == pytest.approx(1)
    assert importances([(r, "gru", 0.5) for r in records]) == []
    assert importances([(r, "gru", float(r.number)) for r in records[:9]]) == []


@pytest.mark.parametrize(("gate_weight", "fusion_weight", "first"), [(1.0, 0.0, "gate"), (0.0, 1.0, "fusion")])
def test_what_only_some_trials_have_matters_as_it_does(gate_weight: float, fusion_weight: float, first: str) -> None:
    rng = np.random.default_rng(1)
    trials = []
    for number in range(120):
        fusion, gate = ["audio_only", "gru"][number % 2], float(rng.uniform())
        lr = float(np.exp(rng.uniform(np.log(4e-4), np.log(4e-3))))
        score = 0.5 + 0.02 * math.log10(lr) + fusion_weight * (fusion == "gru")
        score += gate_weight * (abs(gate - 0.5) if fusion == "gru" else 0.25)  # no fusion is better than the other
        record = trial(number, fusion, [score], lr=lr, extra={"gate": gate} if fusion == "gru" else {})
        trials.append((record, fusion, score))
    (everything, *_) = importances(trials)
    assert everything.scope == EVERYTHING
    assert everything.spread[first] > 0.7
    assert everything.spread["lr"] < 0.05
    assert everything.spread["gate" if first == "fusion" else "fusion"] < 0.25
