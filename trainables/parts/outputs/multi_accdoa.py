"""Multi-ACCDOA: three tracks, learnt under the best assignment of tracks to events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from data.labels import MAX_TRACKS
from trainables.checks import check
from trainables.parts.outputs.contract import NUM_DIRECTION_AXES, OUTPUTS, VectorOutput

# The sources of one cell (label frame and class) as three vectors and a spare: with one event A A A | A, with two
# B0 B1 B0 | B1, with three C0 C1 C2 | C2. Which of the four each track is compared with, in every allowed way: the six
# orders of the first three hold all of A, all of C and three of B; the spare gives the other three of B.
_ORDERS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0), (0, 1, 3), (1, 0, 3), (1, 3, 0))


@OUTPUTS.register
@dataclass(frozen=True, kw_only=True)
class MultiAccdoa(VectorOutput):
    """Three tracks of one vector a class: overlapping events of a class can be told apart (Shimada et al., 2022)."""

    name: ClassVar[str] = "multi_accdoa"
    tracks: ClassVar[int] = 3
    axes: ClassVar[int] = 3
    unify_deg: float = 15.0
    """Active tracks of one class closer than this are one event."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(0.0 <= self.unify_deg <= 180.0, "output.unify_deg", self.unify_deg, "has to be in [0, 180]")

    def errors(self, tracks: Tensor, target: Tensor) -> Tensor:
        """Under the best assignment of tracks to events, chosen for each label frame and class."""
        # Label frames and classes last, in one piece: every step of the assignment then runs along contiguous memory.
        tracks = tracks.permute(2, 3, 0, 1, 4).contiguous()
        return F.mse_loss(tracks, _nearest_target(tracks.detach(), target), reduction="none").mean(dim=(0, 1))

    def unified(
        self, tracks: NDArray[np.float64], length: NDArray[np.float64], active: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Active tracks of one class closer than `unify_deg` are one event, at the mean of their vectors; with two or
        more close pairs all three are."""
        return _unified(tracks, length, active, self.unify_deg)


@torch.no_grad()
def _nearest_target(tracks: Tensor, target: Tensor) -> Tensor:
    """Of the allowed targets the one nearest to `tracks` (3 tracks, axes, B, T, C), in that layout."""
    activity, vectors = target.permute(2, 3, 0, 1, 4)[:, : 1 + tracks.shape[1]].split((1, tracks.shape[1]), dim=1)
    a0, b0, b1, c0, c1, c2 = activity * vectors
    sources = torch.stack((a0 + b0 + c0, a0 + b1 + c1, a0 + b0 + c2, a0 + b1 + c2))
    # |track - source|^2 without |track|^2, which is the same for every order: (3 tracks, 4 sources, B, T, C).
    distance = sources.square().sum(1) - 2.0 * (tracks.unsqueeze(1) * sources).sum(2)
    first, *others = [distance[0, i] + distance[1, j] + distance[2, k] for i, j, k in _ORDERS]
    # A running minimum is several times faster than argmin over a short leading axis.
    lowest, best = first, torch.zeros_like(first, dtype=torch.int64)
    for number, cost in enumerate(others, 1):
        best.masked_fill_(cost < lowest, number)
        lowest = torch.minimum(lowest, cost)
    order = torch.tensor(_ORDERS, device=tracks.device).t()[:, best]
    return sources.gather(0, order.unsqueeze(1).expand_as(tracks))


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
