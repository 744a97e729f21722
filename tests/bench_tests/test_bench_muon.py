"""The benchmark of Muon's step: the sides agree, and the last line says what it promises."""

from __future__ import annotations

import pytest

from infra.bench.model import muon
from support.bench_results import check_result


def test_muon() -> None:
    outcome = muon.measure("audio_only", repeats=1)
    check_result(outcome, "muon", {"torch.optim.Muon", "AdamW alone"})
    assert outcome["largest_difference"] < muon.LARGEST_DIFFERENCE


def test_steps_that_differ_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(muon, "LARGEST_DIFFERENCE", 1e-6)
    with pytest.raises(AssertionError, match="a step away from torch's"):
        muon.check("audio_only")
