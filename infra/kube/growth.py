"""How far the cluster of a manifest may grow, for its head's environment to say (`infra.cluster.growth`)."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from infra.kube.documents import under
from infra.kube.quantities import quantity

GPU = "nvidia.com/gpu"


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
