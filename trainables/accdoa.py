"""ACCDOA: one vector for each track and class, whose length is activity and whose direction is where it is.

Losses and decoding of Shimada et al., "ACCDOA: activity-coupled Cartesian direction of arrival representation" (ICASSP
2021) with one track, and "Multi-ACCDOA: localizing and detecting overlapping sounds from the same class with auxiliary
duplicating permutation invariant training" (ICASSP 2022) with three; a fourth axis holds distance, as in the baseline
of DCASE 2024. Outputs are tracks x axes x classes along their last dimension, in that order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from data.classes import NUM_CLASSES
from data.geometry import angles_deg
from data.labels import MAX_TRACKS, Events
from trainables.config import Accdoa, MultiAccddoa, MultiAccdoa, Output

NUM_DIRECTION_AXES = 3

# The sources of one cell (label frame and class) as three vectors and a spare: with one event A A A | A, with two
# B0 B1 B0 | B1, with three C0 C1 C2 | C2. Which of the four each track is compared with, in every allowed way: the six
# orders of the first three hold all of A, all of C and three of B; the spare gives the other three of B.
_ORDERS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0), (0, 1, 3), (1, 0, 3), (1, 3, 0))


def output_width(form: Output) -> int:
    """Values in one label frame of the output, e.g. 3 tracks x 3 axes x 13 classes = 117."""
    return form.tracks * form.axes * NUM_CLASSES


def activate(raw: Tensor, form: Output) -> Tensor:
    """Bound the network's last layer (..., output width): directions by tanh, distances from below by ReLU."""
    if form.axes == NUM_DIRECTION_AXES:
        return torch.tanh(raw)
    axes = raw.unflatten(-1, (form.tracks, form.axes, NUM_CLASSES))
    direction, distance = axes.split((NUM_DIRECTION_AXES, form.axes - NUM_DIRECTION_AXES), dim=-2)
    return torch.cat((torch.tanh(direction), F.relu(distance)), dim=-2).flatten(-3)


def accdoa_loss(output: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean squared error of the only track against the first event of each class; arguments of `adpit_loss`."""
    vectors = output.unflatten(-1, (1, -1, NUM_CLASSES)).float().squeeze(-3)
    activity, rest = target.float()[..., :1, :], target.float()[..., 1 : 1 + vectors.shape[-2], :]
    # A0, B0 and C0: the first event, of however many.
    first = (activity * rest)[:, :, (0, 1, 3)].sum(dim=2)
    return _mean_over_valid(F.mse_loss(vectors, first, reduction="none").mean(dim=(2, 3)), valid)


def adpit_loss(output: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean squared error under the best assignment of tracks to events, chosen for each label frame and class.

    Args:
        output: (B, T, 117), 3 tracks x 3 axes x 13 classes, or 156 with distance.
        target: (B, T, 6, 5, 13), dummy tracks A0 B0 B1 C0 C1 C2; activity, x, y, z, distance in metres
            (`data.labels.adpit_target`).
        valid: bool (B, T); only these label frames count. None: all.

    Returns:
        Scalar in the precision of float32 or better; 0 where no label frame is valid.
    """
    # Label frames and classes last, in one piece: every step of the assignment then runs along contiguous memory.
    tracks = output.unflatten(-1, (MAX_TRACKS, -1, NUM_CLASSES)).float().permute(2, 3, 0, 1, 4).contiguous()
    nearest = _nearest_target(tracks.detach(), target.float())
    if valid is None:
        return F.mse_loss(tracks, nearest)
    return _mean_over_valid(F.mse_loss(tracks, nearest, reduction="none").mean(dim=(0, 1, 4)), valid)


def _mean_over_valid(per_label: Tensor, valid: Tensor | None) -> Tensor:
    return per_label.mean() if valid is None else (per_label * valid).sum() / valid.sum().clamp(min=1)


@torch.no_grad()
def _nearest_target(tracks: Tensor, target: Tensor) -> Tensor:
    """Of the allowed targets the one nearest to `tracks` (3 tracks, axes, B, T, 13), in that layout."""
    activity, vectors = target.permute(2, 3, 0, 1, 4)[:, : 1 + tracks.shape[1]].split((1, tracks.shape[1]), dim=1)
    a0, b0, b1, c0, c1, c2 = activity * vectors
    sources = torch.stack((a0 + b0 + c0, a0 + b1 + c1, a0 + b0 + c2, a0 + b1 + c2))
    # |track - source|^2 without |track|^2, which is the same for every order: (3 tracks, 4 sources, B, T, 13).
    distance = sources.square().sum(1) - 2.0 * (tracks.unsqueeze(1) * sources).sum(2)
    first, *others = [distance[0, i] + distance[1, j] + distance[2, k] for i, j, k in _ORDERS]
    # A running minimum is several times faster than argmin over a short leading axis.
    lowest, best = first, torch.zeros_like(first, dtype=torch.int64)
    for number, cost in enumerate(others, 1):
        best.masked_fill_(cost < lowest, number)
        lowest = torch.minimum(lowest, cost)
    order = torch.tensor(_ORDERS, device=tracks.device).t()[:, best]
    return sources.gather(0, order.unsqueeze(1).expand_as(tracks))


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor | None], Tensor]] = {
    MultiAccdoa.name: adpit_loss,
    MultiAccddoa.name: adpit_loss,
    Accdoa.name: accdoa_loss,
}
"""The loss of each output format."""


