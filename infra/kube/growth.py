"""How far a cluster that Ray's autoscaler scales may grow: its nodes come when trials wait for them.

Ray tells nobody how far its autoscaler goes, and a sweep that begins on a head alone would find no room for a trial. So
the head's environment says it, and a sweep counts on what it says.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

from data.errors import UserError
from infra.kube.documents import under
from infra.kube.quantities import quantity

GROWS_TO_VARIABLE = "SELDTUNE_GROWS_TO"
GPU = "nvidia.com/gpu"
_FORM = re.compile(r"CPU=(\d+),GPU=(\d+)")


def grows_to(cluster: dict[str, Any]) -> str:
    """CPUs and GPUs of all groups of a RayCluster's spec at their largest, as the variable has them.

    Raises:
        UserError: a limit is no quantity.
    """
    cpus = gpus = Fraction(0)
    for group in cluster.get("workerGroupSpecs") or []:
        containers = under(group, "template.spec.containers") or [{}]
        limits = under(containers[0], "resources.limits") or {}
        most = group.get("maxReplicas", 0) * group.get("numOfHosts", 1)
        cpus += most * quantity(under(group, "rayStartParams.num-cpus") or limits.get("cpu", 0))
        gpus += most * quantity(under(group, "rayStartParams.num-gpus") or limits.get(GPU, 0))
    return f"CPU={int(cpus)},GPU={int(gpus)}"


def parse_grows_to(text: str) -> dict[str, float]:
    """CPU and GPU of the variable.

    Raises:
        UserError: another form.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise UserError(f"{GROWS_TO_VARIABLE} is {text!r}; write what the cluster may grow to, e.g. CPU=80,GPU=8")
    return {"CPU": float(found[1]), "GPU": float(found[2])}
