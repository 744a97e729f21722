"""Changes of a document, to plant a mistake in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from infra.kube.rayjob import JobRequest
from infra.kube.shapes import SHAPES

Change = Callable[[dict[str, Any]], None]
Mistakes = dict[str, tuple[Change, str]]
"""What is wrong -> how to plant it, and the path at which it is refused."""

CLUSTER = "spec.rayClusterSpec"
HEAD = f"{CLUSTER}.headGroupSpec"
GROUP = f"{CLUSTER}.workerGroupSpecs[0]"
CONTAINER = "template.spec.containers[0]"


def put(path: str, value: Any) -> Change:
    """A change of one field; a value of nothing takes it away."""

    def change(document: dict[str, Any]) -> None:
        *way, last = [int(key) if key.isdigit() else key for key in path.replace("[", ".").replace("]", "").split(".")]
        place: Any = document
        for key in way:
            place = place[key] if isinstance(key, int) else place.setdefault(key, {})
        if value is None:
            del place[last]
        else:
            place[last] = value

    return change


def all_of(*changes: Change) -> Change:
    """Several changes, one after the other."""

    def change(document: dict[str, Any]) -> None:
        for each in changes:
            each(document)

    return change


def request(namespace: str, **changes: Any) -> JobRequest:
    """A sweep to plant mistakes in."""
    plain = JobRequest(
        sweep="conformance",
        arguments=["sweep", "quickstart", "--name", "conformance"],
        budget_s=3600,
        overlay="gpu",
        shape=SHAPES["gpu"],
        image="ghcr.io/seldtune/seldtune:0.1.0-ray2.60.0-cuda",
        ray_version="2.60.0",
        namespace=namespace,
    )
    return dataclasses.replace(plain, **changes)
