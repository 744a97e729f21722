"""The section on controls: what pictures, and sound, are worth to each fusion, by class and by kind of source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from infra.comparison.compare import Comparison
from infra.comparison.controls import ControlGain
from infra.comparison.page.html import attribute, table_html
from infra.comparison.statistics import mean_interval
from trainables.parts.controls import CLOSED

Bounds = tuple[float, float] | None


def gains_section(comparison: Comparison) -> str:
    """Trials against their twins on validation; below it finalists against theirs on the test split."""
    parts = []
    if comparison.gains:
        head = [("fusion", "", False), ("without", "", False), ("pairs", "", True)]
        head += [("SELD with", "", True), ("SELD without", "", True), ("gain", "", True), ("95 %", "", True)]
        rows = [_row((gain.fusion, f"{gain.closed} closed"), _of_pairs(gain)) for gain in comparison.gains]
        parts.append("<h3>On validation</h3>" + table_html(head, rows))
        parts.append(
            '<p class="soft">The same network, seed and schedule, with the modality\'s embedding kept at zero. A gain '
            "is SELD without minus SELD with: above 0 it helps. Intervals, over pairs, take three or more.</p>"
        )
        parts.append(_by_part("F by class", _class_columns(comparison.gains)))
    if comparison.tested:
        head = [("fusion", "", False), ("without", "", False), ("seeds", "", True), ("gain", "", True)]
        head += [("95 %", "", True)]
        rows = [_row(_tested_names(gain), _of_seeds(gain)) for gain in comparison.tested]
        parts.append("<h3>On the test split, by finals</h3>" + table_html(head, rows))
        parts.append(
            '<p class="soft">Intervals are over recordings, all seeds summed. Another recording: the finalist itself, '
            "shown the pictures of another recording while it listens.</p>"
        )
        kinds, classes = (_tested_columns(comparison.tested, part) for part in ("kinds", "classes"))
        parts.append(_by_part("Recall within 20 degrees by kind of source", kinds))
        parts.append(_by_part("F by class, on the test split", classes))
    return "".join(parts)


def _tested_names(gain: Mapping[str, Any]) -> tuple[str, str]:
    control = gain["control"]
    return gain["fusion"], f"{control} closed" if control in CLOSED else "another recording"


def _of_pairs(gain: ControlGain) -> list[str]:
    bounds = None if gain.interval is None else (gain.interval.low, gain.interval.high)
    scores = [f"<td>{np.mean(side):.3f}</td>" for side in (gain.own, gain.without)]
    return [f"<td>{len(gain.pairs)}</td>", *scores, _gain_cell(gain.mean, bounds), f"<td>{_text(bounds)}</td>"]


def _of_seeds(gain: Mapping[str, Any]) -> list[str]:
    bounds = (gain["low"], gain["high"])
    return [f"<td>{len(gain['seeds'])}</td>", _gain_cell(gain["gain"], bounds), f"<td>{_text(bounds)}</td>"]


def _row(names: tuple[str, str], cells: Iterable[str]) -> str:
    fusion, control = map(escape, names)
    return f'<tr><th scope="row" class="left">{fusion}</th><td class="left">{control}</td>{"".join(cells)}</tr>'


Columns = Mapping[str, Mapping[str, tuple[float, Bounds]]]
"""Heading -> class or kind -> its gain and the interval."""


def _class_columns(gains: Sequence[ControlGain]) -> Columns:
    columns = {}
    for gain in gains:
        parts = {}
        for name, values in gain.classes.items():
            interval = mean_interval(values)
            parts[name] = (float(np.mean(values)), None if interval is None else (interval.low, interval.high))
        columns[f"{gain.fusion}, {gain.closed} closed"] = parts
    return columns


def _tested_columns(gains: Sequence[Mapping[str, Any]], part: str) -> Columns:
    return {
        ", ".join(_tested_names(gain)): {
            name: (one["own"] - one["without"], None if one["low"] is None else (one["low"], one["high"]))
            for name, one in gain[part].items()
        }
        for gain in gains
    }


def _by_part(title: str, columns: Columns) -> str:
    names = list(dict.fromkeys(name for parts in columns.values() for name in parts))
    if not names:
        return ""
    rows = []
    for name in names:
        cells = "".join(
            _gain_cell(*parts[name], title=_text(parts[name][1])) if name in parts else "<td>-</td>"
            for parts in columns.values()
        )
        rows.append(f'<tr><th scope="row" class="left">{escape(name)}</th>{cells}</tr>')
    head = [(title, "", False), *((heading, "Gain; hover over one for its interval", True) for heading in columns)]
    return table_html(head, rows) + '<p class="soft">Coloured: the 95 % interval has 0 outside.</p>'


def _gain_cell(gain: float, bounds: Bounds, title: str = "") -> str:
    kind = "" if bounds is None or bounds[0] <= 0 <= bounds[1] else "good" if bounds[0] > 0 else "bad"
    return f"<td{attribute('class', kind)}{attribute('title', title)}>{gain:+.3f}</td>"


def _text(bounds: Bounds) -> str:
    return "-" if bounds is None else f"{bounds[0]:+.3f} to {bounds[1]:+.3f}"
