"""Folders of label files, in any form that the tools of DCASE have written since 2020.

Nothing in a file says which form it has, and its columns alone do not tell. What a folder holds is decided from all
its files together, so that a file of three rows is not misread.
"""

from __future__ import annotations

import fnmatch
import io
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data.classes import NUM_CLASSES
from data.errors import UserError
from data.geometry import unit_vector
from data.labels import LABEL_RATE_HZ

Form = Literal["auto", "polar", "cartesian"]
Unit = Literal["auto", "m", "cm"]
FloatArray = NDArray[np.float64]

LONGEST_FRAMES = 24 * 3600 * LABEL_RATE_HZ
# The components of a vector of activity and direction hardly exceed 1 and never 10; angles in degrees mostly do.
_USUAL_COMPONENT, _LONGEST_COMPONENT = 2.0, 10.0
# Sources are nearer than 20 m and further off than 20 cm.
_CM_FROM_MEDIAN = 20.0


@dataclass(frozen=True)
class Layout:
    """What the columns of a form are."""

    form: Literal["polar", "cartesian"]
    names: tuple[str, ...]

    @property
    def place(self) -> int:
        """The column where the direction begins; before it are whole numbers."""
        return self.names.index("azimuth" if self.form == "polar" else "x")

    @property
    def has_distance(self) -> bool:
        return "distance" in self.names

    def __str__(self) -> str:
        return f"{self.form} ({', '.join(self.names)})"


LAYOUTS = (
    Layout("polar", ("frame", "class", "azimuth", "elevation")),
    Layout("polar", ("frame", "class", "source", "azimuth", "elevation")),
    Layout("polar", ("frame", "class", "source", "azimuth", "elevation", "distance")),
    Layout("cartesian", ("frame", "class", "x", "y", "z")),
    Layout("cartesian", ("frame", "class", "source", "x", "y", "z")),
    Layout("cartesian", ("frame", "class", "source", "x", "y", "z", "distance")),
)


@dataclass(frozen=True, eq=False)
class LocatedEvents:
    """The events of one recording as the scores take them, whichever form they were written in."""

    frame: NDArray[np.int64]
    class_index: NDArray[np.int64]
    vector: FloatArray
    """(n, 3): x, y, z, of any length but zero."""
    distance_m: FloatArray | None

    def __len__(self) -> int:
        return len(self.frame)


@dataclass(frozen=True, eq=False)
class LabelFolder:
    """Recordings by name, and how their files were read; None where all of them are empty."""

    recordings: dict[str, LocatedEvents]
    form: str | None
    columns: list[int]
    distance_unit: str | None


