"""The csv files of DCASE's labels and predictions, in any form that its tools have written since 2020.

Nothing in a file says which form it has, and its columns alone do not tell: the values have to. Whoever reads labels
reads them here: taking a data set in, comparing a prediction with the truth, and scoring folders.
"""

from __future__ import annotations

import csv
import io
import logging
import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.errors import UserError
from data.files.angle_unit import like_radians
from data.files.class_map import DEFAULT_CLASSES, DROPPED, UNKNOWN, ClassMap
from data.files.csv_layouts import LAYOUTS, FloatArray, Layout, choose_layout
from data.files.distance_unit import unit_of
from data.geometry import angles_deg, wrap_azimuth_deg
from data.labels import MAX_TRACKS, Events, cells_of
from data.timing import LABEL_HOP_S

logger = logging.getLogger(f"seldtune.{__name__}")

# Directions of labels have a length of 1 but for their rounding; those of predictions may have any.
_ROUNDED = 0.02
_FEWEST_COLUMNS = 4
_SMALL_ANGLES = "csv with angles no larger than radians are"
_HEADER_NAMES = ("frame", "class", "azimuth")
_OTHER_SIGNS = re.compile(r"\d\"?\s*[;\t]|\"\d")
_LONGEST_LINE = 10_000
_MOST_SHOWN = 100
"""Characters of a line, for messages; a page of the web may be of one line."""
_LARGEST_WHOLE = 2.0**53
_CLASS_COLUMN = 1
_POLAR_COLUMNS = {len(layout.names) for layout in LAYOUTS if layout.form == "polar"}


@dataclass(frozen=True, eq=False)
class Table:
    """The numbers of one file."""

    where: str
    """The file, for messages."""
    text: str
    values: FloatArray
    """(rows, columns)."""
    classes: ClassMap
    """What its numbers of classes mean."""

    def __len__(self) -> int:
        return len(self.values)

    @property
    def columns(self) -> int:
        return self.values.shape[1]

    @property
    def has_header(self) -> bool:
        return _is_header(self.text.lstrip().partition("\n")[0], self.where)

    @property
    def class_index(self) -> NDArray[np.int64]:
        """The class of each row (`ClassMap.of_numbers`)."""
        return self.classes.of_numbers(self.values[:, _CLASS_COLUMN])


def read_events_csv(
    path: str | os.PathLike[str], drop_duplicates: bool = True, classes: ClassMap = DEFAULT_CLASSES
) -> Events:
    """Read labels from a local file; see `parse_events_csv`."""
    path = os.fspath(path)
    events, notes = parse_events_csv(_read_bytes(path), path, drop_duplicates, classes)
    if _SMALL_ANGLES in notes:
        logger.warning("%s: angles are no larger than radians are; are they degrees?", path)
    return events


def parse_events_csv(
    content: bytes, where: str, drop_duplicates: bool = True, classes: ClassMap = DEFAULT_CLASSES
) -> tuple[Events, dict[str, int]]:
    """Labels of one recording: rows `frame, class, source, azimuth, elevation[, distance in cm or m]`.

    Takes all that `parse_table` takes, rows without a source (it is 0) and directions as vectors of length 1. Azimuths
    beyond 180 degrees are brought within. Exact duplicates of a row are dropped unless `drop_duplicates` is false. What
    is unusual is counted beside the table: what it is -> how often.

    Args:
        classes: what the numbers, or names, of classes mean; rows of a class that is dropped are left out.

    Raises:
        UserError: with file and line, for anything else, such as text, a class that is unknown, a negative frame, an
            azimuth outside [-360, 360], an elevation outside [-90, 90] or a negative distance.
    """
    table = parse_table(content, where, classes)
    layout = _layout_of_labels(table) if len(table) else LAYOUTS[0]
    check(table, layout, measured=True)
    place = table.values[:, layout.place :]
    known = ~np.isnan(place[:, -1])
    in_metres = layout.has_distance and bool((place[known, -1] > 0).any()) and unit_of(place[:, -1]) == "m"
    if in_metres:
        place[:, -1] *= 100.0
    is_polar = layout.form == "polar"
    unique = _unique_rows(table.values)
    notes = {
        "csv without rows": int(not len(table)),
        "csv without distances": int(bool(len(table)) and not (layout.has_distance and known.any())),
        "csv with distances in metres, taken times 100": int(in_metres),
        "csv without sources": int(bool(len(table)) and "source" not in layout.names),
        "csv with vectors in place of angles": int(not is_polar),
        "csv with a header": int(table.has_header),
        "csv with a byte order mark": int(content.startswith(b"\xef\xbb\xbf")),
        "csv with CRLF": int(b"\r\n" in content),
        "csv without a last newline": int(bool(table.text) and not content.endswith(b"\n")),
        "rows with decimals in their angles": int((place[:, :2] % 1 != 0).any(axis=1).sum()) if is_polar else 0,
        _SMALL_ANGLES: int(is_polar and any(like_radians(place[:, :2]))),
        "rows with an azimuth beyond 180 degrees": int((np.abs(place[:, 0]) > 180).sum()) if is_polar else 0,
        "exact duplicate rows dropped": len(table) - len(unique) if drop_duplicates else 0,
    }
    events = _events(table, layout)
    kept = events.class_index != DROPPED
    notes["rows of classes that are left out"] = int((~kept).sum())
    if drop_duplicates:
        kept &= np.isin(np.arange(len(table)), unique)
    events = events.select(kept)
    cells = np.unique(cells_of(events), return_counts=True)[1]
    notes["frames with more than three events of one class"] = int((cells > MAX_TRACKS).sum())
    notes["frames with five events or more"] = int((np.unique(events.frame, return_counts=True)[1] >= 5).sum())
    return events, {what: count for what, count in notes.items() if count}


