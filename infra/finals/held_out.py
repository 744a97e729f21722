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
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import ray

from data import storage
from data.feeding.contract import PreparedRow
from data.feeding.streamed_split import open_feed
from data.patience import handed_on
from data.stores.chunks import Store
from data.stores.facts import recording_facts
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
from trainables.scores.kinds import KindCounts, Spans, kind_counts
from trainables.scores.metrics import SeldCounts, seld_counts

logger = logging.getLogger(f"seldtune.{__name__}")

SPLIT = "test"


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What the split says of a model, recording by recording."""

    counts: list[SeldCounts]
    kinds: list[KindCounts]


def held_out(
    outcome: SweepOutcome, settings: Settings, *, shown_others: bool = False
) -> list[tuple[TrialRecord, HeldOut]]:
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
    uris = {record.number: _uris(outcome.sweep, record, shown_others) for record in done}
    missing = [record for record in done if not all(map(storage.exists, uris[record.number]))]
    if missing:
        connect(settings)
        _measure(missing, outcome.store, uris, outcome.sweep, shown_others)
    return [(record, _read(*uris[record.number])) for record in done]


def stored(sweep: SweepStore, record: TrialRecord) -> HeldOut | None:
    """What the split said of a trial's model; nothing where it was not asked."""
    uris = _uris(sweep, record, shown_others=False)
    return _read(*uris) if all(map(storage.exists, uris)) else None


def best_bundle(sweep: SweepStore, record: TrialRecord) -> str:
    """URI of the trial's model at its best epoch on validation."""
    assert record.best is not None, "a trial without a report has no model"
    return sweep.trial_store(record.number).best(int(record.best["epoch"]))


def split_sha256(store: Store, split: str = SPLIT) -> str:
    """Identity of one split: the same recordings, cut and labelled alike, whatever the store's other splits hold."""
    shards = [shard.sha256 for shard in store.split(split).shards]
    return hashlib.sha256(json.dumps(shards).encode()).hexdigest()


def _measure(
    records: list[TrialRecord],
    store: Store,
    uris: Mapping[int, tuple[str, str]],
    sweep: SweepStore,
    shown_others: bool,
) -> None:
    configs = [from_dict(record.config) for record in records]
    prepare = preparation(configs, store.manifest.sha256)
    split = load_split(store, SPLIT, prepare, divide_data(store, prepare, splits=[SPLIT]))
    spans = {name: facts["spans"] for name, facts in recording_facts(store).items() if "spans" in facts}
    task = ray.remote(num_cpus=1)(handed_on(_count))
    for record in records:
        counted = ray.get(task.remote(best_bundle(sweep, record), split, spans, shown_others))
        for uri, array in zip(uris[record.number], counted, strict=True):
            buffer = io.BytesIO()
            np.save(buffer, array)
            storage.write_bytes(uri, buffer.getvalue())


def _count(
    bundle_uri: str, split: Any, spans: Mapping[str, Spans], shown_others: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Of each recording: its scores' counts (`counts_to_array`), and events and found of each kind (2, 8)."""
    with tempfile.TemporaryDirectory() as folder:
        model, config, extra = load_bundle(fetch_bundle(bundle_uri, folder))
    thresholds = np.array(extra["thresholds"])
    scored, kinds = [], []
    with closing(open_feed(split).recordings(config.columns)) as rows:
        shown = with_others_pictures(rows, config.columns) if shown_others else rows
        for found in predict_recordings(model, shown, config.training.batch_size):
            for name, reference, output in recordings(found.rows, found.outputs):
                predicted = config.output.decode(output, thresholds)
                scored.append(counts_to_array(seld_counts(reference, predicted, num_classes=len(config.classes))))
                of_kind = kind_counts(reference, predicted, spans.get(name))
                kinds.append(np.stack([of_kind.events, of_kind.found]))
    return np.array(scored), np.array(kinds)


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


def _uris(sweep: SweepStore, record: TrialRecord, shown_others: bool) -> tuple[str, str]:
    """Of the counts of scores, and of kinds."""
    stem = f"{sweep.uri}/{SPLIT}/{record.number:05d}{'-shown-others' if shown_others else ''}"
    return f"{stem}.npy", f"{stem}-kinds.npy"


def _read(counts_uri: str, kinds_uri: str) -> HeldOut:
    scored, kinds = (np.load(io.BytesIO(storage.read_bytes(uri))) for uri in (counts_uri, kinds_uri))
    return HeldOut([counts_from_array(row) for row in scored], [KindCounts(*pair) for pair in kinds])