def find_recordings(folder: Path, pattern: str = "*") -> dict[str, Path]:
    """The csv files in a tree, by recording: the file's name without `.csv` and without `.prediction`.

    Raises:
        UserError: no such folder, no file of that pattern, or two files of one recording.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; give one that holds a csv file for each recording")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.csv")):
        name = path.stem.removesuffix(".prediction")
        if path.name.startswith(".") or not fnmatch.fnmatchcase(name, pattern):
            continue
        if name in found:
            raise UserError(f"{folder} holds {name} twice, as {found[name]} and as {path}; give the folder of one")
        found[name] = path
    if not found:
        which = "csv file" if pattern == "*" else f"csv file of a recording named {pattern}"
        raise UserError(f"{folder} holds no {which}, and no folder below it does")
    return dict(sorted(found.items()))


def read_folder(
    files: Mapping[str, Path], form: Form = "auto", unit: Unit = "auto", fallback: Form = "auto"
) -> LabelFolder:
    """Read the files that `find_recordings` found. Rows stay as they are, also those that are there twice.

    Args:
        form: of the rows; `auto`: as their values show.
        unit: of distances; `auto`: cm where their median is over 20.
        fallback: the form where values would do for both.

    Raises:
        UserError: a file or line that is not what it should be, or a form that values do not show.
    """
    tables = {name: read_numbers(path) for name, path in files.items()}
    filled = {name: table for name, table in tables.items() if len(table)}
    by_columns: dict[int, list[str]] = {}
    for name, table in filled.items():
        by_columns.setdefault(table.shape[1], []).append(name)
    layouts: dict[int, Layout] = {}
    for columns, names in by_columns.items():
        values = np.concatenate([filled[name] for name in names])
        layouts[columns] = _layout(values, form, fallback, files[names[0]])
    if len({layout.form for layout in layouts.values()}) > 1:
        seen = "; ".join(f"{files[by_columns[c][0]]} is {layout}" for c, layout in layouts.items())
        raise UserError(f"one folder holds two forms: {seen}; put them into folders of their own")
    for name, table in filled.items():
        _check(table, layouts[table.shape[1]], files[name])

    distances = [table[:, -1] for table in filled.values() if layouts[table.shape[1]].has_distance]
    found_unit: Unit | None = None
    if distances:
        found_unit = unit if unit != "auto" else _unit(np.concatenate(distances))
    recordings = {}
    for name, table in tables.items():
        recordings[name] = _located(table, layouts[table.shape[1]], found_unit) if len(table) else _no_events()
    shown = next(iter(layouts.values())).form if layouts else None
    return LabelFolder(recordings, shown, sorted(by_columns), found_unit)


def read_numbers(path: Path) -> FloatArray:
    """A csv file of numbers, (rows, columns); (0, 0) for an empty one. A first line of names is skipped.

    Raises:
        UserError: with file and line, for what is no number and for rows of different length.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the label file {path}: {error}") from error
    first, _, rest = text.lstrip().partition("\n")
    body = rest if _is_header(first, path) else text
    if not body.strip():
        return np.zeros((0, 0))
    columns = body.lstrip().partition("\n")[0].count(",") + 1
    # Whole numbers are read several times faster than others.
    whole = 3 if columns > 5 else 2
    dtype = [("whole", np.int64, (whole,)), ("real", np.float64, (max(columns - whole, 1),))]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)
            if "." not in body:
                return np.loadtxt(io.StringIO(body), np.int64, comments=None, delimiter=",", ndmin=2).astype(np.float64)
            rows = np.loadtxt(io.StringIO(body), dtype, comments=None, delimiter=",", ndmin=1)
            return np.hstack((rows["whole"], rows["real"]))
    except (ValueError, DeprecationWarning):
        return _read_line_by_line(text, path)


def _read_line_by_line(text: str, path: Path) -> FloatArray:
    """For the rare file that the fast way does not take: it is read with more patience, or its fault is named."""
    rows: list[list[float]] = []
    for number, line in _lines(text, path):
        cells = line.split(",")
        if rows and len(cells) != len(rows[0]):
            raise UserError(
                f"{path}:{number}: expected {len(rows[0])} columns as in the lines before, got {len(cells)}"
            )
        # Metadata may leave the distance empty.
        if len(cells) == 6 and not cells[-1].strip():
            cells[-1] = "nan"
        try:
            rows.append([float(cell) for cell in cells])
        except ValueError as error:
            raise UserError(f"{path}:{number}: expected numbers, got {line.strip()!r}") from error
    return np.array(rows)


def _lines(text: str, path: Path) -> Iterator[tuple[int, str]]:
    """The lines that hold rows, with their numbers."""
    filled = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    yield from filled[1:] if filled and _is_header(filled[0][1], path) else filled


