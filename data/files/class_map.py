"""Which class a csv file means by a number or a name, and the YAML files in which users say so.

    of: starss23                       # whose numbers the names below stand for; starss23 where nothing is said
    classes:
      - name: Speech
        short: speech                  # for axes, legends and the names of scores
        from: [Female speech, 1]       # numbers or names in csv files that become this class: several are merged
      - name: Music
        from: 8
    drop: [7, Knock]                   # rows of these are left out; all others have to be of a class

A class without `from`, or that is no more than a name, has the number of its place, from 0 on. Names that files hold in
place of numbers are read as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data.classes import MOST_CLASSES, STARSS23, ClassList, slug
from data.errors import UserError
from data.files.yaml_files import read_mapping
from data.names import near, some_of

DROPPED: Final = -1
"""Stands for the class of rows that are left out."""
UNKNOWN: Final = -2
_DROPPED_NAME: Final = MOST_CLASSES
_LARGEST_NUMBER: Final = 100_000


@dataclass(frozen=True, kw_only=True)
class ClassMap:
    """Classes, and what csv files call them."""

    classes: ClassList = STARSS23
    numbers: tuple[tuple[int, int], ...] | None = None
    """Pairs of a number in files and its class, or `DROPPED`; None: numbers are the classes' own."""
    names: tuple[tuple[str, int], ...] = ()
    """Pairs of a name in files, beside those of the classes, and its class, or `DROPPED`."""
    spellings: tuple[tuple[str, int], ...] = ()
    """Pairs of what else such a name goes by in its data set, as `data.classes.slug` has it, and its class."""

    def of_numbers(self, numbers: NDArray[Any]) -> NDArray[np.int64]:
        """The class of each number in a file; `DROPPED`, or `UNKNOWN` as what is no whole number."""
        table = self._table
        with np.errstate(invalid="ignore"):
            known = (numbers >= 0) & (numbers < len(table)) & (numbers == np.rint(numbers))
        return np.where(known, table[np.where(known, numbers, 0).astype(np.int64)], UNKNOWN)

    @cached_property
    def _table(self) -> NDArray[np.int64]:
        """The class of each number from 0 on."""
        if self.numbers is None:
            return np.arange(len(self.classes))
        table = np.full(1 + max((number for number, _ in self.numbers), default=0), UNKNOWN)
        for number, index in self.numbers:
            table[number] = index
        return table

    def number_of(self, cell: str) -> int | None:
        """A number for a name, or number, in a file that has names, in place of it; `of_names` knows what it means.

        None: it is unknown.
        """
        try:
            index = int(self.of_numbers(np.array([float(cell)]))[0])
        except ValueError:
            own = self.classes.named(cell)
            index = self._by_slug.get(slug(cell), UNKNOWN if own is None else own)
        return {UNKNOWN: None, DROPPED: _DROPPED_NAME}.get(index, index)

    @cached_property
    def _by_slug(self) -> dict[str, int]:
        return {**dict(self.spellings), **{slug(name): index for name, index in self.names}}

    @property
    def of_names(self) -> ClassMap:
        """For the numbers that `number_of` gives."""
        own = ((index, index) for index in range(len(self.classes)))
        return ClassMap(classes=self.classes, numbers=(*own, (_DROPPED_NAME, DROPPED)))

    def to_json(self) -> list[str]:
        """A text for each class, and one for what is dropped: its name, its short name, and what it comes from."""
        told = []
        own = ((index, index) for index in range(len(self.classes)))
        origins = [*(own if self.numbers is None else self.numbers), *self.names]
        for index in (*range(len(self.classes)), DROPPED):
            comes_from = ", ".join(str(origin) for origin, to in origins if to == index)
            if index != DROPPED:
                told.append(f"{self.classes.names[index]} ({self.classes.short_names[index]}) <- {comes_from}")
            elif comes_from:
                told.append(f"dropped <- {comes_from}")
        return told

    def said(self) -> str:
        """The numbers that are known, for messages."""
        if self is DEFAULT_CLASSES:  # nobody said which they are
            return f"classes are 0..{len(self.classes) - 1}; say with --classes what others are"
        if self.numbers is None:
            return f"classes are 0..{len(self.classes) - 1}" if len(self.classes) > 1 else "the only class is 0"
        if not self.numbers:
            return f"classes have names alone here: {some_of(self.classes.short_names, 20)}"
        return f"numbers of classes are {some_of([str(number) for number, _ in sorted(self.numbers)], 20)}"


DEFAULT_CLASSES: Final = ClassMap()

DATA_SETS: Final[Mapping[str, ClassList]] = {
    "starss23": STARSS23,
    "dcase2020": ClassList.of(
        (
            *("Alarm", "Crying baby", "Crash", "Barking dog", "Running engine", "Female scream", "Female speech"),
            *("Burning fire", "Footsteps", "Knocking on door", "Male scream", "Male speech", "Ringing phone", "Piano"),
        ),
    ),
    "dcase2021": ClassList.of(
        (
            *("Alarm", "Crying baby", "Crash", "Barking dog", "Female scream", "Female speech", "Footsteps"),
            *("Knocking on door", "Male scream", "Male speech", "Ringing phone", "Piano"),
        ),
    ),
}
"""By the names that stand for a file: what the sets of a challenge number. Those of 2022 and 2023 are STARSS23's.

Sources: the READMEs of TAU-NIGENS Spatial Sound Events 2020 and 2021 (Politis et al.)."""


