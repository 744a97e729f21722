from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser

import numpy as np
import pytest

from infra.comparison.compare import compare
from infra.comparison.page.figures import MOST_LINES, MOST_MARKS, Shown
from infra.comparison.page.page import page
from infra.comparison.page.sections import MOST_ROWS
from infra.comparison.page.svg import Axis, number_text
from infra.comparison.tables import OUTLOOK, markdown, trials_csv
from infra.record.trials import FAILED, PRUNED, TrialRecord
from support.planted_sweeps import sweep, trial

VOID = {"meta", "link", "wbr"}
ADDRESSES = ("href", "src", "action", "xlink:href", "data", "poster", "srcset")


class Parsed(HTMLParser):
    """What a page holds, and whether its elements are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.tags: list[str] = []
        self.unlabelled = 0
        self.content: dict[str, str] = {}
        self.trials: set[str] = set()
        self.text: list[str] = []
        self._within = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        if given.get("id"):
            self.ids.append(str(given["id"]))
        self.addresses += [str(given[name]) for name in ADDRESSES if name in given]
        self.unlabelled += given.get("role") == "img" and not given.get("aria-label")
        if "data-t" in given:
            self.trials.add(str(given["data-t"]))
        self._within = str(given.get("id") or tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self._within = ""

    def handle_data(self, data: str) -> None:
        self.content[self._within] = self.content.get(self._within, "") + data
        self.text.append(data)


def many(count: int) -> list[TrialRecord]:
    """Trials of all fusions over the whole space, most of them stopped early, some failed."""
    rng = np.random.default_rng(0)
    records = []
    for number in range(count):
        fusion = ["audio_only", "gru", "cmaf", "av_conformer"][number % 4]
        lr = float(np.exp(rng.uniform(np.log(4e-4), np.log(4e-3))))
        scores = np.linspace(1.0, rng.uniform(0.2, 0.9), 14).clip(0.05)
        state = FAILED if number % 37 == 5 else PRUNED if number % 3 else "complete"
        epochs = {FAILED: 2, PRUNED: 3}.get(state, 14)
        classes = {name: tuple(rng.uniform(0, 1, 3) * (1, 90, 1)) for name in ("male", "bell", "knock")}
        records.append(
            trial(
                number,
                fusion,
                [float(score) for score in scores[:epochs]],
                state=state,
                lr=lr,
                depth=1 + number % 2,
                schedule=["one_cycle", "warmup_cosine"][number // 4 % 2],
                classes=classes,
                extra={"gate": float(rng.uniform())} if fusion == "gru" else {},
            )
        )
    return records


@pytest.fixture(scope="module")
def records() -> list[TrialRecord]:
    return many(700)


def test_the_page_is_whole_and_needs_nothing_else(records: list[TrialRecord]) -> None:
    text = page(compare([sweep(records[:60])]))
    parsed = Parsed(text)
    assert parsed.open == []
    assert len(parsed.ids) == len(set(parsed.ids))
    for address in parsed.addresses:
        assert address == "data:," or address.removeprefix("#") in parsed.ids, address
    assert all(address.startswith(("#", "data:")) for address in parsed.addresses)
    assert not re.search(r"https?:|url\(|@import|\bfetch\(|XMLHttpRequest|import\(", text)
    assert parsed.unlabelled == 0
    assert parsed.tags.count("figure") >= 12
    told = json.loads(parsed.content["facts"])["trials"]
    assert set(told) == parsed.trials
    assert all("best SELD" in " ".join(lines) for lines in told.values())
    # What the script looks up is there.
    for name in re.findall(r'getElementById\("([^"]+)"\)', text):
        assert name in parsed.ids


def test_the_page_tells_the_planted_figures() -> None:
    records = [trial(n, "gru", [0.9, 0.1 + n / 10], lr=1e-3 + n / 1e5) for n in range(4)]
    records += [trial(4 + n, "audio_only", [0.9, 0.5 + n / 10], lr=1e-3 + n / 1e5) for n in range(4)]
    comparison = compare([sweep(records)])
    text = " ".join("".join(Parsed(page(comparison)).text).split())
    assert "gru scored better than audio_only (P(better) 1.00, p = 0.029, 4 against 4)." in text
    assert "These reports hold no scores of single classes." in text
    assert "| gru | 4 | 4 | 0 | 0 | 0.100 | 0.250 |" in markdown(comparison)


def test_names_cannot_break_out_of_the_page() -> None:
    record = trial(0, "gru", [0.5])
    record.params["note"] = "</script><b>'\"&"
    text = page(compare([sweep([record], name="a<b")]))
    parsed = Parsed(text)
    assert parsed.tags.count("script") == 2
    assert "</script><b>" in json.loads(parsed.content["facts"])["trials"]["0"][2]


def test_a_page_of_one_trial_or_of_one_epoch_is_drawn_too() -> None:
    for scores in ([0.5], [0.5, 0.4]):
        text = page(compare([sweep([trial(0, "gru", scores), trial(1, "cmaf", [], state=FAILED)])]))
        assert "nan" not in text.lower().replace("isnan", "")
        assert Parsed(text).open == []


def test_size_does_not_grow_with_the_sweep(records: list[TrialRecord]) -> None:
    comparison = compare([sweep(records)])
    text = page(comparison)
    assert len(text.encode()) < 1_000_000
    shown = Shown.of(comparison)
    for most in (MOST_LINES, MOST_MARKS):
        thinned = shown.thinned(most)
        assert len(thinned) <= most
        assert thinned[-1] is shown.trials[0]
        assert {each.variants["fusion"] for each in thinned} == {"audio_only", "gru", "cmaf", "av_conformer"}
    assert text.count("<tr data-t=") == MOST_ROWS
    assert re.search(r"2[34]\d of 6\d\d trials are drawn, evenly", text)


def test_axes_find_round_ticks_within_their_stretch() -> None:
    linear = Axis([0.2, 1.0], 0, 100, ends=True)
    assert [label for _, label in linear.ticks()] == ["0.2", "0.4", "0.6", "0.8", "1"]
    assert linear.ticks()[0][0] == pytest.approx(0)
    log = Axis([1e-4, 1e-2], 100, 0, log=True, ends=True)
    assert log(1e-3) == pytest.approx(50)
    assert "1e-3" in [label for _, label in log.ticks()]
    same = Axis([0.5, 0.5], 0, 100)
    assert same(0.5) == pytest.approx(50)
    assert [label for _, label in Axis([0, 3], 0, 10, ends=True, whole=True).ticks()] == ["0", "1", "2", "3"]
    assert [number_text(value) for value in (0.25, 400, 1_200_000, 12_000, 1e-4, 0)] == [
        "0.25",
        "400",
        "1.2M",
        "12k",
        "1e-4",
        "0",
    ]


def test_what_was_stopped_early_is_shown_with_what_it_would_have_come_to() -> None:
    full = [trial(number, "gru", list(np.linspace(0.9, 0.2 + 0.01 * number, 14))) for number in range(4)]
    cut = trial(4, "gru", list(np.linspace(0.9, 0.6, 14)[:6]), state=PRUNED)
    comparison = compare([sweep([*full, cut])])
    rows = {row["trial"]: row for row in csv.DictReader(io.StringIO(trials_csv(comparison)))}
    low, median, high = (float(rows["4"][name]) for name in OUTLOOK)
    assert 0.05 < low < median < high <= 1
    assert all(rows[str(number)][name] == "" for number in range(4) for name in OUTLOOK)
    assert f">{median:.3f} ({low:.3f} - {high:.3f})<" in page(comparison)
    assert "would end at" not in page(compare([sweep(full)]))