def _is_header(line: str, path: Path) -> bool:
    cells = [cell.strip().strip('"').lower() for cell in line.split(",")]
    if "onscreen" in cells:
        raise UserError(f"{path} has the stereo form of DCASE 2025, without elevation; its scores are not known here")
    return not any(_is_number(cell) or not cell for cell in cells)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _layout(values: FloatArray, form: Form, fallback: Form, example: Path) -> Layout:
    """The layout of all rows with as many columns."""
    columns = values.shape[1]
    fitting = {layout.form: layout for layout in LAYOUTS if len(layout.names) == columns}
    if not fitting or (form != "auto" and form not in fitting):
        known = ", ".join(str(layout) for layout in LAYOUTS if form in ("auto", layout.form))
        raise UserError(f"{example} has {columns} columns; known are {known}")
    if form == "auto" and len(fitting) == 1:
        return next(iter(fitting.values()))
    if form == "auto":
        form = _form_of(values, fitting["cartesian"].place)
    if form == "auto":
        form = fallback
    if form == "auto":
        raise UserError(
            f"{example} and the files beside it may be {fitting['polar']} or {fitting['cartesian']}: no value tells; "
            "say which, as form polar or cartesian"
        )
    return fitting[form]


def _form_of(values: FloatArray, place: int) -> Form:
    """Polar or Cartesian rows of 5 or 6 columns, or `auto` where the values would do for both."""
    vector = values[:, place : place + 3]
    if (np.abs(vector) > _LONGEST_COMPONENT).any():
        return "polar"
    # In a polar row, a source stands where 5 columns have x, and a distance where 6 columns have z.
    other = vector[:, 0] if values.shape[1] == 5 else vector[:, 2]
    if (other < 0).any() or (values.shape[1] == 5 and (other != np.rint(other)).any()):
        return "cartesian"
    length = np.linalg.norm(vector, axis=1)
    if not ((np.abs(vector) <= _USUAL_COMPONENT).all() and (length > 0).all()):
        return "polar"
    return "cartesian" if values.shape[1] == 6 and (vector[:, :2] != np.rint(vector[:, :2])).any() else "auto"


def _check(table: FloatArray, layout: Layout, path: Path) -> None:
    whole, place = table[:, : layout.place], table[:, layout.place :]
    direction = place[:, :2] if layout.form == "polar" else place[:, :3]
    faults = {
        "expected finite numbers": ~np.isfinite(np.column_stack((whole, direction))).all(axis=1),
        f"{', '.join(layout.names[: layout.place])} have to be whole numbers": (whole != np.rint(whole)).any(axis=1),
        "frames count from 0 in steps of 0.1 s, up to 24 h": (whole[:, 0] < 0) | (whole[:, 0] >= LONGEST_FRAMES),
        f"classes are 0..{NUM_CLASSES - 1}": (whole[:, 1] < 0) | (whole[:, 1] >= NUM_CLASSES),
    }
    if layout.form == "polar":
        outside = (np.abs(place[:, 0]) > 360) | (np.abs(place[:, 1]) > 90)
        faults["azimuth and elevation are degrees, elevation within +-90"] = outside
    else:
        faults["a vector of length 0 has no direction"] = (direction == 0).all(axis=1)
    for fault, rows in faults.items():
        if rows.any():
            number, line = list(_lines(path.read_text(encoding="utf-8-sig"), path))[int(rows.argmax())]
            raise UserError(f"{path}:{number}: {fault}; got {line.strip()!r}, read as {layout}")


def _unit(distance: FloatArray) -> Unit:
    known = distance[np.isfinite(distance)]
    return "cm" if len(known) and np.median(known) > _CM_FROM_MEDIAN else "m"


def _located(table: FloatArray, layout: Layout, unit: Unit | None) -> LocatedEvents:
    place = table[:, layout.place :]
    vector = unit_vector(place[:, 0], place[:, 1]) if layout.form == "polar" else place[:, :3]
    distance = place[:, -1] / (100.0 if unit == "cm" else 1.0) if layout.has_distance else None
    frame, class_index = table[:, :2].astype(np.int64).T
    return LocatedEvents(frame, class_index, np.asarray(vector, dtype=np.float64), distance)


def _no_events() -> LocatedEvents:
    none = np.zeros(0, dtype=np.int64)
    return LocatedEvents(none, none, np.zeros((0, 3)), np.zeros(0))
