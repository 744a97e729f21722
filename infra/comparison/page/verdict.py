"""What was decided between variants (`seldtune decide`): a sentence, and the picture of it."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from infra.comparison.page.html import figure, table_html
from infra.comparison.page.svg import Axis, picture, text, whisker

WIDTH, ROW = 1120, 30


def decision_section(decision: Mapping[str, Any]) -> str:
    """The picture of its pairs, what is said of each, and the variants' scores."""
    rows = [
        f'<tr><th scope="row" class="left">{escape(one["variant"])}</th><td>{one["mean"]:.3f}</td>'
        f"<td>{one['deviation']:.3f}</td><td>{one['seeds']}</td><td>{one['trial']}</td></tr>"
        for one in decision["variants"]
    ]
    head = [(decision["by"], "", False), ("test SELD", "mean over seeds", True), ("deviation", "over seeds", True)]
    head += [("seeds", "", True), ("trial", "whose config it is", True)]
    caption = (
        f"Difference of the mean test SELD; left of 0 the first is better. Shaded: what does not matter, up to "
        f"{decision['margin']:g}. All intervals, at every look, hold the truth together with a probability of "
        f"{1 - decision['alpha']:g}."
    )
    said = "".join(f"<li>{escape(pair['said'])}</li>" for pair in decision["pairs"])
    return figure(differences(decision), caption) + f"<ul>{said}</ul>" + table_html(head, rows)


def differences(decision: Mapping[str, Any]) -> str:
    """A row for each pair: its difference, its interval, and the margin behind all of them."""
    known = [pair for pair in decision["pairs"] if pair["difference"] is not None]
    margin, bottom = decision["margin"], 20 + ROW * len(decision["pairs"])
    ends = [end for pair in known for end in (pair["low"], pair["high"])]
    names = [f"{pair['first']} - {pair['second']}" for pair in decision["pairs"]]
    left = 32 + 7 * max(map(len, names))
    # On the right there is room for the verdict.
    x = Axis([*ends, -margin, margin], left, WIDTH - 100)
    parts = [f'<path class="margin" d="M{x(-margin):.1f} 14H{x(margin):.1f}V{bottom}H{x(-margin):.1f}z"/>']
    parts += [f'<path class="grid" d="M{px:.1f} 14V{bottom}"/>' for px, _ in x.ticks(10)]
    parts += [text(px, bottom + 16, label, "middle") for px, label in x.ticks(10)]
    parts.append(f'<path class="axis" d="M{x(0.0):.1f} 14V{bottom}"/>')
    for index, (name, pair) in enumerate(zip(names, decision["pairs"], strict=True)):
        y = 20 + ROW * (index + 0.5)
        parts.append(text(left - 12, y + 4, name, "end", "label"))
        if pair["difference"] is None:
            continue
        parts.append(whisker(x(pair["low"]), x(pair["high"]), y))
        parts.append(f'<path class="median" d="M{x(pair["difference"]):.1f} {y - 7}v14"/>')
        parts.append(text(x(pair["high"]) + 8, y + 4, pair["verdict"]))
    return picture(WIDTH, bottom + 26, f"Differences in test SELD between pairs, by {decision['by']}", parts)
