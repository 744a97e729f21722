"""What pictures, or sound, are worth to a finalist: the same network without them, trained with the same seeds.

Beside SELD: F of each class, and recall within 20 degrees of each kind of source, since a picture that pays pays where
it shows something that sound does not tell.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from data.classes import ClassList
from infra.finals.training import Training
from trainables.config.tree import classes_of
from trainables.parts.controls import CLOSED, worth
from trainables.scores.kinds import KINDS, KindCounts, recall_gain
from trainables.scores.metrics import SCORE_NAMES, Average, Intervals, SeldCounts, pooled, scores
from trainables.scores.recordings import class_difference, paired_difference

OTHERS_PICTURES = "others' pictures"
"""A control without training: a recording is heard while another one is shown."""


@dataclass(frozen=True, kw_only=True)
class PartGain:
    """The gain among some of the sounds: their F, or recall, without the modality and with it."""

    without: float
    own: float
    low: float | None
    """Of the 95 % interval of the gain; nothing where a single recording has such sounds."""
    high: float | None

    @property
    def gain(self) -> float:
        return self.own - self.without

    @property
    def sure(self) -> bool:
        """Whether the interval has 0 outside."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True, kw_only=True)
class Gain:
    """SELD of the same network without the modality minus its own.

    Intervals are over recordings, all trainings summed; seeds are of one training each.
    """

    trial: int
    fusion: str
    control: str
    """Of `CLOSED`, or `OTHERS_PICTURES`."""
    gain: float
    low: float
    high: float
    seeds: dict[int, float]
    validation: dict[int, float]
    """By seed as well, at the epochs that validation chose; empty where nothing was trained."""
    classes: dict[str, PartGain]
    """F of each class that the recordings hold."""
    kinds: dict[str, PartGain]
    """Recall within 20 degrees of each kind (`trainables.scores.kinds.KINDS`) that they hold."""

    @property
    def title(self) -> str:
        how = f"with its {self.control} closed" if self.control in CLOSED else "while it is shown another recording"
        return f"trial {self.trial} ({self.fusion}) against itself {how}"

    @property
    def by_kind(self) -> str:
        """A line on the kinds of sources."""
        told = (f"{kind} {part.gain:+.2f}{'*' if part.sure else ''}" for kind, part in self.kinds.items())
        return f"  recall within 20 deg: {', '.join(told)} (*: beyond its 95 % interval)"

    def parts(self) -> Iterator[list[str]]:
        """Rows of kinds, then of classes: what, without, with, gain, interval."""
        of = [(f"recall, {kind}", part) for kind, part in self.kinds.items()]
        of += [(f"F, {name}", part) for name, part in self.classes.items()]
        for what, part in of:
            bounds = "-" if part.low is None else f"{part.low:+.3f} to {part.high:+.3f}"
            yield [what, f"{part.without:.3f}", f"{part.own:.3f}", f"{part.gain:+.3f}", bounds]

    def __str__(self) -> str:
        each = " ".join(f"{gain:+.3f}" for gain in self.seeds.values())
        validation = f", on validation {statistics.fmean(self.validation.values()):+.3f}" if self.validation else ""
        return (
            f"{self.title}: SELD better by {self.gain:+.3f}, 95 % interval "
            f"{self.low:+.3f} to {self.high:+.3f}; by seed {each}{validation}: "
            f"{worth(self.control, self.low, self.high, 'recordings')}"
        )


def gain_of(
    trial: int, fusion: str, trainings: Sequence[Training], control: str, twins: Sequence[Training], average: Average
) -> Gain:
    """Over the seeds that both were trained with.

    Raises:
        UserError: fewer than two recordings.
    """
    ours, theirs = ({training.seed: training for training in side} for side in (trainings, twins))
    both = sorted(ours.keys() & theirs.keys())
    own, without = (pooled([side[seed].counts for seed in both]) for side in (ours, theirs))
    spread = paired_difference(without, own, average)
    seld, key = SCORE_NAMES.index("SELD"), f"{average}/SELD"
    return Gain(
        trial=trial,
        fusion=fusion,
        control=control,
        gain=float(spread.value[seld]),
        low=float(spread.low[seld]),
        high=float(spread.high[seld]),
        seeds={seed: theirs[seed].flat()[key] - ours[seed].flat()[key] for seed in both},
        validation={s: theirs[s].validation - ours[s].validation for s in both} if control in CLOSED else {},
        classes=_of_classes(own, without, classes_of(ours[both[0]].record.config)),
        kinds=_of_kinds(*(pooled([side[seed].kinds for seed in both]) for side in (ours, theirs))),
    )


def _of_classes(own: Sequence[SeldCounts], without: Sequence[SeldCounts], classes: ClassList) -> dict[str, PartGain]:
    of_own, of_without = (scores(sum(side, SeldCounts.zero())).per_class for side in (own, without))
    spread = class_difference(own, without)
    return {
        classes.short_names[i]: _part(float(of_without.f_score[i]), float(of_own.f_score[i]), spread, i)
        for i in np.flatnonzero(of_own.present).tolist()
    }


def _of_kinds(own: Sequence[KindCounts], without: Sequence[KindCounts]) -> dict[str, PartGain]:
    of_own, of_without = (sum(side, KindCounts.zero()) for side in (own, without))
    spread = recall_gain(own, without)
    return {
        kind: _part(float(of_without.recall[i]), float(of_own.recall[i]), spread, i)
        for i, kind in enumerate(KINDS)
        if of_own.events[i]
    }


def _part(without: float, own: float, spread: Intervals, index: int) -> PartGain:
    low, high = float(spread.low[index]), float(spread.high[index])
    known = math.isfinite(low) and math.isfinite(high)
    return PartGain(without=without, own=own, low=low if known else None, high=high if known else None)
