"""What pictures are worth to a fusion: twins are found, and nothing is said of two different networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from infra.comparison.compare import compare
from infra.comparison.report import report_files
from infra.comparison.tables import summary_lines
from infra.record.trials import TrialRecord
from support.planted_sweeps import sweep, trial


def pair(number: int, seed: int, own: float, blind: float, lr: float = 1e-3) -> list[TrialRecord]:
    """A trial and its twin with closed eyes."""
    records = [trial(number + i, "gru", [0.9, score], seed=seed, lr=lr) for i, score in enumerate((own, blind))]
    records[1].config["fusion"]["closed"] = "eyes"
    return records


@pytest.mark.parametrize(
    ("scores", "verdict"),
    [
        ([(0.20, 0.25), (0.21, 0.27), (0.22, 0.26)], "visual input helps"),
        ([(0.25, 0.20), (0.27, 0.21), (0.26, 0.22)], "visual input harms"),
        ([(0.25, 0.24), (0.20, 0.22), (0.22, 0.22)], "visual input makes no difference"),
        ([(0.20, 0.40), (0.20, 0.40)], "too few pairs to tell"),
    ],
)
def test_twins_are_told_apart_from_themselves(scores: Sequence[tuple[float, float]], verdict: str) -> None:
    records = [record for seed, both in enumerate(scores) for record in pair(10 * seed, seed, *both)]
    comparison = compare([sweep([*records, trial(99, "audio_only", [0.9, 0.5])])])
    (gain,) = comparison.gains
    assert (gain.fusion, gain.closed) == ("gru", "eyes")
    assert gain.gains == pytest.approx([blind - own for own, blind in scores])
    assert gain.pairs[0] == ("planted/0", "planted/1")
    assert {variant.name for variant in comparison.variants} == {"gru", "gru, eyes closed", "audio_only"}
    (said,) = [line for line in summary_lines(comparison) if "closed: SELD" in line]
    assert verdict in said
    files = report_files(comparison)
    assert all(verdict in files[name] for name in ("comparison.md", "comparison.html"))
    assert not any("different networks" in note for note in comparison.notes)


def test_the_page_shows_gains_by_class_and_those_of_finals_by_kind_of_source() -> None:
    records = [record for seed in range(3) for record in pair(10 * seed, seed, 0.2 + 0.01 * seed, 0.3)]
    for record in records:
        score = 0.9 if record.config["fusion"].get("closed") is None else 0.4
        for name, f_score in (("bell", score), ("door", 0.5)):
            record.reports[-1] |= {f"class/{name}/F": f_score, f"class/{name}/LE": 10.0, f"class/{name}/LR": 0.5}
    part = {"without": 0.3, "own": 0.7, "low": 0.2, "high": 0.6}
    tested = {
        "fusion": "gru",
        "control": "others' pictures",
        "seeds": {"0": 0.1, "1": 0.12},
        "gain": 0.11,
        "low": 0.05,
        "high": 0.17,
        "kinds": {"with a decoy": part, "unseen": {**part, "own": 0.3, "low": None, "high": None}},
        "classes": {"bell": part},
    }
    comparison = compare([replace(sweep(records), tested=[tested])])
    assert comparison.gains[0].classes == {"bell": pytest.approx([0.5] * 3), "door": [0.0] * 3}
    page = report_files(comparison)["comparison.html"]
    section = page[page.index('<section id="gains">') : page.index('<section id="classes">')]
    for shown in (
        '<th scope="row" class="left">gru</th><td class="left">eyes closed</td><td>3</td><td>0.210</td><td>0.300</td>',
        '<th scope="row" class="left">door</th><td title="+0.000 to +0.000">+0.000</td>',
        '<td class="left">another recording</td><td>2</td><td class="good">+0.110</td><td>+0.050 to +0.170</td>',
        '<th scope="row" class="left">with a decoy</th><td class="good" title="+0.200 to +0.600">+0.400</td>',
        '<th scope="row" class="left">unseen</th><td title="-">+0.000</td>',
    ):
        assert shown in section, section
    assert 'id="gains"' not in report_files(compare([sweep([trial(9, "gru", [0.9, 0.5])])]))["comparison.html"]


def test_twins_may_be_of_two_sweeps() -> None:
    own, blind = pair(0, 4, 0.2, 0.3)
    (gain,) = compare([sweep([own]), sweep([blind], "blind")]).gains
    assert gain.pairs == [("planted/0", "blind/1")]


def test_what_differs_in_more_is_no_twin_and_the_reader_is_warned() -> None:
    own, other_seed, other_rate = pair(0, 0, 0.2, 0.3)[0], pair(2, 1, 0.2, 0.3)[1], pair(4, 0, 0.2, 0.3, lr=2e-3)[1]
    comparison = compare([sweep([own, other_seed, other_rate, trial(9, "audio_only", [0.9, 0.5])])])
    assert comparison.gains == []
    assert any("does not say that pictures help" in note for note in comparison.notes)
    alone = compare([sweep([trial(9, "audio_only", [0.9, 0.5])])])
    assert not any("pictures help" in note for note in alone.notes)
