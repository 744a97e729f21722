"""Folders of label files, in any form that the tools of DCASE have written since 2020 (`data.files.dcase_csv`).

What a folder holds is decided from all its files together, so that a file of three rows is not misread.
"""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data import storage
from data.errors import UserError
from data.files.angle_unit import like_radians
from data.files.class_map import DEFAULT_CLASSES, DROPPED, ClassMap
from data.files.csv_layouts import FloatArray, Form, Layout, choose_layout
from data.files.dcase_csv import Table, check, read_table
from data.files.distance_unit import unit_of
from data.geometry import unit_vector
from data.names import some_of
from data.timing import LABEL_RATE_HZ

Unit = Literal["auto", "m", "cm"]

logger = logging.getLogger(f"seldtune.{__name__}")

LONGEST_LABELS = 24 * 3600 * LABEL_RATE_HZ
"""A day: scores take memory for every label frame."""


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
    for path in sorted(folder / name for name in storage.list_files(str(folder)) if name.endswith(".csv")):
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
    files: Mapping[str, Path],
    form: Form = "auto",
    unit: Unit = "auto",
    fallback: Form = "auto",
    classes: ClassMap = DEFAULT_CLASSES,
) -> LabelFolder:
    """Read the files that `find_recordings` found. Rows stay as they are, also those that are there twice.

    Args:
        form: of the rows; `auto`: as their values show.
        unit: of distances; `auto`: cm where their median is over 20.
        fallback: the form where values would do for both.
        classes: what the numbers, or names, of classes mean; rows of a class that is dropped are left out.

    Raises:
        UserError: a file or line that is not what it should be, or a form that values do not show.
    """
    tables = {name: read_table(path, classes) for name, path in files.items()}
    filled = {name: table for name, table in tables.items() if len(table)}
    by_columns: dict[int, list[str]] = {}
    for name, table in filled.items():
        by_columns.setdefault(table.columns, []).append(name)
    layouts: dict[int, Layout] = {}
    for columns, names in by_columns.items():
        values = np.concatenate([filled[name].values for name in names])
        layouts[columns] = choose_layout(values, form, fallback, str(files[names[0]]))
    if len({layout.form for layout in layouts.values()}) > 1:
        seen = "; ".join(f"{files[by_columns[c][0]]} is {layout}" for c, layout in layouts.items())
        raise UserError(f"one folder holds two forms: {seen}; put them into folders of their own")
    if form == "auto":
        _ask_for_radians(filled, layouts, files)
    for table in filled.values():
        check(table, layouts[table.columns], LONGEST_LABELS)

    distances = [table.values[:, -1] for table in filled.values() if layouts[table.columns].has_distance]
    found_unit: Unit | None = None
    if distances:
        found_unit = unit if unit != "auto" else unit_of(np.concatenate(distances))
    recordings = {}
    for name, table in tables.items():
        recordings[name] = _located(table, layouts[table.columns], found_unit) if len(table) else _no_events()
    shown = next(iter(layouts.values())).form if layouts else None
    return LabelFolder(recordings, shown, sorted(by_columns), found_unit)


def _ask_for_radians(tables: Mapping[str, Table], layouts: Mapping[int, Layout], files: Mapping[str, Path]) -> None:
    """UserError where all azimuths of a folder are such as azimuths in radians are; a warning names single files."""
    angles = {
        name: table.values[:, layouts[table.columns].place :][:, :2]
        for name, table in tables.items()
        if layouts[table.columns].form == "polar"
    }
    every = np.concatenate([np.zeros((0, 2)), *angles.values()])
    # All in front, within three degrees, is possible, and rare; to say so is one word.
    if like_radians(every)[0]:
        azimuth, elevation = np.abs(every).max(axis=0)
        raise UserError(
            f"{files[next(iter(angles))]} and the files beside it hold azimuths up to {azimuth:.3g}, elevations up to "
            f"{elevation:.3g}: are they radians? Convert them to degrees, or say form polar if they are"
        )
    # Of one recording less so.
    if like := [str(files[name]) for name, own in angles.items() if any(like_radians(own))]:
        logger.warning("azimuths or elevations are no larger than radians are, in %s; are they degrees?", some_of(like))


def _located(table: Table, layout: Layout, unit: Unit | None) -> LocatedEvents:
    place = table.values[:, layout.place :]
    vector = unit_vector(place[:, 0], place[:, 1]) if layout.form == "polar" else place[:, :3]
    distance = place[:, -1] / (100.0 if unit == "cm" else 1.0) if layout.has_distance else None
    frame, class_index = table.values[:, 0].astype(np.int64), table.class_index
    kept = class_index != DROPPED
    vector = np.asarray(vector, dtype=np.float64)[kept]
    return LocatedEvents(frame[kept], class_index[kept], vector, None if distance is None else distance[kept])


def _no_events() -> LocatedEvents:
    none = np.zeros(0, dtype=np.int64)
    return LocatedEvents(none, none, np.zeros((0, 3)), np.zeros(0))
