"""What an output format is, and the registry of them: vectors whose length is activity and whose direction is a place.

ACCDOA has one vector for each track and class. Losses and decoding of Shimada et al., "ACCDOA: activity-coupled
Cartesian direction of arrival representation" (ICASSP 2021) with one track, and "Multi-ACCDOA: localizing and detecting
overlapping sounds from the same class with auxiliary duplicating permutation invariant training" (ICASSP 2022) with
three; a fourth axis holds distance, as in the baseline of DCASE 2024. Outputs are tracks x axes x classes along their
last dimension, in that order.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from data.registry.parts import Registry
from trainables.checks import check_positive, later
from trainables.parts.contract import Part
from trainables.scores.detections import Detections

NUM_DIRECTION_AXES = 3


class Output(Part):
    """What a model answers with, how that is learnt, and how it becomes events; register with `@OUTPUTS.register`."""

    tracks: ClassVar[int]
    """Events of one class that can be told apart in one label frame."""
    axes: ClassVar[int]
    """Of a vector: x, y, z, and, as the fourth, the distance in metres."""

    def width(self, num_classes: int) -> int:
        """Values in one label frame, e.g. 3 tracks x 3 axes x 13 classes = 117."""
        return self.tracks * self.axes * num_classes

    @property
    def tells_distance(self) -> bool:
        return self.axes > NUM_DIRECTION_AXES

    def activate(self, raw: Tensor) -> Tensor:
        """Bound the network's last layer (..., width): directions by tanh, distances from below by ReLU."""
        if not self.tells_distance:
            return torch.tanh(raw)
        axes = raw.unflatten(-1, (self.tracks, self.axes, -1))
        direction, distance = axes.split((NUM_DIRECTION_AXES, self.axes - NUM_DIRECTION_AXES), dim=-2)
        return torch.cat((torch.tanh(direction), F.relu(distance)), dim=-2).flatten(-3)

    @abstractmethod
    def loss(self, output: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
        """What a step makes smaller, a scalar in the precision of float32 or better; 0 where no label frame is valid.

        Args:
            output: (B, T, width).
            target: (B, T, 6, 5, C), dummy tracks A0 B0 B1 C0 C1 C2; activity, x, y, z, distance in metres
                (`data.labels.adpit_target`).
            valid: bool (B, T); only these frames count. None: all.
        """

    def decode(self, output: Tensor | NDArray, threshold: float | NDArray = 0.5) -> Detections:
        """Detections of a recording, ordered by frame, then class: the tracks whose vector is longer than `threshold`.

        Args:
            output: (T, width), tracks x axes x classes; row i is label frame i.
            threshold: one for all classes, or (C,).
        """
        values = output.detach().cpu().numpy() if isinstance(output, Tensor) else np.asarray(output)
        shape = (len(values), self.tracks, self.axes, values.shape[-1] // (self.tracks * self.axes))
        tracks = values.astype(np.float64).reshape(shape).transpose(0, 3, 1, 2)
        length = np.linalg.norm(tracks[..., :NUM_DIRECTION_AXES], axis=-1)
        active = length > np.reshape(threshold, (-1, 1))
        # Only cells with an active track go on: a few in a hundred.
        frame, class_index = np.nonzero(active.any(axis=-1))
        cells = frame, class_index
        tracks, active = self.unified(tracks[cells], length[cells], active[cells])
        cell, _ = np.nonzero(active)
        rows = tracks[active]
        direction, distance = rows[:, :NUM_DIRECTION_AXES], rows[:, NUM_DIRECTION_AXES:]
        return Detections(
            frame[cell].astype(np.int64), class_index[cell].astype(np.int64), direction, *distance.T.copy()
        )

    def unified(
        self, tracks: NDArray[np.float64], length: NDArray[np.float64], active: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Cells (n, tracks, axes) with tracks that are one event joined, and which rows are events, (n, tracks).

        Args:
            length: (n, tracks), of the vectors.
            active: (n, tracks), which of them are long enough.
        """
        return tracks, active


@dataclass(frozen=True, kw_only=True)
class VectorOutput(Output):
    """One that learns by the mean squared error of its vectors, in which what is rare may count more."""

    vertical_weight: float = later(1.0)
    """How much more than the other two axes z counts in the loss: 1 as published. Most sources are near the horizon, so
    that z varies little, and a model leaves it at zero for long."""
    active_weight: float = later(1.0)
    """How much more a class counts in the label frames that have an event of it: 1 as published. Of a hundred vectors a
    few are not zero, and a model that says nothing is nearly right for long."""

    def __post_init__(self) -> None:
        check_positive(self, "output", "vertical_weight", "active_weight")

    def loss(self, output: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
        tracks = output.unflatten(-1, (self.tracks, self.axes, -1)).float()
        target = target.float()
        if self.vertical_weight != 1.0:
            tracks, target = self._stretched(tracks, target)
        errors = self.errors(tracks, target)
        if self.active_weight != 1.0:
            errors = torch.where(target[..., 0, :].any(dim=2), self.active_weight * errors, errors)
        per_label = errors.mean(dim=-1)
        return per_label.mean() if valid is None else (per_label * valid).sum() / valid.sum().clamp(min=1)

    @abstractmethod
    def errors(self, tracks: Tensor, target: Tensor) -> Tensor:
        """Mean squared error of each label frame and class, (B, T, C).

        Args:
            tracks: (B, T, tracks, axes, C), float32.
            target: as that of `loss`, float32.
        """

    def _stretched(self, tracks: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Both with their z multiplied, which is behind the activity in a target."""
        scale, of_target = (values.new_ones(values.shape[-2], 1) for values in (tracks, target))
        scale[2] = of_target[3] = self.vertical_weight
        return tracks * scale, target * of_target


OUTPUTS: Registry[type[Output]] = Registry("output", Output, order=("multi_accdoa", "multi_accddoa", "accdoa"))
