"""What a chunk store is made from: recordings, in tasks, whoever makes or reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data.labels import Events
from data.timing import PICTURE_RATE_HZ


@dataclass(frozen=True, eq=False)
class Recording:
    """One recording as a source gives it."""

    name: str
    room: str
    audio: NDArray[np.int16]
    """(4, N), 24 kHz, W, Y, Z, X."""
    events: Events
    pictures: Sequence[bytes] = ()
    """JPEG pictures from time 0 on; none: there is no video."""
    picture_rate_hz: float = PICTURE_RATE_HZ
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the report says of it, as JSON knows it."""


@dataclass(frozen=True)
class Fault:
    """A recording that could not be read, and why, in a sentence that names file and line."""

    recording: str
    reason: str


def told_together(faults: Sequence[Fault]) -> list[str]:
    """The reasons of faults, those that differ in their file alone as one: a tree of other names has a thousand."""
    alike: dict[str, list[Fault]] = {}
    for fault in faults:
        alike.setdefault(fault.reason.partition(" ")[2], []).append(fault)
    return [
        same[0].reason if len(same) == 1 else f"{same[0].reason} ({len(same)} recordings are so)"
        for same in alike.values()
    ]


class Task(Protocol):
    """Some recordings of one split, to be made independently of all others; picklable."""

    @property
    def split(self) -> str: ...

    @property
    def key(self) -> str:
        """Hash of everything that the recordings follow from."""
        ...

    @property
    def seconds(self) -> float:
        """About how much sound there is in it, for the progress."""
        ...

    def recordings(self) -> Iterator[Recording | Fault]:
        """Make or read them, one after the other."""
        ...
