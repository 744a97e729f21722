"""How well sound and labels go together, and what seems to be wrong where they do not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data.agreement.changes import AS_IT_IS, CHANGES, FROM_CAPSULES, Change, Relabel, directed
from data.agreement.directions import Floats, Heard
from data.geometry import angle_between_deg, unit_vector, wrap_azimuth_deg
from data.labels import Events
from data.timing import LABEL_HOP_S

NEAR_DEG: Final = 20.0
"""So near to its label a direction agrees with it: 3 % of all directions do by chance."""
FAR_DEG: Final = 45.0
"""A median angle beyond which nothing agrees."""
FEWEST_FRAMES: Final = 50
"""Of one source that is heard clearly; with fewer nothing is said."""
FEWEST_NEAR: Final = 0.15
"""Share of the frames that have to agree. What nobody labelled may sound in the others."""
CERTAINLY_NEAR: Final = 0.8
"""Share of the frames from which on no change is looked for."""
BETTER_BY: Final = 0.15
"""By which share more frames have to agree after a change, before it is believed."""
LONGEST_LAG: Final = 20
"""Label frames by which labels are tried to be early or late."""
TOLERATED_LAG: Final = 2
"""Label frames: labels are rounded to one, and a room answers late."""
NEAREST_CM, FARTHEST_CM = 15.0, 1500.0
"""Between which the median distance of a data set lies, in any room."""

# Dipoles together have the energy of W in SN3D, twice it in FuMa, three times in N3D, in a plane wave and a diffuse
# field alike; these lie between, rather low: a direction is heard best where W happens to be loud.
_ABOVE_SN3D, _ABOVE_FUMA, _ABOVE_N3D = 1.4, 2.2, 3.3
_DECAY_LABELS: Final = 5
"""For so many label frames after an event a room still answers from where it was."""
_DIRECTED: Final = 0.4
"""1 minus the diffuseness of a region in which a direction is heard."""
_SHARP: Final = 1.02
_FEWEST_DIRECTED: Final = 0.02
_FEWEST_REGIONS: Final = 500


@dataclass(frozen=True)
class Agreement:
    """How sound and labels go together."""

    frames: int
    """Label frames with one source by the labels and a clear direction by the sound."""
    median_deg: float | None
    """Angle between the two; None where there are no such frames."""
    near: float
    """Share of the frames in which it is within `NEAR_DEG`."""
    doubts: tuple[str, ...] = ()
    """What seems to be wrong, each a sentence."""
    in_time: bool = False
    """Whether it shows that labels are neither early nor late: that takes events that begin and end."""

    @property
    def told(self) -> bool:
        """Whether there were enough frames to tell."""
        return self.frames >= FEWEST_FRAMES

    @property
    def certain(self) -> bool:
        """Whether more sound would not say anything else."""
        close = self.median_deg is not None and self.median_deg < NEAR_DEG / 2
        return self.told and close and self.near >= CERTAINLY_NEAR and self.in_time and not self.doubts

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows it; `text` is the line for people."""
        said = {**asdict(self), "doubts": list(self.doubts), "text": str(self)}
        del said["in_time"]  # which only whoever might listen to more asks
        return said

    def __str__(self) -> str:
        if self.doubts:
            return f"sound and labels disagree: {'; '.join(self.doubts)}"
        if not self.told:
            return f"sound and labels: too few frames of one clear source to compare them ({self.frames})"
        return f"sound and labels agree: {self.median_deg:.1f} deg over {self.frames:,} frames"


def compare_once(heard: Heard) -> Agreement:
    """Angle and share of one recording, without a search for what is wrong."""
    return _found(_angles([heard], _views([heard], AS_IT_IS, of_many=False)))


def compare(heard: Sequence[Heard]) -> Agreement:
    """What all of them together say; what is wrong with them, if something is."""
    views = _views(heard, AS_IT_IS)
    found = _found(_angles(heard, views))
    change, doubts = None, []
    if found.near < CERTAINLY_NEAR:
        change, after = _best_change(heard, views, found)
        if change is not None:
            views = views if change.channels is None else _views(heard, change.channels)
            before = "nothing clear" if found.median_deg is None else f"{found.median_deg:.1f} deg"
            doubts.append(
                f"they agree after {change.says} ({after.median_deg:.1f} deg over {after.frames:,} frames; as it is "
                f"{before}): {change.asks}"
            )
        elif found.told and found.near < FEWEST_NEAR:
            doubts.append(f"{found.median_deg:.1f} deg over {found.frames:,} frames, and no usual change mends it")
            return Agreement(found.frames, found.median_deg, found.near, (*doubts, *_far(heard)))
    by_lag = _by_lag(heard, views, change)
    doubts += [*_late(by_lag), *_scaled(heard, change), *_far(heard)]
    return Agreement(found.frames, found.median_deg, found.near, tuple(doubts), _in_time(by_lag))


