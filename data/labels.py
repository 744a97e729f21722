"""Event tables, their csv form, and the ADPIT training target.

A label frame is 0.1 s. One row of a table says: in this frame, this class sounds from this direction. Rows keep their
file order, which decides which three events of one class become tracks when there are more.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.classes import NUM_CLASSES
from data.errors import UserError
from data.geometry import unit_vector

LABEL_HOP_S = 0.1
LABEL_RATE_HZ = 10

# Tracks of one class that a target can hold, and the six dummy tracks A0 B0 B1 C0 C1 C2 they are spread over.
MAX_TRACKS = 3
NUM_DUMMY_TRACKS = 6
# Activity, x, y, z, distance.
NUM_TARGET_AXES = 5


@dataclass(frozen=True, eq=False)
class Events:
    """Columns of equal length: one row per event and label frame. `distance_cm` is NaN where nobody measured it."""

    frame: NDArray[np.int64]
    class_index: NDArray[np.int64]
    source: NDArray[np.int64]
    azimuth_deg: NDArray[np.float64]
    elevation_deg: NDArray[np.float64]
    distance_cm: NDArray[np.float64]

    @classmethod
    def build(
        cls,
        frame: ArrayLike = (),
        class_index: ArrayLike = (),
        source: ArrayLike = (),
        azimuth_deg: ArrayLike = (),
        elevation_deg: ArrayLike = (),
        distance_cm: ArrayLike | None = None,
    ) -> Events:
        """A table from anything array-like; with no arguments an empty one."""
        frames = np.asarray(frame, dtype=np.int64)
        if distance_cm is None:
            distance_cm = np.full(len(frames), np.nan)
        table = cls(
            frames,
            np.asarray(class_index, dtype=np.int64),
            np.asarray(source, dtype=np.int64),
            np.asarray(azimuth_deg, dtype=np.float64),
            np.asarray(elevation_deg, dtype=np.float64),
            np.asarray(distance_cm, dtype=np.float64),
        )
        assert {len(column) for column in table.columns()} == {len(table)}, "columns differ in length"
        return table

    def __len__(self) -> int:
        return len(self.frame)

    def columns(self) -> tuple[NDArray, ...]:
        return tuple(getattr(self, field.name) for field in fields(self))

    def select(self, rows: NDArray) -> Events:
        """The rows of a boolean mask or an index array."""
        return Events(*(column[rows] for column in self.columns()))

    def between(self, start_frame: int, stop_frame: int) -> Events:
        """The rows of frames [start, stop), with frames counted from `start_frame`."""
        chosen = self.select((self.frame >= start_frame) & (self.frame < stop_frame))
        return Events(chosen.frame - start_frame, *chosen.columns()[1:])


def read_events_csv(path: str | os.PathLike[str], drop_duplicates: bool = True) -> Events:
    """Read STARSS metadata from a local file; see `parse_events_csv`."""
    path = os.fspath(path)
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise UserError(f"cannot read the label file {path}: {error}") from error
    return parse_events_csv(content, path, drop_duplicates)[0]


def parse_events_csv(content: bytes, where: str, drop_duplicates: bool = True) -> tuple[Events, dict[str, int]]:
    """STARSS metadata: rows `frame, class, source, azimuth, elevation[, distance in cm]`, no header.

    Accepts 5 or 6 columns, angles with decimals, an empty file, blank lines, CRLF, a byte order mark and a missing last
    newline; exact duplicates of a row are dropped unless `drop_duplicates` is false. What is unusual is counted beside
    the table: what it is -> how often. Raises UserError with file and line for anything else, such as text, a class
    outside 0..12, a negative frame, or angles outside [-180, 180] and [-90, 90].
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"cannot read the label file {where}: {error}") from error
    lines = text.splitlines()
    rows = [_parse_row(line, f"{where}:{number}") for number, line in enumerate(lines, 1) if line.strip()]
    # NaN differs from itself, so that an unknown distance needs another stand-in to be compared.
    unique = {tuple(-1.0 if math.isnan(value) else value for value in row): row for row in rows}
    notes = {
        "csv without rows": int(not rows),
        "csv without distances": int(bool(rows) and all(math.isnan(row[5]) for row in rows)),
        "csv with a byte order mark": int(content.startswith(b"\xef\xbb\xbf")),
        "csv with CRLF": int(b"\r\n" in content),
        "csv without a last newline": int(bool(text) and not text.endswith("\n")),
        "rows with decimals in their angles": sum(row[3] % 1 != 0 or row[4] % 1 != 0 for row in rows),
        "exact duplicate rows dropped": len(rows) - len(unique) if drop_duplicates else 0,
    }
    kept = list(unique.values()) if drop_duplicates else rows
    events = Events.build(*zip(*kept, strict=True)) if kept else Events.build()
    cells = np.unique(events.frame * NUM_CLASSES + events.class_index, return_counts=True)[1]
    notes["frames with more than three events of one class"] = int((cells > MAX_TRACKS).sum())
    notes["frames with five events or more"] = int((np.unique(events.frame, return_counts=True)[1] >= 5).sum())
    return events, {what: count for what, count in notes.items() if count}


