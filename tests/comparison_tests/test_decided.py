"""Comparisons of sweeps that were decided, and of sweeps of which full trials say more than what is compared."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from infra.comparison.compare import compare
from infra.comparison.page.page import page
from infra.comparison.report import load_sweeps, report_files
from infra.comparison.tables import summary_lines
from infra.finals.decision import Decision, Question
from infra.finals.looks import Trained
from infra.record.folder import SweepStore
from infra.record.trials import PRUNED
from support.planted_sweeps import sweep, trial

RECORDS = [
    trial(0, "gru", [0.8, 0.7, 0.6, 0.2]),
    trial(1, "audio_only", [0.7, 0.65, 0.5, 0.3]),
    trial(2, "audio_only", [0.9, 0.9, 0.9], lr=2e-3, state=PRUNED),
]


def decision(by: str = "fusion") -> dict[str, Any]:
    """As `decide` keeps it: one pair that is decided, one that is not."""

    def trained(mean: float, spread: float) -> Trained:
        scores = mean + spread * np.array([-1.0, 0.0, 1.0])
        return Trained(scores, scores[:, None] + np.zeros(4))

    variants = {"gru": trained(0.2, 0.01), "audio_only": trained(0.4, 0.01), "cmaf <b>": trained(0.3, 0.2)}
    found = Decision.of("planted", "planted-decide", Question(by=by), variants, dict.fromkeys(variants, 0))
    return json.loads(json.dumps(found.as_json()))


def test_what_was_decided_comes_first() -> None:
    planted = replace(sweep(RECORDS), decision=decision())
    comparison = compare([planted])
    sentence = "gru is better than audio_only, undecided against cmaf <b>."
    assert summary_lines(comparison)[0] == f"decided   {sentence}"
    assert report_files(comparison)["comparison.md"].splitlines()[2] == f"Decided: {sentence}"
    html = page(comparison)
    escaped = sentence.replace("<", "&lt;").replace(">", "&gt;")
    assert html.index(f'<p class="lead">{escaped}</p>') < html.index('<ul class="verdicts">')
    section = html[html.index('<section id="verdict">') : html.index('<section id="variants">')]
    assert section.count('class="interval"') == 3
    assert "What was decided" in section
    assert "cmaf <b>" not in html
    assert comparison.as_json()["decisions"] == [decision()]


def test_full_trials_lead_where_trials_are_compared_after_fewer_epochs() -> None:
    comparison = compare([sweep(RECORDS)])
    assert comparison.epochs == 3
    assert comparison.in_full == {"gru": 0.2, "audio_only": 0.3}
    said = "SELD gru 0.200, audio_only 0.300; `seldtune decide planted` says whether that holds"
    assert summary_lines(comparison)[0] == f"in full   {said}"
    lead = '<p class="lead">Trained in full: SELD gru 0.200, audio_only 0.300; seldtune decide planted says'
    assert lead in page(comparison)
    # With all of them compared in full, there is nothing to add.
    assert compare([sweep(RECORDS[:2])]).in_full == {}


def test_a_decision_beside_a_sweep_is_found_by_what_is_compared(tmp_path: Path) -> None:
    planted = sweep(RECORDS)
    store = SweepStore(str(tmp_path), "planted")
    store.create(dict(planted.settings))
    for record in planted.records:
        store.write(record)
    assert load_sweeps(str(tmp_path), ["planted"])[0].decision is None
    for by in ("fusion", "depth"):
        Path(store.decision_uri(by)).write_text(json.dumps(decision(by)))
        assert load_sweeps(str(tmp_path), ["planted"], by)[0].decision == decision(by)
    assert load_sweeps(str(tmp_path), ["planted"], "schedule")[0].decision is None