def _best_change(heard: Sequence[Heard], views: Views, found: Agreement) -> tuple[Change | None, Agreement]:
    """The change after which more frames agree than after any other, if it is worth believing."""
    best, after = None, found
    for tried in (*CHANGES, *_turned(heard, views)):
        own = views if tried.channels is None else _views(heard, tried.channels)
        changed = _found(_angles(heard, own, tried.relabel))
        median_deg = changed.median_deg or 0.0
        believed = changed.told and median_deg < FAR_DEG and changed.near > FEWEST_NEAR and _is_better(changed, found)
        # The later ones are less likely, and have to be better than any before.
        if believed and (best is None or changed.near > after.near + 0.02):
            best, after = tried, changed
    return best, after


def _is_better(changed: Agreement, found: Agreement) -> bool:
    if changed.near > found.near + BETTER_BY or found.median_deg is None or changed.median_deg is None:
        return True
    # Where much sounds that nobody labelled, few frames agree whatever is done.
    return found.median_deg > FAR_DEG and changed.median_deg < 0.6 * found.median_deg and changed.near > found.near


def _found(angles: Floats) -> Agreement:
    if not len(angles):
        return Agreement(0, None, 0.0)
    return Agreement(len(angles), float(np.median(angles)), float((angles <= NEAR_DEG).mean()))


Views = Sequence[tuple[Floats, NDArray[np.bool_]]]
"""What `Heard.directions` says of each stretch."""


def _views(heard: Sequence[Heard], channels: Floats, *, of_many: bool = True) -> Views:
    """What is heard, but for a direction that sounds without a label as well: a fan that nobody labelled.

    Args:
        of_many: there are recordings enough for labels to be in many directions.
    """
    views = [one.directions(channels) for one in heard]
    if (steady := _steady(heard, views, of_many)) is None:
        return views
    return [(directions, clear & (angle_between_deg(directions, steady) > NEAR_DEG)) for directions, clear in views]


def _steady(heard: Sequence[Heard], views: Views, of_many: bool) -> Floats | None:
    """The direction that most frames without a label are near to, or most of all while labels are elsewhere."""
    unlabelled: list[Floats] = [np.zeros((0, 3))]
    anywhere: list[Floats] = [np.zeros((0, 3))]
    labels: list[Floats] = [np.zeros((0, 3))]
    for one, (directions, clear) in zip(heard, views, strict=True):
        labelled = np.zeros(len(clear) + _DECAY_LABELS, bool)
        for after in range(_DECAY_LABELS + 1):
            labelled[one.events.frame + after] = True
        unlabelled.append(directions[clear & ~labelled[: len(clear)]])
        anywhere.append(directions[clear])
        labels.append(unit_vector(one.events.azimuth_deg, one.events.elevation_deg))
    direction, share = _densest(np.concatenate(unlabelled))
    if share <= 0.5 and of_many:
        direction, share = _densest(np.concatenate(anywhere))
        share = share if _densest(np.concatenate(labels))[1] <= 0.5 else 0.0
    return direction if share > 0.5 else None


def _densest(directions: Floats) -> tuple[Floats, float]:
    """The direction that most of some are near to, and their share; no share where they are too few."""
    if len(directions) < FEWEST_FRAMES:
        return np.zeros(3), 0.0
    some = directions[np.linspace(0, len(directions) - 1, 100).astype(int)]
    near = some @ directions.T > np.cos(np.deg2rad(NEAR_DEG))
    best = near[int(near.sum(axis=1).argmax())]
    return directions[best].mean(axis=0), float(best.mean())


def _single(events: Events) -> Events:
    """The rows that are alone in their frame."""
    _, inverse, counts = np.unique(events.frame, return_inverse=True, return_counts=True)
    return events.select(counts[inverse] == 1)


def _pairs(heard: Sequence[Heard], views: Views, relabel: Relabel | None = None) -> Iterator[tuple[Floats, Events]]:
    """Of each stretch the clear directions, (rows, 3), and the single rows of its labels that belong to them."""
    for one, (directions, clear) in zip(heard, views, strict=True):
        events = _single(one.events if relabel is None else relabel(one.events))
        events = events.select((events.frame >= 0) & (events.frame < len(clear)))
        events = events.select(clear[events.frame])
        yield directions[events.frame], events


def _angles(heard: Sequence[Heard], views: Views, relabel: Relabel | None = None) -> Floats:
    angles = [
        angle_between_deg(directions, unit_vector(events.azimuth_deg, events.elevation_deg))
        for directions, events in _pairs(heard, views, relabel)
    ]
    return np.concatenate([np.zeros(0), *angles])


