"""What became of a tree that was taken in: what the store holds, what was unusual, and what could not be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from data import storage
from data.stores.build import REPORT_NAME, Built
from infra.datasets.inspection import Listener, describe, show
from infra.datasets.rows import read_rows


def ingest_document(built: Built, model: Listener | None = None) -> dict[str, Any]:
    """All of it, ready for JSON; with a model, how loud the recordings are beside what it was trained on."""
    return {
        **describe(built.store, read_rows(built.store), model=model),
        "agreement": built.report["agreement"],
        "picture": None,
        "unusual": unusual(built.report),
        "faults": built.report["faults"],
        "remarks": built.report["remarks"],
    }


def unusual(report: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """What was unusual in the files -> in how many recordings, and how often in all; the most frequent first."""
    recordings: Counter[str] = Counter()
    times: Counter[str] = Counter()
    for one in report["recordings"].values():
        for what, count in one["facts"]["notes"].items():
            recordings[what] += 1
            times[what] += count
    return {what: {"recordings": count, "times": times[what]} for what, count in recordings.most_common()}


def show_ingest(document: Mapping[str, Any]) -> None:
    """Print the document for people. Remarks and faults are not said again: the log has them as they were found."""
    from rich.console import Console
    from rich.table import Table

    show(document)
    console = Console(highlight=False)
    if document["unusual"]:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column("unusual, and taken in")
        for heading in ("recordings", "times"):
            table.add_column(heading, justify="right")
        for what, counts in document["unusual"].items():
            table.add_row(what, f"{counts['recordings']:,}", f"{counts['times']:,}")
        console.print(table)
    counts = {"remark": len(document["remarks"]), "fault": len(document["faults"])}
    if kept := [f"{count} {what}{'s' if count > 1 else ''}" for what, count in counts.items() if count]:
        report = storage.join(document["root"], REPORT_NAME)
        console.print(f"{' and '.join(kept)}, named above and in {report}", markup=False, soft_wrap=True)