def read_class_map(named: str | Path) -> ClassMap:
    """The classes of a data set by its name (`DATA_SETS`), or of a YAML file.

    Raises:
        UserError: there is no such set or file, or it is not as it should be; with the file.
    """
    if str(named) in DATA_SETS:
        return ClassMap(classes=DATA_SETS[str(named)])
    if not Path(named).suffix and not Path(named).exists():
        known = ", ".join(DATA_SETS)
        raise UserError(f"--classes {named}: there is no such file; give a YAML file, or one of {known}")
    said = read_mapping(named, "`classes:` to a list of names, and if need be `of:` and `drop:`")
    try:
        return _class_map(said)
    except UserError as error:
        raise UserError(f"{named}: {error}") from error


def _class_map(said: Mapping[str, Any]) -> ClassMap:
    for key in said:
        if key not in ("of", "classes", "drop"):
            raise UserError(f"{key}: a list of classes has `classes`, `of` and `drop`{near(key, ('classes', 'drop'))}")
    of = said.get("of", "starss23")
    if of not in DATA_SETS:
        known = ", ".join(DATA_SETS)
        raise UserError(
            f"of: {of!r} is no data set whose numbers are known; choose one of {known}{near(of, DATA_SETS)}"
        )
    entries = said.get("classes")
    if not isinstance(entries, list) or not entries:
        raise UserError("classes: a list of names is needed, in the order that the classes are to have")
    read = [_entry(entry, number) for number, entry in enumerate(entries)]
    classes = ClassList.of([name for name, _, _ in read], {name: short for name, short, _ in read if short})
    sources = {index: origin for index, (_, _, origin) in enumerate(read)}
    dropped = _origins(said.get("drop", []), "drop")
    numbers: dict[int, int] = {}
    own = {slug(name): index for kind in (classes.names, classes.short_names) for index, name in enumerate(kind)}
    names: dict[str, int] = {}
    for index, origin in [*sources.items(), (DROPPED, dropped)]:
        for one in [index] if origin is None else origin:
            for number in _numbers_of(one, DATA_SETS[of]):
                _claim(numbers, number, number, index, classes)
            if isinstance(one, str):
                _claim(own, slug(one), one, index, classes)
                names[one] = index
    spelt = {
        spelling: index
        for one, index in names.items()
        for number in _numbers_of(one, DATA_SETS[of])
        for spelling in DATA_SETS[of].spellings(number)
        if own.get(spelling, index) == index
    }
    as_listed = numbers == {index: index for index in range(len(classes))}
    return ClassMap(
        classes=classes,
        numbers=None if as_listed else tuple(sorted(numbers.items())),
        names=tuple(names.items()),
        spellings=tuple(sorted(spelt.items())),
    )


def _entry(entry: Any, number: int) -> tuple[str, str | None, list[int | str] | None]:
    """Name, short name and what it comes from."""
    if isinstance(entry, str):
        return entry, None, None
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise UserError(f"classes: entry {number} is {entry!r}; write a name, or `name:` with `short:` and `from:`")
    for key in entry:
        if key not in ("name", "short", "from"):
            raise UserError(
                f"classes: {entry['name']}: {key} is not known; there are name, short and from"
                f"{near(key, ('name', 'short', 'from'))}"
            )
    short = entry.get("short")
    if short is not None and not isinstance(short, str):
        raise UserError(f"classes: {entry['name']}: short: {short!r} is no text; use quotes")
    origin = _origins(entry["from"], f"classes: {entry['name']}: from") if "from" in entry else None
    return entry["name"], short, origin


def _origins(said: Any, where: str) -> list[int | str]:
    listed = said if isinstance(said, list) else [said]
    for one in listed:
        is_number = isinstance(one, int) and not isinstance(one, bool) and 0 <= one <= _LARGEST_NUMBER
        if not is_number and not (isinstance(one, str) and any(sign.isalpha() for sign in one)):
            fix = "; leave out the quotes" if isinstance(one, str) and one.strip().isdecimal() else ""
            raise UserError(f"{where}: {one!r} is neither a number of a class, from 0 on, nor a name{fix}")
    return listed


def _numbers_of(origin: int | str, of: ClassList) -> Iterator[int]:
    if isinstance(origin, int):
        yield origin
    elif (number := of.named(origin)) is not None:
        yield number


def _claim(taken: dict[Any, int], key: int | str, one: int | str, index: int, classes: ClassList) -> None:
    if (other := taken.setdefault(key, index)) != index:
        called = ["drop" if at == DROPPED else repr(classes.names[at]) for at in (other, index)]
        raise UserError(f"{one!r} belongs to {called[0]} and to {called[1]}; leave it out of one (`from:`)")
