"""The test split, which a search never sees: read once for each model, after its epoch was chosen on validation.

The counts of each recording are kept beside the sweep; whoever asks again reads those. Counts add up, so that every
average, interval and comparison follows from them without another look at the split.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, cast

import numpy as np
import ray

from data import storage
from data.feeding.contract import PreparedRow
from data.feeding.streamed_split import open_feed
from data.stores.chunks import Store
from infra.cluster.join import connect
from infra.record.folder import SweepStore
from infra.record.trials import TrialRecord
from infra.stack.settings import Settings
from infra.sweep.data import load_split, preparation
from infra.sweep.data_memory import divide_data
from infra.sweep.outcome import SweepOutcome
from trainables.config.tree import from_dict
from trainables.evaluation.bundle import fetch_bundle, load_bundle
from trainables.evaluation.evaluate import predict_recordings, recordings
from trainables.scores.flat import counts_from_array, counts_to_array
from trainables.scores.metrics import SeldCounts, seld_counts

logger = logging.getLogger(f"seldtune.{__name__}")

SPLIT = "test"


def held_out_counts(
    outcome: SweepOutcome, settings: Settings, *, shown_others: bool = False
) -> list[tuple[TrialRecord, list[SeldCounts]]]:
    """The counts of each recording of the split for every trial with a model; each measured once, then read back.

    Args:
        shown_others: while it hears a recording, a model is shown another one; only those that see are asked.
    """
    done = [record for record in outcome.records if record.best is not None and record.error is None]
    for record in outcome.records:
        if record not in done:
            logger.warning("%s has no model: %s", record.label, record.error or "it never reported")
    if shown_others:
        done = [record for record in done if from_dict(record.config).columns]
    uris = {record.number: _counts_uri(outcome.sweep, record, shown_others) for record in done}
    missing = [record for record in done if not storage.exists(uris[record.number])]
    if missing:
        connect(settings)
        _measure(missing, outcome.store, uris, outcome.sweep, shown_others)
    return [(record, _read_counts(uris[record.number])) for record in done]


def best_bundle(sweep: SweepStore, record: TrialRecord) -> str:
    """URI of the trial's model at its best epoch on validation."""
    assert record.best is not None, "a trial without a report has no model"
    return sweep.trial_store(record.number).best(int(record.best["epoch"]))


def split_sha256(store: Store, split: str = SPLIT) -> str:
    """Identity of one split: the same recordings, cut and labelled alike, whatever the store's other splits hold."""
    shards = [shard.sha256 for shard in store.split(split).shards]
    return hashlib.sha256(json.dumps(shards).encode()).hexdigest()


def _measure(
    records: list[TrialRecord], store: Store, uris: Mapping[int, str], sweep: SweepStore, shown_others: bool
) -> None:
    configs = [from_dict(record.config) for record in records]
    prepare = preparation(configs, store.manifest.sha256)
    split = load_split(store, SPLIT, prepare, divide_data(store, prepare, splits=[SPLIT]))
    task = ray.remote(num_cpus=1)(_count)
    for record in records:
        counted = ray.get(task.remote(best_bundle(sweep, record), split, shown_others))
        buffer = io.BytesIO()
        np.save(buffer, counted)
        storage.write_bytes(uris[record.number], buffer.getvalue())


def _count(bundle_uri: str, split: Any, shown_others: bool) -> np.ndarray:
    """Counts of each recording, one row each (`counts_to_array`)."""
    with tempfile.TemporaryDirectory() as folder:
        model, config, extra = load_bundle(fetch_bundle(bundle_uri, folder))
    thresholds = np.array(extra["thresholds"])
    with closing(open_feed(split).recordings(config.columns)) as rows:
        shown = with_others_pictures(rows, config.columns) if shown_others else rows
        counted = [
            seld_counts(reference, config.output.decode(output, thresholds))
            for found in predict_recordings(model, shown, config.training.batch_size)
            for reference, output in recordings(found.rows, found.outputs)
        ]
    return np.array([counts_to_array(counts) for counts in counted])


def with_others_pictures(rows: Iterable[Sequence[PreparedRow]], columns: Sequence[str]) -> Iterator[list[PreparedRow]]:
    """Rows of recordings in turn that show what the recording before them shows, the first ones what the second does.

    Of a single recording nothing comes.
    """
    waiting: list[PreparedRow] = []
    before: PreparedRow | None = None
    last: PreparedRow | None = None
    for piece in rows:
        shown: list[PreparedRow] = []
        for row in piece:
            if last is not None and row["recording"] != last["recording"]:
                before = last
                shown += [_showing(first, row, columns) for first in waiting]
                waiting = []
            last = row
            if before is None:
                waiting.append(row)
            else:
                shown.append(_showing(row, before, columns))
        if shown:
            yield shown


def _showing(row: PreparedRow, other: PreparedRow, columns: Sequence[str]) -> PreparedRow:
    pictures = {column: other[column] for column in columns}  # type: ignore[literal-required]
    return cast("PreparedRow", {**row, **pictures, "has_video": other["has_video"]})


def _counts_uri(sweep: SweepStore, record: TrialRecord, shown_others: bool) -> str:
    return f"{sweep.uri}/{SPLIT}/{record.number:05d}{'-shown-others' if shown_others else ''}.npy"


def _read_counts(uri: str) -> list[SeldCounts]:
    return [counts_from_array(row) for row in np.load(io.BytesIO(storage.read_bytes(uri)))]