@dataclass(frozen=True, eq=False)
class Detections:
    """Predicted events, one row per event and label frame; the length of a vector is how active its class is."""

    frame: NDArray[np.int64]
    class_index: NDArray[np.int64]
    vector: NDArray[np.float64]
    """(n, 3): x, y, z."""
    distance_m: NDArray[np.float64] | None = None
    """(n,): where the model tells distances."""

    def __len__(self) -> int:
        return len(self.frame)

    def events(self) -> Events:
        """As an event table with angles in degrees; the source is the row's number in its label frame and class."""
        azimuth, elevation = angles_deg(self.vector)
        cell = self.frame * NUM_CLASSES + self.class_index
        distance_cm = None if self.distance_m is None else 100.0 * self.distance_m
        return Events.build(self.frame, self.class_index, rank_within(cell), azimuth, elevation, distance_cm)


def rank_within(key: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row, how many earlier rows have its key."""
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    rank = np.empty(len(key), dtype=np.int64)
    rank[order] = np.arange(len(key)) - np.searchsorted(ordered, ordered)
    return rank


def decode(output: Tensor | NDArray, form: Output, threshold: float | NDArray = 0.5) -> Detections:
    """Detections of a recording, ordered by label frame, then class.

    A track is active where its vector is longer than `threshold`. Active tracks of one class closer than
    `form.unify_deg` are one event, at the mean of their vectors; with two or more close pairs all three are.

    Args:
        output: (T, output width), tracks x axes x classes; row i is label frame i.
        threshold: one for all classes, or (13,).
    """
    values = output.detach().cpu().numpy() if isinstance(output, Tensor) else np.asarray(output)
    shape = (len(values), form.tracks, form.axes, NUM_CLASSES)
    tracks = values.astype(np.float64).reshape(shape).transpose(0, 3, 1, 2)
    length = np.linalg.norm(tracks[..., :NUM_DIRECTION_AXES], axis=-1)
    active = length > np.reshape(threshold, (-1, 1))
    # Only cells with an active track go on: a few in a hundred.
    frame, class_index = np.nonzero(active.any(axis=-1))
    tracks, length, active = tracks[frame, class_index], length[frame, class_index], active[frame, class_index]
    if isinstance(form, MultiAccdoa):
        tracks, active = _unified(tracks, length, active, form.unify_deg)
    cell, _ = np.nonzero(active)
    rows = tracks[active]
    direction, distance = rows[:, :NUM_DIRECTION_AXES], rows[:, NUM_DIRECTION_AXES:]
    return Detections(frame[cell].astype(np.int64), class_index[cell].astype(np.int64), direction, *distance.T.copy())


def _unified(
    tracks: NDArray[np.float64], length: NDArray[np.float64], active: NDArray[np.bool_], unify_deg: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Cells of three tracks (n, 3, axes) with close ones joined: up to three rows a cell, and which of them are."""
    unit = tracks[..., :NUM_DIRECTION_AXES] / np.maximum(length, 1e-12)[..., None]
    near = np.cos(np.deg2rad(unify_deg))
    pairs = ((0, 1), (1, 2), (2, 0))
    similar = np.stack(
        [active[:, i] & active[:, j] & ((unit[:, i] * unit[:, j]).sum(-1) > near) for i, j in pairs], axis=1
    )
    # Single tracks first, then what was unified.
    rows, kept = np.zeros_like(tracks), np.zeros_like(active)
    count = similar.sum(axis=1)
    apart = count == 0
    rows[apart], kept[apart] = tracks[apart], active[apart]
    for pair, (i, j) in enumerate(pairs):
        chosen = (count == 1) & similar[:, pair]
        alone = MAX_TRACKS - i - j
        rows[chosen, 0], kept[chosen, 0] = tracks[chosen, alone], active[chosen, alone]
        rows[chosen, 1], kept[chosen, 1] = (tracks[chosen, i] + tracks[chosen, j]) / 2, True
    together = count >= 2
    rows[together, 0], kept[together, 0] = tracks[together].mean(axis=1), True
    return rows, kept