def write_events_csv(path: str | os.PathLike[str], events: Events) -> None:
    """Write a table as `read_events_csv` reads it: whole degrees, and the distance column when all rows have one."""
    with_distance = bool(len(events)) and not np.isnan(events.distance_cm).any()
    columns = events.columns() if with_distance else events.columns()[:5]
    table = np.stack([np.rint(column).astype(np.int64) for column in columns], axis=1)
    with open(path, "w", encoding="ascii", newline="") as file:
        file.writelines(",".join(map(str, row)) + "\n" for row in table.tolist())


def read_table(path: Path, classes: ClassMap = DEFAULT_CLASSES) -> Table:
    """Read the numbers of a local file; see `parse_table`."""
    return parse_table(_read_bytes(path), str(path), classes)


def _read_bytes(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the label file {path}: {error}") from error


def parse_table(content: bytes, where: str, classes: ClassMap = DEFAULT_CLASSES) -> Table:
    """The numbers of a csv file.

    Takes an empty file, blank lines, CRLF, a byte order mark, a missing last newline, a first line of names, whole
    numbers written with decimals, names in place of the numbers of classes, and rows with and without a distance in one
    file.

    Raises:
        UserError: with file and line, for what is no number and for rows of different length.
    """
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise UserError(f"cannot read the label file {where}: {error}") from error
    return _numbers(text, where, classes)


def _numbers(text: str, where: str, classes: ClassMap) -> Table:
    first, _, rest = text.lstrip().partition("\n")
    body = rest if _is_header(first, where) else text
    if not body.strip():
        # Of a server's page too, a line may be of several cells without a number.
        if body is not text and not any(
            cell.strip('"#[ ').startswith(_HEADER_NAMES) for cell in first.lower().split(",")
        ):
            raise UserError(_no_numbers(first, where, 1))
        return Table(where, text, np.zeros((0, _FEWEST_COLUMNS)), classes)
    columns = body.lstrip().partition("\n")[0].count(",") + 1
    # Whole numbers are read several times faster than others.
    whole = 3 if columns > 5 else 2
    dtype = [("whole", np.int64, (whole,)), ("real", np.float64, (max(columns - whole, 1),))]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)
            if "." not in body:
                whole_numbers = np.loadtxt(io.StringIO(body), np.int64, comments=None, delimiter=",", ndmin=2)
                return Table(where, text, whole_numbers.astype(np.float64), classes)
            rows = np.loadtxt(io.StringIO(body), dtype, comments=None, delimiter=",", ndmin=1)
            return Table(where, text, np.hstack((rows["whole"], rows["real"])), classes)
    except (ValueError, DeprecationWarning):
        return _read_line_by_line(text, where, classes)


def _read_line_by_line(text: str, where: str, classes: ClassMap) -> Table:
    """For the rare file that the fast way does not take: it is read with more patience, or its fault is named."""
    rows: list[list[float]] = []
    lines = list(_lines(text, where))
    has_names = any(_is_word((*line.split(",", 2), "")[_CLASS_COLUMN]) for _, line in lines)
    named = classes.of_names if has_names else None
    for number, line in lines:
        # Names of classes may hold commas, and are in quotes then.
        cells = line.split(",") if named is None or '"' not in line else next(csv.reader([line[:_LONGEST_LINE]]))
        columns = len(rows[0]) if rows else len(cells)
        if len(cells) != columns and {len(cells), columns} != {5, 6}:
            raise UserError(f"{where}:{number}: expected {columns} columns as in the lines before, got {len(cells)}")
        # Metadata may leave the distance empty.
        if len(cells) == 6 and not cells[-1].strip():
            cells[-1] = "nan"
        if named is not None and len(cells) > _CLASS_COLUMN:
            name = cells[_CLASS_COLUMN].strip()
            if (found := classes.number_of(name)) is None:
                unknown = classes.classes.unknown(name) if _is_word(name) else f"class {name} is unknown"
                raise UserError(f"{where}:{number}: {unknown}; {classes.said()}")
            cells[_CLASS_COLUMN] = str(found)
        try:
            rows.append([_number(cell) for cell in cells])
        except ValueError as error:
            raise UserError(_no_numbers(line, where, number)) from error
    # It may leave it out in some rows, too.
    most = max(map(len, rows))
    values = np.array([row + [np.nan] * (most - len(row)) for row in rows])
    return Table(where, text, values, named or classes)