def _parse_row(line: str, where: str) -> tuple[int, int, int, float, float, float]:
    cells = line.split(",")
    if len(cells) not in (5, 6):
        raise UserError(
            f"{where}: expected 5 or 6 columns (frame, class, source, azimuth, elevation[, distance]), "
            f"got {len(cells)}: {line.strip()!r}"
        )
    try:
        frame, class_index, source = (int(cell) for cell in cells[:3])
        azimuth, elevation = float(cells[3]), float(cells[4])
        distance = float(cells[5]) if len(cells) == 6 and cells[5].strip() else math.nan
    except ValueError as error:
        raise UserError(f"{where}: expected numbers, got {line.strip()!r}") from error
    if not 0 <= class_index < NUM_CLASSES:
        raise UserError(f"{where}: class {class_index} is unknown; STARSS23 has classes 0..{NUM_CLASSES - 1}")
    if frame < 0:
        raise UserError(f"{where}: frame {frame} is negative; frames count from 0 in steps of 0.1 s")
    if not (-180 <= azimuth <= 180 and -90 <= elevation <= 90):
        raise UserError(
            f"{where}: azimuth {azimuth:g}, elevation {elevation:g} out of range; "
            "degrees in [-180, 180] and [-90, 90] are expected"
        )
    return frame, class_index, source, azimuth, elevation, distance


def write_events_csv(path: str | os.PathLike[str], events: Events) -> None:
    """Write a table as `read_events_csv` reads it: whole degrees, and the distance column when all rows have one."""
    with_distance = bool(len(events)) and not np.isnan(events.distance_cm).any()
    columns = events.columns() if with_distance else events.columns()[:5]
    table = np.stack([np.rint(column).astype(np.int64) for column in columns], axis=1)
    with open(path, "w", encoding="ascii", newline="") as file:
        file.writelines(",".join(map(str, row)) + "\n" for row in table.tolist())


def adpit_target(events: Events, num_frames: int) -> NDArray[np.float32]:
    """The target of auxiliary duplicating permutation invariant training, (num_frames, 6, 5, 13) float32.

    Axis 1: dummy tracks A0 (one event of the class), B0 B1 (two), C0 C1 C2 (three; of more, the first three in file
    order). Axis 2: activity, x, y, z, distance in metres (0 where unknown). Rows past `num_frames` are left out.

    Source: Shimada et al., "Multi-ACCDOA: localizing and detecting overlapping sounds from the same class with
    auxiliary duplicating permutation invariant training" (ICASSP 2022), section 3.
    """
    target = np.zeros((num_frames, NUM_DUMMY_TRACKS, NUM_TARGET_AXES, NUM_CLASSES), dtype=np.float32)
    events = events.select((events.frame >= 0) & (events.frame < num_frames))
    if not len(events):
        return target
    cell = events.frame * NUM_CLASSES + events.class_index
    order = np.argsort(cell, kind="stable")
    events, cell = events.select(order), cell[order]
    _, first, inverse, counts = np.unique(cell, return_index=True, return_inverse=True, return_counts=True)
    rank = np.arange(len(cell)) - first[inverse]
    tracks = np.minimum(counts[inverse], MAX_TRACKS)
    kept = rank < MAX_TRACKS
    # One event starts at dummy track 0, two at 1, three at 3.
    dummy = (tracks * (tracks - 1) // 2 + rank)[kept]
    frame, class_index = events.frame[kept], events.class_index[kept]
    target[frame, dummy, 0, class_index] = 1.0
    vectors = unit_vector(events.azimuth_deg[kept], events.elevation_deg[kept])
    for axis in range(3):
        target[frame, dummy, 1 + axis, class_index] = vectors[:, axis]
    target[frame, dummy, 4, class_index] = np.nan_to_num(events.distance_cm[kept]) / 100.0
    return target
