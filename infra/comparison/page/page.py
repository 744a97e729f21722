"""A comparison as one HTML page that needs nothing else: no network, no server, no script to be read.

Size is bounded (about half a megabyte) whatever the sweep's: pictures and table are thinned, the CSV files hold all.
"""

from __future__ import annotations

import json
import re
from html import escape
from pathlib import Path

from infra.comparison import statistics
from infra.comparison.compare import Comparison
from infra.comparison.page.figures import Shown
from infra.comparison.page.sections import SECTIONS, sections_of
from infra.comparison.page.svg import MARKS, NUM_COLOURS, number_text
from infra.comparison.statistics import BETTER, NO_DIFFERENCE, TOO_FEW, WORSE
from infra.comparison.tables import duration_text, in_full_text, p_text, score_text

ASSETS = Path(__file__).parent


def page(comparison: Comparison) -> str:
    """The whole page."""
    shown = Shown.of(comparison)
    sections = sections_of(comparison, shown)
    names = " and ".join(comparison.sweeps)
    title = f"{names}: {comparison.by} compared"
    links = "".join(f'<a href="#{name}">{SECTIONS[name]}</a>' for name in sections)
    body = "".join(
        f'<section id="{name}"><h2>{SECTIONS[name]}</h2>{content}</section>' for name, content in sections.items()
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>{(ASSETS / "comparison.css").read_text()}</style>
</head>
<body>
<svg class="shapes" aria-hidden="true"><defs>{"".join(_shape(i, mark) for i, mark in enumerate(MARKS))}</defs></svg>
<header><div><h1>{escape(title)}</h1><p class="soft">{_subtitle(comparison)}</p></div>
<button id="theme" type="button">light / dark</button></header>
{_lead(comparison)}
<ul class="verdicts">{"".join(f"<li>{sentence}</li>" for sentence in _verdicts(comparison))}</ul>
<nav aria-label="Sections">{links}</nav>
<div class="bar">{_legend(comparison, shown)}
<span class="soft">click to hide; hover over a trial to find it everywhere, click to keep it</span></div>
{body}
<div id="tip" role="status"></div>
<script type="application/json" id="facts">{_facts(shown, body)}</script>
<script>{(ASSETS / "comparison.js").read_text()}</script>
</body>
</html>
"""


def _shape(index: int, mark: str) -> str:
    return f'<g id="k{index}">{mark}</g>'


def _subtitle(comparison: Comparison) -> str:
    compared = sum(trial.score is not None for trial in comparison.trials)
    return (
        f"Validation SELD over the classes present, after {comparison.epochs} epochs; smaller is better. "
        f"{compared:,} of {len(comparison.trials):,} trials, "
        f"{duration_text(comparison.cost.seconds)} of training; data "
        f"<code>{escape(comparison.data[:12])}</code>."
    )


def _lead(comparison: Comparison) -> str:
    """What was decided; or else how far trials got that trained in full, which is more than they are compared by."""
    told = [escape(decision["sentence"]) for decision in comparison.decisions]
    if comparison.in_full:
        told.append(f"Trained in full: {escape(in_full_text(comparison))}.".replace("`", ""))
    return "".join(f'<p class="lead">{sentence}</p>' for sentence in told)


def _verdicts(comparison: Comparison) -> list[str]:
    """A sentence for each variant, and for each that was set against itself, as firm as its evidence."""
    reference = escape(comparison.references[comparison.by])
    told = []
    for variant in comparison.variants:
        test, name = variant.test, f"<b>{escape(variant.name)}</b>"
        if test is None or variant.p_holm is None:
            if variant.verdict != statistics.REFERENCE:
                told.append(f"{name} has no score to compare.")
            continue
        sizes = f"{test.n} against {test.n_reference}"
        figures = f"P(better) {test.superiority:.2f}, p = {p_text(variant.p_holm)}, {sizes}"
        figures = figures.replace("p = <", "p &lt; ")
        sentence = {
            BETTER: f"{name} scored better than {reference} ({figures}).",
            WORSE: f"{name} scored worse than {reference} ({figures}).",
            NO_DIFFERENCE: f"{name} and {reference}: no difference shown ({figures}).",
            TOO_FEW: f"{name} and {reference}: too few to tell ({sizes}).",
        }
        told.append(sentence[variant.verdict])
    told += [escape(str(gain)) for gain in comparison.gains]
    return told or ["There is only one variant, so there is nothing to test it against."]


def _legend(comparison: Comparison, shown: Shown) -> str:
    """One key for each shape; where there are more variants than shapes, they share them in turn."""
    names: dict[int, list[str]] = {}
    for variant in comparison.variants:
        names.setdefault(shown.colours[variant.name] % NUM_COLOURS, []).append(variant.name)
    return "".join(
        f'<button type="button" class="key" aria-pressed="true" data-v="{index}"><svg viewBox="-6 -6 12 12" '
        f'aria-hidden="true"><use href="#k{index}" class="m v{index}"/></svg>{escape(", ".join(group))}</button>'
        for index, group in names.items()
    )


def _facts(shown: Shown, body: str) -> str:
    """What the page tells about the trials that its body shows, by their numbers; safe within a script element."""
    trials = [shown.trials[number] for number in sorted({int(found) for found in re.findall(r'data-t="(\d+)"', body)})]
    told = {
        str(shown.number(trial)): [
            f"{trial.label}: {trial.variants[shown.by]}, {trial.record.state} after {len(trial.record.reports)} epochs",
            f"best SELD {score_text(trial.best_score)}, {number_text(trial.parameters)} parameters, "
            f"{duration_text(trial.seconds)}",
            ", ".join(f"{name} {_value_text(value)}" for name, value in trial.record.params.items()),
        ]
        for trial in trials
    }
    return json.dumps({"trials": told}, separators=(",", ":")).replace("<", "\\u003c")


def _value_text(value: object) -> str:
    return number_text(float(f"{value:.3g}")) if isinstance(value, float) else str(value)