def _is_word(cell: str) -> bool:
    return any(sign.isalpha() for sign in cell) and not _is_number(cell)


def _no_numbers(line: str, where: str, number: int) -> str:
    fix = (
        "; write plain numbers with commas between columns and points in decimals" if _OTHER_SIGNS.search(line) else ""
    )
    return f"{where}:{number}: expected numbers, got {line.strip()[:_MOST_SHOWN]!r}{fix}"


def _number(cell: str) -> float:
    if "_" in cell:  # which Python takes for a thousands separator
        raise ValueError(cell)
    return float(cell)


def _lines(text: str, where: str) -> Iterator[tuple[int, str]]:
    """The lines that hold rows, with their numbers."""
    filled = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    yield from filled[1:] if filled and _is_header(filled[0][1], where) else filled


def _is_header(line: str, where: str) -> bool:
    """Whether a first line names columns. One of fewer cells than rows have is a fault, such as a server's sentence."""
    cells = [cell.strip().strip('"').lower() for cell in line.split(",")]
    if "onscreen" in cells:
        raise UserError(f"{where} has the stereo form of DCASE 2025, without elevation; its scores are not known here")
    return len(cells) >= _FEWEST_COLUMNS and not any(_is_number(cell) or not cell for cell in cells)


def _is_number(cell: str) -> bool:
    try:
        _number(cell)
    except ValueError:
        return False
    return True


def _layout_of_labels(table: Table) -> Layout:
    """The layout of one file of labels: polar, as data sets have them, unless all of it are vectors of length 1."""
    layout = choose_layout(table.values, "auto", "polar", table.where)
    if layout.form == "cartesian":
        length = np.linalg.norm(table.values[:, layout.place : layout.place + 3], axis=1)
        if not (np.abs(length - 1) <= _ROUNDED).all() and table.columns in _POLAR_COLUMNS:
            return choose_layout(table.values, "polar", "polar", table.where)
    return layout


def check(table: Table, layout: Layout, longest: int | None = None, *, measured: bool = False) -> None:
    """Look for rows that are no events.

    Args:
        longest: label frames that a recording may have at most; None: any number.
        measured: distances were measured, and not predicted by whatever system.

    Raises:
        UserError: with file and line.
    """
    whole, place = table.values[:, : layout.place], table.values[:, layout.place :]
    frame = whole[:, 0]
    direction = place[:, :2] if layout.form == "polar" else place[:, :3]
    faults = {
        "expected finite numbers": ~np.isfinite(np.column_stack((whole, direction))).all(axis=1),
        f"{', '.join(layout.names[: layout.place])} have to be whole numbers": (
            (whole != np.rint(whole)) | (np.abs(whole) > _LARGEST_WHOLE)
        ).any(axis=1),
        "frame {frame:g} is negative: frames count from 0 in steps of 0.1 s": frame < 0,
        f"class {{class:g}} is unknown: {table.classes.said()}": table.class_index == UNKNOWN,
    }
    if layout.form == "polar":
        outside = (np.abs(place[:, 0]) > 360) | (np.abs(place[:, 1]) > 90)
        rule = "degrees are expected, azimuth within +-360 and elevation within +-90"
        faults["azimuth {azimuth:g}, elevation {elevation:g} out of range: " + rule] = outside
    else:
        faults["a vector of length 0 has no direction"] = (direction == 0).all(axis=1)
    if measured and layout.has_distance:
        faults["distance {distance:g} is negative: centimetres are expected"] = place[:, -1] < 0
    if longest is not None:
        faults[f"a recording is at most {longest * LABEL_HOP_S / 3600:g} h long"] = whole[:, 0] >= longest
    for fault, rows in faults.items():
        if rows.any():
            first = int(rows.argmax())
            number, line = list(_lines(table.text, table.where))[first]
            what = fault.format(**dict(zip(layout.names, table.values[first].tolist(), strict=True)))
            raise UserError(f"{table.where}:{number}: {what}; got {line.strip()!r}, read as {layout}")


def _unique_rows(values: FloatArray) -> list[int]:
    """The numbers of the rows, each of several equal ones once, in the order of the file."""
    # NaN differs from itself, so that an unknown distance needs another stand-in to be compared.
    rows = np.nan_to_num(values, nan=-1.0).tolist()
    return list({tuple(row): number for number, row in enumerate(rows)}.values())


def _events(table: Table, layout: Layout) -> Events:
    """Rows as a table: azimuths within [-180, 180], source 0 where there is none; some may be of class `DROPPED`."""
    whole, place = table.values[:, : layout.place].astype(np.int64), table.values[:, layout.place :]
    azimuth, elevation = (place[:, 0], place[:, 1]) if layout.form == "polar" else angles_deg(place[:, :3])
    azimuth = np.where(np.abs(azimuth) > 180, wrap_azimuth_deg(azimuth), azimuth)
    source = whole[:, 2] if "source" in layout.names else np.zeros(len(whole), np.int64)
    distance_cm = place[:, -1] if layout.has_distance else None
    return Events.build(whole[:, 0], table.class_index, source, azimuth, elevation, distance_cm)
