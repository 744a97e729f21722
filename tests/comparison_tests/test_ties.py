"""Sweeps whose trials are all alike: no variant is said to lead."""

from __future__ import annotations

import pytest

from infra.comparison.compare import compare
from infra.comparison.report import report_files
from infra.comparison.tables import summary_lines
from support.planted_sweeps import sweep, trial


@pytest.mark.parametrize(
    ("score", "said"),
    [
        (1.0, "no trial predicts anything yet: all have SELD 1.000; train for more epochs"),
        (0.5, "all 6 trials have SELD 0.500: none is better"),
    ],
)
def test_of_trials_that_are_all_alike_none_is_said_to_lead(score: float, said: str) -> None:
    silent = {"male": (0.0, 180.0, 0.0), "bell": (0.0, 180.0, 0.0)}
    records = [
        trial(n, ["gru", "audio_only"][n % 2], [1.0, score], lr=1e-3 + n / 1e6, classes=silent) for n in range(6)
    ]
    comparison = compare([sweep(records)])
    lines = summary_lines(comparison)
    assert f"tied      {said}" in lines
    assert not [line for line in lines if line.startswith("to reach") or "stays first" in line]
    assert any(line.endswith("are level, whichever class is left out.") for line in lines)
    files = report_files(comparison)
    for name in ("comparison.md", "comparison.html"):
        assert said in files[name]
        assert "stays first" not in files[name]
    assert f"until SELD {score:.3f}" not in files["comparison.md"]
    other = compare([sweep([*records, trial(7, "gru", [0.9])])])
    assert other.tie is None
