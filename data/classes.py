"""Lists of sound event classes: names, short names, and their order, which is that of label indices.

STARSS23's thirteen are the default; a data set may bring its own.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from data.errors import UserError
from data.names import near, some_of

MOST_CLASSES: Final = 200
_LONGEST_NAME, _LONGEST_SHORT = 80, 24


def slug(name: str) -> str:
    """A name as it is compared, letters and digits without "and": water_tap, "Water tap" and waterTap are one."""
    return "".join(word for word in map(str.casefold, _words(name)) if word != "and")


def _words(name: str) -> list[str]:
    """Its words of letters, with the marks that belong to them in some scripts, and digits."""
    text = unicodedata.normalize("NFC", name)
    text = "".join(sign if sign.isalnum() or unicodedata.category(sign).startswith("M") else " " for sign in text)
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text).split()


def _joined(name: str) -> str:
    """The words of a name with low lines between them, as far as a short name may go."""
    return "_".join(_words(name)).casefold()[:_LONGEST_SHORT].rstrip("_")


def _is_name(name: Any) -> bool:
    """Whether it is a text to show, with a letter in it, and nothing that a file may mean as a number."""
    if not isinstance(name, str) or not name.isprintable() or len(name) > _LONGEST_NAME:
        return False
    if not any(sign.isalpha() for sign in name):
        return False
    try:
        float(name)
    except ValueError:
        return bool(slug(name))
    return False


@dataclass(frozen=True, kw_only=True)
class ClassList:
    """The classes of a data set or model, in the order of their label index.

    Raises:
        UserError: none or too many, a name that is no text to show, or two that are one.
    """

    names: tuple[str, ...]
    short_names: tuple[str, ...]
    """For axes, legends and the names of scores."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.names) <= MOST_CLASSES:
            raise UserError(f"{len(self.names)} classes: 1 to {MOST_CLASSES} are possible")
        if len(self.names) != len(self.short_names):
            raise UserError(f"{len(self.names)} names of classes, and {len(self.short_names)} short names")
        for name in self.names:
            if not _is_name(name):
                raise UserError(
                    f"class {name!r}: a name is a text of 1 to {_LONGEST_NAME} characters, with a letter, and no number"
                )
        for short in self.short_names:
            is_short = isinstance(short, str) and re.fullmatch(rf"[\w-]{{1,{_LONGEST_SHORT}}}", short)
            if not is_short or not slug(short):
                raise UserError(
                    f"short name {short!r} of a class: use letters, digits, - and _, {_LONGEST_SHORT} at most"
                )
        for kind, fix in ((self.names, "give them other names"), (self.short_names, "say a `short:` of each")):
            seen: dict[str, int] = {}
            for place, name in enumerate(kind):
                if (other := seen.setdefault(slug(name), place)) != place:
                    raise UserError(f"two classes are called alike: {kind[other]!r} and {name!r}; {fix}")

    @classmethod
    def of(cls, names: Sequence[str], short_names: Mapping[str, str] | None = None) -> ClassList:
        """Of names alone, with short names where they are given.

        The others are the words of a name up to its first comma, or all of them where those are another's too, or its
        place where MLflow would not take these: names of metrics have no marks of scripts that write vowels by them.
        """
        given = short_names or {}
        first = [_joined(name.partition(",")[0]) for name in map(str, names)]
        often = Counter(first)
        made = []
        for place, (name, short) in enumerate(zip(names, first, strict=True)):
            words = short if short and often[short] == 1 else _joined(str(name))
            made.append(given.get(name) or (words if re.fullmatch(r"\w+", words) else f"class_{place}"))
        return cls(names=tuple(names), short_names=tuple(made))

    def __len__(self) -> int:
        return len(self.names)

    def named(self, name: str) -> int | None:
        """The class with that name, long or short, in any case and with any signs between the words; None: there is
        none."""
        return self._by_slug.get(slug(name))

    @cached_property
    def _by_slug(self) -> dict[str, int]:
        """A class goes by its name, by its short name, and by each part of its name that a comma sets off."""
        found: dict[str, int] = {}
        for named in (self.names, self.short_names):
            found = {slug(name): index for index, name in enumerate(named)} | found
        parts: dict[str, set[int]] = {}
        for index, name in enumerate(self.names):
            for part in name.split(","):
                parts.setdefault(slug(part), set()).add(index)
        alone = {part: indices.copy().pop() for part, indices in parts.items() if part and len(indices) == 1}
        others = _OTHER_NAMES if self == STARSS23 else {}
        return {slug(name): index for name, index in others.items()} | alone | found

    def spellings(self, index: int) -> set[str]:
        """Of a class: everything that `named` takes for it, as `slug` has it."""
        return {spelt for spelt, named in self._by_slug.items() if named == index}

    def __str__(self) -> str:
        return ", ".join(self.short_names)

    def to_json(self) -> list[dict[str, str]]:
        """As manifests keep it."""
        pairs = zip(self.names, self.short_names, strict=True)
        return [{"name": name, "short": short} for name, short in pairs]

    @classmethod
    def from_json(cls, document: Sequence[Mapping[str, Any]]) -> ClassList:
        """Inverse of `to_json`. KeyError, TypeError or UserError where it is nothing of the kind."""
        return cls(
            names=tuple(entry["name"] for entry in document), short_names=tuple(entry["short"] for entry in document)
        )

    def unknown(self, name: str) -> str:
        """What is to be said of a name that no class has."""
        alike = near(name, (*self.names, *self.short_names))
        return f"there is no class {name!r}{alike}; there are: {some_of(self.short_names, 20)}"


STARSS23: Final = ClassList(
    names=(
        "Female speech, woman speaking",
        "Male speech, man speaking",
        "Clapping",
        "Telephone",
        "Laughter",
        "Domestic sounds",
        "Walk, footsteps",
        "Door, open or close",
        "Music",
        "Musical instrument",
        "Water tap, faucet",
        "Bell",
        "Knock",
    ),
    short_names=(
        "female",
        "male",
        "clap",
        "phone",
        "laugh",
        "domestic",
        "steps",
        "door",
        "music",
        "instrument",
        "tap",
        "bell",
        "knock",
    ),
)

# What the public generators of spatial scenes and FSD50K call them besides.
_OTHER_NAMES: Final = {
    "femaleSpeech": 0,
    "maleSpeech": 1,
    "domesticSounds": 5,
    "Domestic_sounds_and_home_sounds": 5,
    "doorCupboard": 7,
    "Cupboard_open_or_close": 7,
    "Drawer_open_or_close": 7,
    "musicInstrument": 9,
    "waterTap": 10,
}
