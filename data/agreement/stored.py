"""How well sound and labels of a chunk store go together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from data.agreement.directions import Heard, listen
from data.agreement.verdict import Agreement, compare
from data.labels import Events
from data.stores.chunks import Store, read_index, read_shard
from data.stores.rows import RawRow, decode_flac, row_events
from data.timing import LABEL_RATE_HZ, SAMPLES_PER_LABEL

ROWS: Final = 12
"""Minutes of sound that are listened to, at most, however large the store is."""
_FIRST_ROWS: Final = 4
_FIRST_LABELS: Final = 20 * LABEL_RATE_HZ
"""So much of each of these is listened to before all, which tells enough where nothing is wrong."""


def agreement_of(store: Store) -> Agreement:
    """Of rows that are spread evenly over the splits with labels.

    The stretches in which one source alone is labelled most are listened to first, and whole rows where these leave a
    doubt: most of the time goes into decoding them.
    """
    index = read_index(store).select(["split", "shard", "row"]).to_pylist()
    labelled = [entry for entry in index if entry["split"] != "eval"]
    spread = np.unique(np.linspace(0, len(labelled) - 1, min(ROWS, len(labelled))).round().astype(int))
    rows = [labelled[i] for i in spread]
    stretches = [(*_most_single(row_events(_read(store, row, ["events"]))), row) for row in rows]
    stretches.sort(key=lambda stretch: stretch[0], reverse=True)
    found = compare([_listen(store, row, start, start + _FIRST_LABELS) for _, start, row in stretches[:_FIRST_ROWS]])
    return found if found.certain else compare([_listen(store, row) for row in rows])


def _most_single(events: Events) -> tuple[int, int]:
    """Label frames with one source in the stretch that has most of them, and where it begins."""
    single = np.bincount(events.frame, minlength=1) == 1
    within = np.convolve(single, np.ones(_FIRST_LABELS, int))[_FIRST_LABELS - 1 :]
    return int(within.max()), int(within.argmax())


def _listen(store: Store, entry: Mapping[str, Any], start: int = 0, stop: int | None = None) -> Heard:
    """To a row or label frames of it; it is read when it is listened to, as a decoded minute takes 12 MB."""
    row = _read(store, entry, ["audio", "events"])
    audio = decode_flac(row["audio"], start * SAMPLES_PER_LABEL, stop and stop * SAMPLES_PER_LABEL)
    events = row_events(row)
    return listen(audio, events if stop is None else events.between(start, stop))


def _read(store: Store, entry: Mapping[str, Any], columns: list[str]) -> RawRow:
    shard = store.manifest.splits[entry["split"]].shards[entry["shard"]]
    return read_shard(store, shard, columns, [entry["row"]])[0]
