"""One part of each kind that the project does not know."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from data.registry.parts import Registry
from trainables.checks import check_positive
from trainables.config import (
    AudioEncoder,
    Fusion,
    Optimiser,
    Output,
    Schedule,
    VisualEncoder,
)
from trainables.parts.fusions import FusionModule
from trainables.parts.fusions.contract import joined
from trainables.parts.schedules import Multiplier
from trainables.parts.visual.modules import VisualModule
from trainables.weights.fitting import WeightsSlot
from trainables.weights.kinds import WeightsKind


@contextmanager
def registered(registry: Registry, *parts: Any) -> Iterator[None]:
    """The parts are there inside the block, and gone after it."""
    before = dict(registry._parts)
    try:
        for part in parts:
            registry.register(part)
        yield
    finally:
        registry._parts = before


@dataclass(frozen=True, kw_only=True)
class Weighed(Fusion):
    """A fusion as somebody else would write it: the sum of both embeddings, projected."""

    name: ClassVar[str] = "weighed"
    needs: ClassVar[tuple[str, ...]] = ("audio", "visual")
    hidden: int = 8

    def __post_init__(self) -> None:
        check_positive(self, "fusion", "hidden")

    @property
    def depth(self) -> int:
        return 1

    def build(self, audio_width: int, visual_width: int) -> FusionModule:
        return WeighedFusion(audio_width + visual_width, self.hidden)


class WeighedFusion(FusionModule):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.width_out = hidden
        self.project = nn.Linear(width, hidden)

    def forward(self, audio: Tensor | None, visual: Tensor | None) -> Tensor:
        return self.project(joined(audio, visual))


@dataclass(frozen=True, kw_only=True)
class Sgd(Optimiser):
    name: ClassVar[str] = "sgd"
    lr: float = 0.1
    momentum: float = 0.5

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=self.lr, momentum=self.momentum)


@dataclass(frozen=True, kw_only=True)
class Halved(Schedule):
    """Half the rate in every epoch that follows."""

    name: ClassVar[str] = "halved"

    def multiplier(self, epochs: int, steps_per_epoch: int) -> Multiplier:
        return lambda step: 0.5 ** (step // steps_per_epoch)


@dataclass(frozen=True, kw_only=True)
class OneTrack(Output):
    """One vector a class for the loudest event, learnt by its first axis alone."""

    name: ClassVar[str] = "one_track"
    tracks: ClassVar[int] = 1
    axes: ClassVar[int] = 3

    def loss(self, output: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
        return (output - 0.1).square().mean()


@dataclass(frozen=True, kw_only=True)
class Pooled(AudioEncoder):
    """The mean of each label frame's features, projected."""

    name: ClassVar[str] = "pooled"
    width_field: ClassVar[str] = "width"
    width: int = 12
    weights: str | None = None

    def slots(self) -> tuple[WeightsSlot, ...]:
        return (WeightsSlot(field="audio.weights", uri=self.weights, kinds=("pooled",), place="audio", loud=True),)

    def build(self, num_bands: int) -> nn.Module:
        return PooledEncoder(num_bands, self.width)


class PooledEncoder(nn.Module):
    def __init__(self, num_bands: int, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(7 * num_bands, width)

    def forward(self, features: Tensor) -> Tensor:
        steps = features.shape[2] // 8
        return self.project(features.unflatten(2, (steps, 8)).mean(3).transpose(1, 2).flatten(2))


@dataclass(frozen=True, kw_only=True)
class Brightness(VisualEncoder):
    """How bright each picture is, projected."""

    name: ClassVar[str] = "brightness"
    reads: ClassVar[str | None] = "frames"

    def build(self, width: int) -> VisualModule:
        return BrightnessEncoder(width)


class BrightnessEncoder(VisualModule):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(1, width)

    def embed(self, seen: Tensor) -> Tensor:
        return seen.float().mean(dim=(2, 3, 4), keepdim=False)[..., None] / 255.0

    def encode(self, embedding: Tensor, steps: int) -> Tensor:
        return self.project(nn.functional.interpolate(embedding.transpose(1, 2), steps).transpose(1, 2))


POOLED_KIND = WeightsKind(
    name="pooled",
    title="a pooled encoder",
    marks=("project.weight", "project.bias"),
    rename=dict,
    field="audio.weights",
)
