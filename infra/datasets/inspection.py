"""What a chunk store holds: counts, classes, overlap, directions and sound levels, for the terminal and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.agreement.stored import agreement_of
from data.labels import labels_of_classes
from data.stores.chunks import Store, open_store
from data.stores.rows import decode_flac
from data.timing import LABEL_HOP_S, SAMPLES_PER_LABEL
from infra.datasets.picture import draw_recording
from infra.datasets.rows import RowFacts, read_rows, read_whole, rows_of_recording, split_names

if TYPE_CHECKING:
    from rich.console import Console

FULL_SCALE = 32_768
SILENCE_DBFS = -120.0
"""Stands for the level of nothing at all, which has none."""
SOUND_ROWS = 24


class Listener(Protocol):
    """A model that is to hear recordings, such as `infra.models.predict.RegisteredModel`."""

    @property
    def uri(self) -> str: ...

    def level_above_training_db(self, audio: NDArray[np.float32]) -> float | None:
        """By how many dB audio (4, samples) is louder than what it was trained on; None: it does not matter."""
        ...

    def far_level(self, what: str, above_db: float | None) -> str | None:
        """What is to be said where that is too far."""
        ...


def inspect_store(
    root: str,
    *,
    model: Listener | None = None,
    sound_rows: int | None = SOUND_ROWS,
    picture: bool = True,
    recording: str | None = None,
    at_s: float | None = None,
    seconds: float = 20.0,
    out: Path | None = None,
) -> dict[str, Any]:
    """Look at a store, and draw a picture of one of its recordings.

    Args:
        model: what the store's recordings are compared with in loudness.
        sound_rows: rows of each split whose sound is measured; nothing: all.
        recording: what is looked at; if not given the store as a whole, with a picture of its first recording.
        at_s, seconds: what the picture shows; from where it is busy on, if not given.
        out: the picture's file; `<recording>.png` in the working directory if not given.

    Returns a document ready for JSON.

    Raises:
        UserError: no store there, no such recording, or a stretch that it does not have.
    """
    store = open_store(root)
    rows = read_rows(store)
    if recording is not None:
        rows = rows_of_recording(rows, recording)
    shown = None
    if picture and rows:
        chosen = rows_of_recording(rows, recording)
        shown = draw_recording(store, chosen, at_s, seconds, out or Path(f"{chosen[0].recording}.png"))
    if recording is not None:
        return {**describe_recording(store, rows, sound_rows, model), "picture": shown}
    described = describe(store, rows, sound_rows, model)
    return {**described, "agreement": agreement_of(store).to_dict(), "picture": shown}


def describe_recording(
    store: Store, rows: Sequence[RowFacts], sound_rows: int | None = SOUND_ROWS, model: Listener | None = None
) -> dict[str, Any]:
    """What belongs to the recording that the rows are of; levels of at most `sound_rows` of them."""
    names = store.manifest.classes.names
    frames = np.sum([labels_of_classes(row.events, len(names)) for row in rows], axis=0).tolist()
    contents = _heard_and_seen(store, rows, sound_rows, model)
    return {
        "root": store.root,
        "recording": rows[0].recording,
        "split": rows[0].split,
        "seconds": sum(row.num_labels for row in rows) * LABEL_HOP_S,
        "has_video": any(row.has_video for row in rows),
        "model": None if model is None else model.uri,
        "rows": len(rows),
        "class_frames": {name: count for name, count in zip(names, frames, strict=True) if count},
        **contents,
        "far_levels": _far_levels({rows[0].recording: contents}, model),
    }


def _heard_and_seen(
    store: Store, rows: Sequence[RowFacts], sound_rows: int | None, model: Listener | None
) -> dict[str, Any]:
    """What is said alike of a split and of a recording."""
    return {
        "polyphony_frames": polyphony(rows),
        "elevation_deg": spread(np.concatenate([[], *(row.events.elevation_deg for row in rows)])),
        "distance_m": spread(np.concatenate([[], *(row.events.distance_cm / 100 for row in rows)])),
        **_sound(store, rows, sound_rows, model),
    }


def describe(
    store: Store,
    rows: Sequence[RowFacts],
    sound_rows: int | None = SOUND_ROWS,
    model: Listener | None = None,
) -> dict[str, Any]:
    """Everything but the picture; levels of at most `sound_rows` rows of each split, spread evenly over it."""
    manifest = store.manifest
    splits = {}
    for name in split_names(manifest):
        split = manifest.splits[name]
        own = [row for row in rows if row.split == name]
        splits[name] = {
            "clips": split.clips,
            "hours": split.hours,
            "rooms": list(split.rooms),
            "rows": sum(shard.rows for shard in split.shards),
            "bytes": sum(shard.bytes for shard in split.shards),
            "shards": [{"path": shard.path, "bytes": shard.bytes, "rows": shard.rows} for shard in split.shards],
            "without_video": sorted({row.recording for row in own if not row.has_video}),
            "class_frames": dict(zip(manifest.classes.names, split.class_frames, strict=True)),
            **_heard_and_seen(store, own, sound_rows, model),
        }
    return {
        "root": store.root,
        "source": manifest.source,
        "schema_version": manifest.schema_version,
        "manifest": manifest.sha256,
        "model": None if model is None else model.uri,
        "splits": splits,
        "far_levels": _far_levels(splits, model),
    }


def _far_levels(splits: Mapping[str, Any], model: Listener | None) -> list[str]:
    """What is to be said of splits that are far louder or softer than what a model was trained on."""
    if model is None:
        return []
    middle = {name: (split["above_training_db"] or {}).get("median") for name, split in splits.items()}
    return [remark for name, above_db in middle.items() if (remark := model.far_level(name, above_db))]


def polyphony(rows: Sequence[RowFacts]) -> list[int]:
    """Label frames with 0, 1, 2, ... events at a time."""
    counts = [np.bincount(row.events.frame, minlength=row.num_labels) for row in rows]
    return np.bincount(np.concatenate([np.zeros(0, np.int64), *counts])).tolist()


def spread(values: ArrayLike) -> dict[str, float] | None:
    """Smallest, median and largest of the values that are numbers; nothing where none is."""
    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    if not len(known):
        return None
    return {"min": float(known.min()), "median": float(np.median(known)), "max": float(known.max())}


def sound_levels(audio: NDArray[np.int16]) -> tuple[float, float, float]:
    """Of (4, N): RMS and peak of W in dB below full scale, and the share of samples of any channel at either end."""
    omni = audio[0].astype(np.float64) / FULL_SCALE
    clipped = (audio == np.iinfo(np.int16).max) | (audio == np.iinfo(np.int16).min)
    return _dbfs(np.sqrt(np.mean(omni**2))), _dbfs(np.abs(omni).max()), float(clipped.mean())


def _dbfs(amplitude: float) -> float:
    return max(SILENCE_DBFS, 20.0 * float(np.log10(max(amplitude, 1e-12))))


def _sound(store: Store, rows: Sequence[RowFacts], most: int | None, model: Listener | None) -> dict[str, Any]:
    """Levels of the rows' own stretches, over rows spread evenly."""
    count = len(rows) if most is None else min(most, len(rows))
    chosen = [rows[i] for i in np.linspace(0, len(rows) - 1, count).round().astype(int)] if count else []
    levels = []
    for row, content in read_whole(store, chosen, ["audio"]):
        audio = decode_flac(content["audio"])[:, : row.num_labels * SAMPLES_PER_LABEL]
        above_db = None if model is None else model.level_above_training_db((audio / FULL_SCALE).astype(np.float32))
        levels.append((*sound_levels(audio), np.nan if above_db is None else above_db))
    names = ("rms_dbfs", "peak_dbfs", "clipped_share", "above_training_db")
    columns = np.array(levels, dtype=np.float64).reshape(-1, len(names)).T
    return {"sound_rows": count, **{name: spread(column) for name, column in zip(names, columns, strict=True)}}


