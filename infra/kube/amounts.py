"""How much pods ask for: one, and all of a document's at its largest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from infra.kube.documents import under
from infra.kube.growth import GPU
from infra.kube.pods import Container, Pod
from infra.kube.quantities import quantity


@dataclass(frozen=True)
class Amounts:
    """CPUs, bytes of memory and GPUs that are asked for."""

    cpu: Fraction = Fraction(0)
    memory: Fraction = Fraction(0)
    gpu: Fraction = Fraction(0)

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(self.cpu + other.cpu, self.memory + other.memory, self.gpu + other.gpu)

    def __sub__(self, other: Amounts) -> Amounts:
        return Amounts(self.cpu - other.cpu, self.memory - other.memory, self.gpu - other.gpu)

    def __mul__(self, times: int) -> Amounts:
        return Amounts(self.cpu * times, self.memory * times, self.gpu * times)

    def at_least(self, other: Amounts) -> Amounts:
        """The larger of each."""
        return Amounts(max(self.cpu, other.cpu), max(self.memory, other.memory), max(self.gpu, other.gpu))

    def lacking(self, room: Amounts) -> str:
        """What of this there is not room for, in words; empty where all fits."""
        short = [
            f"{float(asked):g} {unit} of {float(there):g}"
            for asked, there, unit in (
                (self.cpu, room.cpu, "CPU"),
                (self.memory / 2**30, room.memory / 2**30, "GiB"),
                (self.gpu, room.gpu, "GPU"),
            )
            if asked > there
        ]
        return ", ".join(short)

    def __str__(self) -> str:
        text = f"{float(self.cpu):g} CPU, {float(self.memory / 2**30):g} GiB"
        return f"{text}, {float(self.gpu):g} GPU" if self.gpu else text


def amounts_of(quantities: Mapping[str, Any], prefix: str = "") -> Amounts:
    """Of a list of quantities: a container's requests, a node's allocatable, a quota with `requests.` before each.

    Raises:
        UserError: one of them is no quantity.
    """
    cpu, memory, gpu = (quantity(quantities.get(f"{prefix}{name}", 0)) for name in ("cpu", "memory", GPU))
    return Amounts(cpu, memory, gpu)


def asked_by(pod: Pod) -> Amounts:
    """What the scheduler places one such pod by.

    Its containers together with those before them that stay (`restartPolicy: Always`), or where that is more, one that
    runs before them and ends, with those that stayed by then. What a pod as a whole asks for goes before that.

    Raises:
        UserError: a request is no quantity.
    """
    staying, most = Amounts(), Amounts()
    for container in pod.first:
        one = _requests(container.body)
        if container.body.get("restartPolicy") == "Always":
            staying = staying + one
        most = most.at_least(staying if container.body.get("restartPolicy") == "Always" else staying + one)
    together = sum((_requests(container.body) for container in pod.containers), staying).at_least(most)
    whole = pod.spec.get("resources") or {}
    if whole.get("requests") or whole.get("limits"):
        own = {**(whole.get("limits") or {}), **(whole.get("requests") or {})}
        asked = amounts_of(own)
        together = Amounts(
            asked.cpu if "cpu" in own else together.cpu,
            asked.memory if "memory" in own else together.memory,
            together.gpu,
        )
    return together + amounts_of(pod.spec.get("overhead") or {})


def at_largest(pods: Iterable[Pod], of: str = "requests") -> Amounts:
    """Of all pods together, when there are as many of each as there may be.

    Args:
        of: requests, or limits.

    Raises:
        UserError: a request is no quantity.
    """
    if of == "limits":
        return sum((sum(map(_limits, pod.containers), Amounts()) * pod.most for pod in pods), Amounts())
    return sum((asked_by(pod) * pod.most for pod in pods), Amounts())


def _limits(container: Container) -> Amounts:
    return amounts_of(under(container.body, "resources.limits") or {})


def _requests(container: Mapping[str, Any]) -> Amounts:
    resources = container.get("resources") or {}
    return amounts_of({**(resources.get("limits") or {}), **(resources.get("requests") or {})})
