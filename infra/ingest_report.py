"""What became of a tree that was taken in, on one screen: the splits, what was unusual, and what could not be read."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.table import Table

from data.build import Built


def ingest_document(built: Built) -> dict[str, Any]:
    """The same as JSON knows it."""
    manifest = built.store.manifest
    return {
        "root": built.store.root,
        "manifest": manifest.sha256,
        "splits": {
            name: {
                "clips": split.clips,
                "clips_without_video": split.clips_without_video,
                "hours": split.hours,
                "rooms": list(split.rooms),
                "class_frames": list(split.class_frames),
                "polyphony": list(split.polyphony),
                "bytes": sum(shard.bytes for shard in split.shards),
            }
            for name, split in manifest.splits.items()
        },
        "unusual": {what: dict(zip(("recordings", "times"), counts, strict=True)) for what, counts in unusual(built)},
        "faults": built.report["faults"],
        "remarks": built.report["remarks"],
    }


def unusual(built: Built) -> list[tuple[str, tuple[int, int]]]:
    """What was unusual in the files -> in how many recordings, and how often in all; the most frequent first."""
    recordings: Counter[str] = Counter()
    times: Counter[str] = Counter()
    for one in built.report["recordings"].values():
        for what, count in one["facts"]["notes"].items():
            recordings[what] += 1
            times[what] += count
    return [(what, (count, times[what])) for what, count in recordings.most_common()]


def unusual_table(built: Built) -> Table:
    """What was unusual, and what could not be read."""
    table = Table(box=None, pad_edge=False, title="Unusual, and taken in", title_justify="left")
    table.add_column("what")
    table.add_column("recordings", justify="right")
    table.add_column("times", justify="right")
    for what, (recordings, times) in unusual(built):
        table.add_row(what, str(recordings), str(times))
    return table