# --- the terminal -----------------------------------------------------------------------------------------------------


def show(document: Mapping[str, Any]) -> None:
    """Print the document as tables that fit the terminal, from 80 columns on."""
    from rich.console import Console

    console = Console(highlight=False)
    width = min(console.width, 110)
    say = partial(console.print, markup=False, soft_wrap=True)  # a path broken at the screen's edge cannot be copied
    if "recording" in document:
        _show_recording(document, console, width, say)
    else:
        _show_store(document, console, width, say)
    shown = document["picture"]
    if shown:
        stop_s = shown["start_s"] + shown["seconds"]
        say(f"{shown['recording']} ({shown['split']}), {shown['start_s']:.1f} to {stop_s:.1f} s: {shown['path']}")


def _show_recording(document: Mapping[str, Any], console: Console, width: int, say: Callable[[str], None]) -> None:
    name, video = document["recording"], "with video" if document["has_video"] else "without video"
    say(f"{document['root']}\n{name} ({document['split']}), {document['seconds']:.1f} s, {video}\n")
    at_once = [(str(n), frames) for n, frames in enumerate(document["polyphony_frames"])]
    for table in (
        _histogram("label frames", {name: list(document["class_frames"].items())}, width),
        _histogram("sources at a time", {name: at_once}, width),
        _spreads({name: document}),
    ):
        console.print(table)
        console.print()
    for remark in document["far_levels"]:
        say(remark)


