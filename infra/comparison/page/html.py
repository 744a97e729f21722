"""Tables and figures as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def figure(svg: str, caption: str = "") -> str:
    return f"<figure>{svg}{f'<figcaption>{caption}</figcaption>' if caption else ''}</figure>"


def table_html(head: Sequence[tuple[str, str, bool]], rows: Sequence[str], *, wide: bool = True) -> str:
    """Columns as (title, explanation, whether numbers); the rows are HTML already."""
    cells = "".join(
        f'<th scope="col"{attribute("class", "" if right else "left")}{attribute("title", explained)}>'
        f'<button type="button">{escape(title).replace("_", "_<wbr>")}</button></th>'
        for title, explained, right in head
    )
    html = f"<table><thead><tr>{cells}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f'<div class="wide">{html}</div>' if wide else html


def attribute(name: str, value: str) -> str:
    return f' {name}="{escape(value)}"' if value else ""