def _turned(heard: Sequence[Heard], views: Views) -> Iterator[Change]:
    """The turn about the vertical that most frames ask for."""
    turns = [
        wrap_azimuth_deg(np.rad2deg(np.arctan2(directions[:, 1], directions[:, 0])) - events.azimuth_deg)
        for directions, events in _pairs(heard, views)
    ]
    turn = np.concatenate([np.zeros(0), *turns])
    if not len(turn):
        return
    counts = np.histogram(turn, bins=72, range=(-180, 180))[0]
    around_it = sum(np.roll(counts, shift) for shift in (-2, -1, 0, 1, 2))
    middle = -177.5 + 5.0 * int(np.argmax(around_it))
    rest = wrap_azimuth_deg(turn - middle)
    deg = float(wrap_azimuth_deg(middle + np.median(rest[np.abs(rest) <= 12.5])))
    yield Change(
        f"azimuth -> azimuth {'+' if deg > 0 else '-'} {abs(deg):.0f}",
        "is the microphone turned against the labels?",
        directed(lambda a, e: a + deg, lambda a, e: e),
    )


_LAGS: Final = np.arange(-LONGEST_LAG, LONGEST_LAG + 1)


def _by_lag(heard: Sequence[Heard], views: Views, change: Change | None) -> Floats:
    """How well directions go with labels, changed if so, that are taken for earlier ones by each of `_LAGS`."""
    total = np.zeros(len(_LAGS))
    for one, (directions, clear) in zip(heard, views, strict=True):
        events = _single(change.relabel(one.events) if change and change.relabel else one.events)
        events = events.select((events.frame >= LONGEST_LAG) & (events.frame < len(clear) - LONGEST_LAG))
        labels = unit_vector(events.azimuth_deg, events.elevation_deg)
        sounding = directions * clear[:, None]
        total += [(sounding[events.frame + lag] * labels).sum() for lag in _LAGS]
    return total


def _in_time(by_lag: Floats) -> bool:
    """Whether they go best without a lag, and worse with a longer one than is tolerated."""
    best = int(np.argmax(by_lag))
    longer = by_lag[np.abs(_LAGS) == TOLERATED_LAG + 1].max()
    return bool(abs(_LAGS[best]) <= TOLERATED_LAG and by_lag[best] > max(FEWEST_FRAMES, _SHARP * longer))


def _late(by_lag: Floats) -> list[str]:
    """Whether labels are earlier or later than the sound."""
    best = int(np.argmax(by_lag))
    lag = int(_LAGS[best])
    if abs(lag) <= TOLERATED_LAG or by_lag[best] < max(FEWEST_FRAMES, 1.05 * by_lag[LONGEST_LAG]):
        return []
    word = "earlier" if lag > 0 else "later"
    more = " or more" if abs(lag) == LONGEST_LAG else ""
    by = f"{abs(lag) * LABEL_HOP_S:.1f} s{more}"
    return [f"labels are about {by} {word} than the sound: is one of them cut or delayed?"]


def _scaled(heard: Sequence[Heard], change: Change | None) -> list[str]:
    """Whether dipoles are as loud beside W as SN3D has them."""
    channels = AS_IT_IS if change is None or change.channels is None else change.channels
    ratios, regions = [np.zeros(0)], 0
    for one in heard:
        covariance = channels @ one.covariance @ channels.T
        energy = np.einsum("frii->fri", covariance)
        whole, dipoles = energy.sum(axis=-1), energy[..., 1:].sum(axis=-1)
        sounding = (energy > 0).all(axis=-1)
        # Channels that have nothing to do with each other, such as their own noise, have any ratio.
        directed_ones = sounding & (2 * np.linalg.norm(covariance[..., 0, 1:], axis=-1) > _DIRECTED * whole)
        ratios.append(dipoles[directed_ones] / energy[directed_ones][:, 0])
        regions += int(sounding.sum())
    ratio = np.concatenate(ratios)
    if channels is FROM_CAPSULES or len(ratio) < max(_FEWEST_DIRECTED * regions, _FEWEST_REGIONS):
        return []
    middle = float(np.median(ratio))
    if middle < _ABOVE_SN3D:
        return []
    asks = (
        "is W 3 dB lower, as FuMa has it (ingest --ambisonics fuma)?"
        if middle < _ABOVE_FUMA
        else "are they N3D (ingest --ambisonics n3d)?"
    )
    if middle > _ABOVE_N3D:
        asks = "is W another channel, or are these four capsules?"
    return [f"Y, Z and X together have {middle:.1f} times the energy of W, not as much as it: {asks}"]


def _far(heard: Sequence[Heard]) -> list[str]:
    """Whether distances are what rooms allow."""
    distance_cm = np.concatenate([np.zeros(0), *(one.events.distance_cm for one in heard)])
    known = distance_cm[distance_cm > 0]  # 0 stands for unknown in some sets
    middle = float(np.median(known)) if len(known) >= FEWEST_FRAMES else NEAREST_CM
    if middle < NEAREST_CM:
        return [f"half of the distances are below {middle:.3g} cm: are they in metres?"]
    if middle > FARTHEST_CM:
        return [f"half of the distances are above {middle / 100:.3g} m: are they in millimetres?"]
    return []
