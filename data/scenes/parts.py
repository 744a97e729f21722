"""What a scene consists of: a room, and who or what is where in it, when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.geometry import angles_deg, wrap_azimuth_deg
from data.scenes.event_folder import Excerpt
from data.scenes.rooms import Room
from data.timing import LABEL_HOP_S

PATH_HOP_S: Final = 0.05


class Presence:
    """Something that is there in label frames [start, stop), at places given for every 50 ms from its start."""

    start_label: int
    stop_label: int
    positions_m: NDArray[np.float64]
    """(1, 3) at rest, (n, 3) on the move, in the room's coordinates."""

    @property
    def moving(self) -> bool:
        return len(self.positions_m) > 1

    @property
    def num_labels(self) -> int:
        return self.stop_label - self.start_label

    def position_at(self, time_s: NDArray) -> NDArray[np.float64]:
        """Positions (n, 3) in metres at times (n,) in seconds of the scene."""
        if not self.moving:
            return np.repeat(self.positions_m, len(time_s), axis=0)
        steps = np.arange(len(self.positions_m)) * PATH_HOP_S + self.start_label * LABEL_HOP_S
        return np.stack([np.interp(time_s, steps, axis) for axis in self.positions_m.T], axis=-1)

    def label_positions(self) -> NDArray[np.float64]:
        """Positions (num_labels, 3) at the middle of each label frame."""
        return self.position_at((np.arange(self.start_label, self.stop_label) + 0.5) * LABEL_HOP_S)


@dataclass(frozen=True, eq=False)
class SceneEvent(Presence):
    """A source of a class: a labelled event, or a decoy."""

    class_index: int
    source: int
    """Number of its voice from 1 on; 0 for a decoy."""
    start_label: int
    stop_label: int
    positions_m: NDArray[np.float64]
    level_db: float
    """Against the common level, at 1 m."""
    visible: bool
    seed: int
    excerpt: Excerpt | None = None
    """Where its sound is recorded; None: it is made from its class and seed."""


@dataclass(frozen=True, eq=False)
class Interferer(Presence):
    """A sound of no class, without label and picture."""

    kind: str
    """One of `interferers.KINDS`."""
    start_label: int
    stop_label: int
    positions_m: NDArray[np.float64]
    level_db: float
    """Its mean power while it sounds, over that of all events together while one sounds, both in W."""
    seed: int


@dataclass(frozen=True, eq=False)
class Distractor(Presence):
    """The picture of a class that makes no sound."""

    class_index: int
    start_label: int
    stop_label: int
    positions_m: NDArray[np.float64]


@dataclass(frozen=True)
class Occluder:
    """A pillar, or a person, that stands on the floor and faces the microphone."""

    azimuth_deg: float
    distance_m: float
    """On the floor, from the point below the microphone."""
    width_m: float
    height_m: float
    is_person: bool

    @property
    def half_width_deg(self) -> float:
        return float(np.rad2deg(np.arctan2(self.width_m / 2, self.distance_m)))

    def elevations_deg(self, room: Room) -> tuple[float, float]:
        """Of its foot and its top."""
        below, above = -room.receiver_m[2], self.height_m - room.receiver_m[2]
        return tuple(float(np.rad2deg(np.arctan2(z, self.distance_m))) for z in (below, above))  # type: ignore[return-value]

    def is_before(self, room: Room, positions_m: NDArray) -> NDArray[np.bool_]:
        """Whether points (..., 3) are farther away than it, wherever they are to be seen."""
        offset = positions_m - np.asarray(room.receiver_m)
        return np.hypot(offset[..., 0], offset[..., 1]) > self.distance_m

    def hides(self, room: Room, positions_m: NDArray) -> NDArray[np.bool_]:
        """Whether the microphone's view of points (..., 3) ends at it."""
        azimuth, elevation = angles_deg(positions_m - np.asarray(room.receiver_m))
        low, high = self.elevations_deg(room)
        across = np.abs(wrap_azimuth_deg(azimuth - self.azimuth_deg)) <= self.half_width_deg
        return across & (elevation >= low) & (elevation <= high) & self.is_before(room, positions_m)


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything that a recording shows and sounds like."""

    room: Room
    events: tuple[SceneEvent, ...]
    num_labels: int
    snr_db: float
    seed: int
    recording_dbfs: float = -48.0
    """RMS in W of all events together while one sounds, below full scale."""
    decoys: tuple[SceneEvent, ...] = ()
    interferers: tuple[Interferer, ...] = ()
    distractors: tuple[Distractor, ...] = ()
    occluders: tuple[Occluder, ...] = ()
    """The farthest first."""

    @property
    def duration_s(self) -> float:
        return self.num_labels * LABEL_HOP_S

    def hidden_share(self, presence: Presence) -> float:
        """Share of its label frames in which an occluder stands before the middle of something."""
        places = presence.label_positions()
        hidden = [occluder.hides(self.room, places) for occluder in self.occluders]
        return float(np.any(hidden, axis=0).mean()) if hidden else 0.0
