"""Rows of the chunk store: stretches of a recording, long enough to cut every window that starts in them.

A raw row (`RawRow`) has the fields of `ROW_SCHEMA`: `audio` is FLAC (16 bit, W, Y, Z, X, 24 kHz),
`frames` are JPEG pictures 448 x 224 at `frame_rate_hz` from the row's start, as far as the video goes, `events` dicts
of the columns of `labels.Events` with label frames counted from the row's start. The row owns `num_frames` label
frames; audio, pictures and events go on for a tail of up to 2.5 s, so that a 3 s window at any 0.5 s hop can be cut
from one row. (The store's columns keep DCASE's "frame"; `data.timing` has the three words of the code.)

In a shard each row is a row group of its own, pictures last: one contiguous read fetches a row, or all of it but the
pictures.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypedDict, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data.classes import STARSS23
from data.labels import Events, labels_of_classes
from data.timing import LABEL_RATE_HZ, PICTURE_RATE_HZ, RATE_HZ, SAMPLES_PER_LABEL, stretches

PICTURE_WIDTH, PICTURE_HEIGHT = 448, 224
MAX_POLYPHONY = 5

_EVENT = pa.struct(
    [
        ("frame", pa.int32()),
        ("class_index", pa.int32()),
        ("source", pa.int32()),
        ("azimuth_deg", pa.float64()),
        ("elevation_deg", pa.float64()),
        ("distance_cm", pa.float64()),
    ]
)
ROW_SCHEMA = pa.schema(
    [
        ("recording", pa.string()),
        ("room", pa.string()),
        ("start_frame", pa.int32()),
        ("num_frames", pa.int32()),
        ("num_samples", pa.int64()),
        ("has_video", pa.bool_()),
        ("frame_rate_hz", pa.float64()),
        ("events", pa.list_(_EVENT)),
        ("audio", pa.binary()),
        ("frames", pa.list_(pa.binary())),
    ]
)
HEARD = [name for name in ROW_SCHEMA.names if name != "frames"]
"""Columns of a row without its pictures."""


class StoredEvent(TypedDict):
    """A row of `data.labels.Events`."""

    frame: int
    """Label frame, counted from the row's start."""
    class_index: int
    source: int
    azimuth_deg: float
    elevation_deg: float
    distance_cm: float


class RawRow(TypedDict):
    """A row as `ROW_SCHEMA` has it. Whoever reads only some columns gets a row of those alone."""

    recording: str
    room: str
    start_frame: int
    """Label frame of the recording at which the row begins."""
    num_frames: int
    """Label frames that the row owns."""
    num_samples: int
    """With the tail."""
    has_video: bool
    frame_rate_hz: float
    """Of the pictures."""
    events: list[StoredEvent]
    audio: bytes
    frames: list[bytes]
    """Pictures."""


def cut_rows(
    recording: str,
    room: str,
    audio: NDArray[np.int16],
    events: Events,
    pictures: Sequence[bytes] = (),
    picture_rate_hz: float = PICTURE_RATE_HZ,
) -> list[RawRow]:
    """Cut one recording into raw rows.

    `audio` is (4, N) int16 at 24 kHz, `pictures` its JPEG pictures at `picture_rate_hz` from time 0 (none: no video). A
    row that the video does not reach has none. What does not fill a label frame at the end of the audio is dropped,
    and with it the events and pictures past the end.
    """
    total = audio.shape[1] // SAMPLES_PER_LABEL
    rows: list[RawRow] = []
    for start, own_stop, stop in stretches(total):
        piece = audio[:, start * SAMPLES_PER_LABEL : stop * SAMPLES_PER_LABEL]
        first, last = (round(label * picture_rate_hz / LABEL_RATE_HZ) for label in (start, stop))
        seen = list(pictures[first:last])
        rows.append(
            {
                "recording": recording,
                "room": room,
                "start_frame": start,
                "num_frames": own_stop - start,
                "num_samples": piece.shape[1],
                "has_video": bool(seen),
                "frame_rate_hz": picture_rate_hz,
                "events": event_dicts(events.between(start, stop)),
                "audio": encode_flac(piece),
                "frames": seen,
            }
        )
    return rows


def event_dicts(events: Events) -> list[StoredEvent]:
    """A table as the store's list of structs."""
    names = [field.name for field in fields(Events)]
    rows = zip(*(c.tolist() for c in events.columns()), strict=True)
    return [cast(StoredEvent, dict(zip(names, row, strict=True))) for row in rows]


def row_events(row: RawRow) -> Events:
    """The events of a raw row as a table, tail included."""
    events = cast(list[dict[str, Any]], row["events"])
    return Events.build(*([event[field.name] for event in events] for field in fields(Events)))


def labels_per_class(rows: Sequence[RawRow], num_classes: int = len(STARSS23)) -> list[int]:
    """Per class, label frames of the rows' own stretch with at least one such event."""
    counts = np.zeros(num_classes, dtype=np.int64)
    for row in rows:
        own = row_events(row).between(0, row["num_frames"])
        counts += labels_of_classes(own, num_classes)
    return counts.tolist()


def polyphony(rows: Sequence[RawRow]) -> list[int]:
    """Label frames of the rows' own stretch with 0, 1, ... `MAX_POLYPHONY` events at once; the last counts more too."""
    counts = np.zeros(MAX_POLYPHONY + 1, dtype=np.int64)
    for row in rows:
        own = row_events(row).between(0, row["num_frames"])
        at_once = np.bincount(own.frame, minlength=row["num_frames"])
        counts += np.bincount(np.minimum(at_once, MAX_POLYPHONY), minlength=MAX_POLYPHONY + 1)
    return counts.tolist()


def encode_flac(audio: NDArray[np.int16]) -> bytes:
    """Audio (channels, N) int16 at 24 kHz -> FLAC."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, audio.T, RATE_HZ, format="FLAC", subtype="PCM_16", compression_level=0.4)
    return buffer.getvalue()


def decode_flac(content: bytes, start: int = 0, stop: int | None = None) -> NDArray[np.int16]:
    """Inverse of `encode_flac`, of the samples from `start` to before `stop`, as far as there are."""
    import soundfile

    audio, _ = soundfile.read(io.BytesIO(content), start=start, stop=stop, dtype="int16", always_2d=True)
    return np.ascontiguousarray(audio.T)


def encode_shard(rows: Sequence[RawRow]) -> bytes:
    """Raw rows -> one parquet file, one row group a row. The same rows give the same bytes."""
    table = pa.Table.from_pylist(list(rows), schema=ROW_SCHEMA)
    sink = io.BytesIO()
    # Sound and pictures are compressed already; the dictionary keeps a picture that repeats once. Each page carries a
    # checksum, so that a part of the file can be trusted without the whole.
    pq.write_table(
        table,
        sink,
        row_group_size=1,
        compression="NONE",
        use_dictionary=["frames.list.element"],
        dictionary_pagesize_limit=1 << 26,
        write_statistics=False,
        write_page_checksum=True,
    )
    return sink.getvalue()


def decode_shard(file: Any, columns: list[str] | None = None, rows: Sequence[int] | None = None) -> list[RawRow]:
    """A parquet file (anything seekable) -> raw rows: all of them or those numbered, of all columns or of those named.

    Only what is asked for is read. OSError where a page is damaged.
    """
    parquet = pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=True)
    wanted = range(parquet.num_row_groups) if rows is None else rows
    return parquet.read_row_groups(list(wanted), columns=columns, use_threads=False).to_pylist()