def _show_store(document: Mapping[str, Any], console: Console, width: int, say: Callable[[str], None]) -> None:
    splits = document["splits"]
    identity = f"{document['source']}, schema {document['schema_version']}, manifest {document['manifest'][:12]}"
    say(f"{document['root']}\n{identity}\n")
    for table in (
        _overview(splits),
        _histogram(
            "label frames", {name: list(split["class_frames"].items()) for name, split in splits.items()}, width
        ),
        _histogram(
            "sources at a time",
            {name: [(str(n), f) for n, f in enumerate(split["polyphony_frames"])] for name, split in splits.items()},
            width,
        ),
        _spreads(splits),
    ):
        console.print(table)
        console.print()
    say(document["agreement"]["text"])
    for remark in document["far_levels"]:
        say(remark)
    if document["model"] and not any(split["above_training_db"] for split in splits.values()):
        say(f"{document['model']} does not go by how loud a recording is, or does not know what it was trained on")
    for name, split in splits.items():
        blind = split["without_video"]
        if blind:
            more = f" and {len(blind) - 5} more" if len(blind) > 5 else ""
            say(f"{name}: no video of {', '.join(blind[:5])}{more}")


def _table(*headings: str) -> Any:
    """A table whose first column holds names, the others numbers."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index else "left", no_wrap=True)
    return table


def _overview(splits: Mapping[str, Any]) -> Any:
    table = _table("split", "clips", "hours", "rooms", "rows", "shards", "MB", "MB a shard", "without video")
    for name, split in splits.items():
        sizes = [shard["bytes"] / 1e6 for shard in split["shards"]]
        table.add_row(
            name,
            f"{split['clips']:,}",
            f"{split['hours']:.2f}",
            str(len(split["rooms"])),
            f"{split['rows']:,}",
            f"{len(sizes):,}",
            f"{split['bytes'] / 1e6:,.0f}",
            f"{min(sizes):.0f} to {max(sizes):.0f}" if sizes else "-",
            str(len(split["without_video"])),
        )
    return table


def _histogram(title: str, counts: Mapping[str, list[tuple[str, int]]], width: int) -> Any:
    """One row a name, for each split a number and a bar that is as long as the split's largest number lets it be."""
    from rich.bar import Bar

    labels = list(dict.fromkeys(label for pairs in counts.values() for label, _ in pairs))
    table = _table(title)
    table.padding = (0, 1, 0, 0)
    first = max(map(len, [title, *labels]))
    digits = [max(len(name), *(len(f"{n:,}") for _, n in pairs), 1) for name, pairs in counts.items()]
    bar = max(4, min(20, (width - first - 1 - sum(digits)) // max(1, len(counts)) - 2))
    for name in counts:
        table.add_column(name, justify="right", no_wrap=True)
        table.add_column("", width=bar)
    for label in labels:
        cells: list[Any] = []
        for pairs in counts.values():
            number = dict(pairs).get(label, 0)
            cells += [
                f"{number:,}",
                Bar(max((n for _, n in pairs), default=0) or 1, 0, number, width=bar, color="cyan"),
            ]
        table.add_row(label, *cells)
    return table


SPREADS: dict[str, tuple[str, Callable[[float], str]]] = {
    "rms_dbfs": ("RMS of W, dBFS", "{:z.0f}".format),
    "peak_dbfs": ("peak of W, dBFS", "{:z.0f}".format),
    "above_training_db": ("above training, dB", "{:z.0f}".format),
    "clipped_share": ("clipped, per 1,000", lambda share: f"{1000 * share:.2g}"),
    "elevation_deg": ("elevation, deg", "{:z.0f}".format),
    "distance_m": ("distance, m", "{:.1f}".format),
}


def _spreads(splits: Mapping[str, Any]) -> Any:
    table = _table("least / median / most", *splits)
    measured = (f"{split['sound_rows']} of {split['rows']}" for split in splits.values())
    table.add_row("rows listened to", *measured)
    for key, (title, text) in SPREADS.items():
        if key == "above_training_db" and not any(split[key] for split in splits.values()):
            continue  # no model was asked, or one that does not mind
        cells = []
        for split in splits.values():
            found = split[key]
            cells.append(" / ".join(text(found[part]) for part in ("min", "median", "max")) if found else "unknown")
        table.add_row(title, *cells)
    return table
