"""What scenes are like: settings, named profiles of them, and how to read a setting from a file or a command line."""

from __future__ import annotations

import difflib
import math
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from data.classes import STARSS23
from data.errors import UserError
from data.fields import from_text, typed, wording
from data.timing import LABEL_HOP_S

NEAREST_M: Final = 0.8
LONGEST_S: Final = 3600.0
"""Of a recording, which is rendered in memory."""


@dataclass(frozen=True, kw_only=True)
class SceneSettings:
    """What scenes are like. Pairs are ranges (low, high) drawn from uniformly."""

    duration_s: float = 60.0
    """Length of a recording; a multiple of 0.1, an hour at most."""
    events: str | None = None
    """Local folder of recordings `<class>/*.wav` to take events from; None: procedural ones."""
    polyphony: int = 2
    """Most events at once."""
    overlap: float = 0.25
    """Chance that a further voice speaks up when it could; 0 leaves one event at a time."""
    event_s: tuple[float, float] = (2.0, 5.0)
    """Length of an event; one from a shorter file lasts as long as the file."""
    gap_s: tuple[float, float] = (0.1, 0.6)
    """Silence of a voice between two of its events."""
    classes: tuple[int, ...] = tuple(range(len(STARSS23)))
    """Classes that occur, all equally often."""
    same_class_overlap: bool = False
    """Whether two events of one class may sound at once."""
    moving_share: float = 0.3
    """Share of sources that walk."""
    speed_m_s: tuple[float, float] = (0.3, 1.0)
    """How fast walking sources are."""
    elevation_deg: tuple[float, float] = (-30.0, 30.0)
    distance_m: tuple[float, float] = (0.9, 1.7)
    level_db: tuple[float, float] = (-3.0, 3.0)
    """Level of a source against the common one, at 1 m; the distance comes on top."""
    recording_dbfs: tuple[float, float] = (-54.0, -42.0)
    """How loud a recording is: RMS in W, below full scale, of all events together while one sounds. STARSS23 is about
    as soft."""
    snr_db: tuple[float, float] = (25.0, 35.0)
    """Power of all events together while one sounds, over that of the noise, both in W."""
    rt60_s: tuple[float, float] = (0.15, 0.25)
    """Reverberation time of rooms."""
    room_m: tuple[tuple[float, float], tuple[float, float], tuple[float, float]] = ((5, 8), (4, 6.5), (2.6, 3.4))
    """Length, width and height of rooms."""
    visible_share: float = 0.95
    """Share of events that the picture shows."""
    interferers: int = 0
    """Most interferers at once: directional sounds of no class, without a label."""
    interferer_s: tuple[float, float] = (3.0, 12.0)
    """Length of an interferer."""
    interferer_gap_s: tuple[float, float] = (1.0, 15.0)
    """Silence between two interferers that take turns."""
    interferer_db: tuple[float, float] = (-15.0, -5.0)
    """Power of an interferer while it sounds, over that of all events together while one sounds, both in W."""
    decoy_share: float = 0.0
    """Share of visible events that a decoy goes with: an unlabelled, invisible source of the same class, time and
    expected level in another direction, so that only the picture tells which of the two is labelled."""
    distractors: int = 0
    """Most silent distractors at once: pictures of a class, as long and as far apart as events, without a sound."""
    occluders: tuple[int, int] = (0, 0)
    """Fewest and most pillars and people in a room that hide what is behind them from the picture."""

    def __post_init__(self) -> None:
        labels = self.duration_s / LABEL_HOP_S
        whole = math.isfinite(labels) and labels > 0 and abs(labels - round(labels)) < 1e-6
        fits = whole and self.duration_s <= LONGEST_S
        _check(fits, self, "duration_s", f"a multiple of 0.1 above 0 and up to {LONGEST_S:g}")
        _check(1 <= self.polyphony <= 5, self, "polyphony", "1 to 5")
        for name in ("interferers", "distractors"):
            _check(0 <= getattr(self, name) <= 5, self, name, "0 to 5")
        for name in ("overlap", "moving_share", "visible_share", "decoy_share"):
            _check(0 <= getattr(self, name) <= 1, self, name, "0 to 1")
        limits = {
            "event_s": (0.3, 60.0),
            "gap_s": (0.0, 60.0),
            "speed_m_s": (0.0, 5.0),
            "elevation_deg": (-80.0, 80.0),
            "distance_m": (NEAREST_M, 10.0),
            "level_db": (-30.0, 10.0),
            "recording_dbfs": (-80.0, 0.0),
            "snr_db": (-20.0, 100.0),
            "rt60_s": (0.0, 3.0),
            "interferer_s": (0.3, 60.0),
            "interferer_gap_s": (0.0, 60.0),
            "interferer_db": (-60.0, 20.0),
            "occluders": (0, 8),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            rule = f"a range (low, high) within {low:g} to {high:g}"
            _check(len(value) == 2 and low <= value[0] <= value[1] <= high, self, name, rule)
        sizes_ok = len(self.room_m) == 3 and all(len(r) == 2 and 2 <= r[0] <= r[1] <= 12 for r in self.room_m)
        _check(sizes_ok, self, "room_m", "three ranges of metres within 2 to 12")
        known = all(0 <= c < len(STARSS23) for c in self.classes) and len(set(self.classes)) == len(self.classes)
        classes_ok = bool(self.classes) and known
        _check(classes_ok, self, "classes", f"at least one class within 0 to {len(STARSS23) - 1}, and none twice")
        walls_ok = self.rt60_s[0] == 0 or self.rt60_s[0] >= 0.1
        _check(walls_ok and (self.rt60_s[0] > 0 or self.rt60_s[1] == 0), self, "rt60_s", "(0, 0) or 0.1 s and more")


def _check(holds: bool, settings: SceneSettings, field: str, rule: str) -> None:
    if not holds:
        raise UserError(f"scene setting {field} = {getattr(settings, field)!r}: it has to be {rule}")


_STANDARD: Final = SceneSettings(
    polyphony=3,
    overlap=0.6,
    event_s=(0.7, 8.0),
    gap_s=(0.2, 2.0),
    same_class_overlap=True,
    moving_share=0.4,
    speed_m_s=(0.3, 1.5),
    distance_m=(1.0, 5.0),
    level_db=(-6.0, 6.0),
    snr_db=(6.0, 20.0),
    rt60_s=(0.2, 1.2),
    elevation_deg=(-40.0, 40.0),
    room_m=((4, 10), (3.5, 8), (2.4, 4)),
    visible_share=0.85,
    interferers=1,
    interferer_db=(-20.0, -8.0),
    distractors=1,
    occluders=(0, 2),
)

PROFILES: Final[dict[str, SceneSettings]] = {
    # Learnt by a small network in minutes.
    "easy": SceneSettings(),
    # As easy, but most events have a decoy, and silent glyphs are shown: what neither sound nor picture tells, a small
    # network that has both learns in minutes.
    "ambiguous": SceneSettings(visible_share=1.0, decoy_share=0.8, distractors=1),
    # About as hard as recordings of people in rooms.
    "standard": _STANDARD,
    # Neither sound nor picture suffices: most visible events have a decoy, and most glyphs are silent ones.
    "hard": replace(
        _STANDARD,
        overlap=0.4,
        snr_db=(0.0, 10.0),
        visible_share=0.95,
        interferer_db=(-10.0, 0.0),
        decoy_share=0.8,
        distractors=3,
        occluders=(1, 3),
    ),
}


def profile(name: str, overrides: Mapping[str, Any] = types.MappingProxyType({})) -> SceneSettings:
    """A named profile with some fields replaced.

    Values may be what a YAML file yields or text from a command line: `"3"`, `"0.5,1.5"`, `"true"`,
    `"[[4, 10], [3.5, 8], [2.4, 4]]"`.

    Raises:
        UserError: an unknown profile or field (the message lists the choices), a value of another type than the
            field's, or one out of its range.
    """
    if name not in PROFILES:
        raise UserError(f"unknown scene profile {name!r}; choose from: {', '.join(PROFILES)}")
    hints = typing.get_type_hints(SceneSettings)
    names = [field.name for field in fields(SceneSettings)]
    for key in overrides:
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UserError(f"scene setting {key!r} is not known; {hint}there are: {', '.join(names)}")
    return replace(PROFILES[name], **{key: _convert(key, value, hints[key]) for key, value in overrides.items()})


def _convert(name: str, value: Any, hint: Any) -> Any:
    """A value as the type of its field; classes by name as well as by number."""
    if name == "classes":
        value = _numbered(value)
    try:
        return typed(from_text(value, hint) if isinstance(value, str) else value, hint)
    except TypeError:
        raise UserError(f"scene setting {name} = {value!r}: it has to be {wording(hint)}") from None


def _numbered(classes: Any) -> Any:
    """A list of classes, each by name or number, with numbers for names; anything else as it is."""
    given = classes.split(",") if isinstance(classes, str) else classes
    if not isinstance(given, list | tuple):
        return classes
    numbers = []
    for one in given:
        number = STARSS23.named(one) if isinstance(one, str) and not re.fullmatch(r"\s*-?\d+\s*", one) else one
        if number is None:
            raise UserError(f"scene setting classes: {STARSS23.unknown(one.strip())}")
        numbers.append(int(number) if isinstance(number, str) else number)
    return numbers
