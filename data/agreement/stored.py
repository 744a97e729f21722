"""How well sound and labels of a chunk store go together."""

from __future__ import annotations

from itertools import groupby
from typing import Final

import numpy as np

from data.agreement.directions import listen
from data.agreement.verdict import Agreement, compare
from data.stores.chunks import SPLITS, Store, read_index, read_shard
from data.stores.rows import decode_flac, row_events

ROWS: Final = 12
"""Minutes of sound that are listened to, at most, however large the store is."""


def agreement_of(store: Store, most_rows: int = ROWS) -> Agreement:
    """Of rows that are spread evenly over the splits with labels."""
    labelled = [name for name in SPLITS if name != "eval" and name in store.manifest.splits]
    rows = [
        (name, entry["shard"], entry["row"])
        for name in labelled
        for entry in read_index(store, name).select(["shard", "row"]).to_pylist()
    ]
    spread = np.unique(np.linspace(0, len(rows) - 1, min(most_rows, len(rows))).round().astype(int))
    heard = []
    for (split, shard), group in groupby([rows[i] for i in spread], key=lambda row: row[:2]):
        where = store.manifest.splits[split].shards[shard]
        for row in read_shard(store, where, ["audio", "events"], [index for _, _, index in group]):
            heard.append(listen(decode_flac(row["audio"]), row_events(row)))
    return compare(heard)
