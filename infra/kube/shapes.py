"""Clusters for one sweep, by name: what its pods are and how many of them.

A pod is about a node: KubeRay tells Ray a pod's limits, and Ray places better within few large pods than over many
small ones. Costs: the head and the group of drivers run as long as the sweep; trainers come when a trial waits for them
and go a minute after the last one left; their number bounds the trials at a time, not their sum.
"""

from __future__ import annotations

from dataclasses import dataclass

from data.errors import UserError


@dataclass(frozen=True)
class PodSize:
    """What a pod asks for, which is also its limit."""

    cpus: int
    memory_gib: int
    gpus: int = 0


@dataclass(frozen=True)
class PodGroup:
    """Pods of one size, so many at least and at most."""

    size: PodSize
    least: int
    most: int


@dataclass(frozen=True)
class Shape:
    """The pods of a sweep's cluster."""

    purpose: str
    head: PodSize
    """Runs the search and no trial: its memory grows with the trials, a few MB a thousand."""
    trainers: PodGroup
    """Run trials. May be spot: a lost one costs each of its trials the epoch it was in."""
    data: PodGroup | None = None
    """Decode what is streamed, so that trainers' CPUs do not."""
    drivers: PodGroup | None = None
    """Hold the drivers of worker groups on nodes that stay; for trials of several workers."""


SHAPES: dict[str, Shape] = {
    "cpu": Shape(
        "two trials at a time without GPUs, to try things out",
        head=PodSize(2, 8),
        trainers=PodGroup(PodSize(2, 8), 1, 2),
    ),
    "gpu": Shape(
        "up to eight trials at a time with a GPU each",
        head=PodSize(4, 16),
        trainers=PodGroup(PodSize(8, 48, 1), 0, 8),
        data=PodGroup(PodSize(8, 32), 0, 2),
    ),
    "gpu8": Shape(
        "whole nodes of eight GPUs, for trials of one or many workers",
        head=PodSize(8, 32),
        trainers=PodGroup(PodSize(64, 480, 8), 0, 4),
        data=PodGroup(PodSize(16, 64), 0, 4),
        drivers=PodGroup(PodSize(2, 8), 1, 2),
    ),
}


def require_room(shape: Shape, workers: int, cpus: int, gpus: float) -> None:
    """UserError unless a trial of so many workers, each of so many CPUs and GPUs, can ever run on this shape."""
    pod, most = shape.trainers.size, shape.trainers.most
    fits = min(pod.cpus // cpus, int(pod.gpus // gpus) if gpus else workers)
    if fits * most < workers:
        raise UserError(
            f"a trial takes {workers} x ({cpus} CPU, {gpus:g} GPU), and there are at most {most} trainers of "
            f"{pod.cpus} CPU and {pod.gpus} GPU; choose another --shape, or fewer of --workers, --cpus or --gpus"
        )


def find_shape(name: str) -> Shape:
    """The shape of this name.

    Raises:
        UserError: there is none.
    """
    if name not in SHAPES:
        known = "; ".join(f"{known}: {shape.purpose}" for known, shape in SHAPES.items())
        raise UserError(f"--shape {name!r} is not known; there are {known}")
    return SHAPES[name]
