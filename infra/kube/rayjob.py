"""The RayJob of a sweep: its own cluster, started for it and gone after it.

The job is the same command as on a laptop. A retry (`backoffLimit`) brings a new cluster, and the same command goes on
with the sweep where its record on object storage says; so nothing of Ray's own recovery is needed, or asked for.
"""

from __future__ import annotations

import copy
import hashlib
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from data.errors import UserError
from infra.cluster.growth import GROWS_TO_VARIABLE, TRIAL_DRIVER
from infra.kube.growth import GPU, grows_to
from infra.kube.rules.kuberay import LONGEST_NAME
from infra.kube.rules.kueue import PRIORITY_LABEL, QUEUE_LABEL
from infra.kube.rules.platform import SAFE_TO_EVICT
from infra.kube.shapes import PodGroup, PodSize, Shape

OVERLAYS = ("dev", "gpu", "kueue")
SETTINGS_CONFIG_MAP = "seldtune-settings"
SECRETS = ("seldtune-storage", "seldtune-mlflow")
"""Whose keys are variables of every Ray pod."""
TOKEN_SECRET = "seldtune-ray-token"
SERVICE_ACCOUNT = "seldtune-sweep"
HEAD_PRIORITY = "seldtune-head"
SWEEP_LABEL = "seldtune.dev/sweep"
CPU_NODES = {"seldtune.dev/nodes": "on-demand"}
GPU_NODES = {"seldtune.dev/nodes": "gpu"}
USER_ID = 1000

ENDED = ("Complete", "Failed", "ValidationFailed")
"""`status.jobDeploymentStatus` of a RayJob that does not go on; one stopped in Ray's dashboard is Complete."""

START_S = 3600
"""Beside the sweep's own time: decoding the data, and what a sweep does at its end. KubeRay counts from the beginning
of a job, so that what it waits for nodes is added as well."""
KEEP_CLUSTER_S = 600
"""How long a failed sweep's pods stay, to be looked at."""
KEEP_JOB_S = 7 * 24 * 3600
"""How long the RayJob itself stays, with how it ended."""
GRACE_S = 120
"""For a pod that is asked to go; a report is written within an epoch, and what is lost is that epoch."""
SHARED_MEMORY_SHARE = 3
"""A third of a pod's memory is shared: Ray's object store, and what DataLoaders and NCCL pass on."""


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """What a RayJob is made from."""

    sweep: str
    arguments: Sequence[str]
    """Words behind `seldtune`."""
    budget_s: float
    overlay: str
    shape: Shape
    image: str
    ray_version: str
    namespace: str = "seldtune"
    queue: str = "seldtune"
    priority: str | None = None
    """Of Kueue's WorkloadPriorityClasses."""
    token_secret: str = TOKEN_SECRET
    """Holds Ray's token. Another name is how a token is changed while sweeps run: they keep theirs."""
    spot: bool = False
    restarts: int = 3
    wait_s: float = 6 * 3600
    """How long it may wait for its nodes."""


def job_name(sweep: str) -> str:
    """A sweep's name as Kubernetes takes it; one that had to be changed ends with letters of its own.

    Two sweeps never come to one name: the second would change the first's job, and take its place at a restart.

    Raises:
        UserError: it is too long.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", sweep.lower()).strip("-")
    name = f"sweep-{plain}" if plain == sweep else f"sweep-{plain}-{hashlib.sha256(sweep.encode()).hexdigest()[:4]}"
    if len(name) > LONGEST_NAME["RayJob"]:
        longest = LONGEST_NAME["RayJob"]
        raise UserError(f"RayJob {name!r} has {len(name)} characters and may have {longest}: give a shorter --name")
    return name


def rayjob(request: JobRequest) -> dict[str, Any]:
    """The document.

    Raises:
        UserError: an unknown overlay, a sweep's name that is too long, a shape with GPUs in overlay dev, or a priority
            outside of a queue.
    """
    if request.overlay not in OVERLAYS:
        raise UserError(f"--overlay {request.overlay!r} is not known; choose one of {', '.join(OVERLAYS)}")
    if request.overlay == "dev" and request.shape.trainers.size.gpus:
        raise UserError("overlay dev has no GPUs; choose --shape cpu, or --overlay gpu")
    queued = request.overlay == "kueue"
    if request.priority and not queued:
        raise UserError(f"--priority {request.priority} is of a queue: choose --overlay kueue, or leave it out")
    name = job_name(request.sweep)
    labels = {"app.kubernetes.io/name": "seldtune", "app.kubernetes.io/part-of": "seldtune", SWEEP_LABEL: name}
    if queued:
        labels[QUEUE_LABEL] = request.queue
        if request.priority:
            labels[PRIORITY_LABEL] = request.priority
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": name, "namespace": request.namespace, "labels": labels},
        "spec": {
            "submissionMode": "K8sJobMode",
            "entrypoint": shlex.join(["seldtune", *request.arguments]),
            "backoffLimit": request.restarts,
            "activeDeadlineSeconds": int(request.wait_s + request.budget_s) + START_S,
            "preRunningDeadlineSeconds": int(request.wait_s),
            **(_gone_in_a_queue() if queued else _gone()),
            "rayClusterSpec": _cluster(request, autoscaling=not queued),
            "submitterPodTemplate": _submitter(request),
        },
    }


def _gone() -> dict[str, Any]:
    ended = {"jobStatus": "SUCCEEDED"}, 0
    failed = {"jobDeploymentStatus": "Failed"}, KEEP_CLUSTER_S
    rules = [
        {"policy": policy, "condition": {**condition, "ttlSeconds": seconds}}
        for condition, after_s in (ended, failed)
        for policy, seconds in (("DeleteCluster", after_s), ("DeleteSelf", KEEP_JOB_S))
    ]
    return {"deletionStrategy": {"deletionRules": rules}}


def _gone_in_a_queue() -> dict[str, Any]:
    # Kueue takes no deletion rules.
    return {"shutdownAfterJobFinishes": True, "ttlSecondsAfterFinished": KEEP_CLUSTER_S}


def _cluster(request: JobRequest, *, autoscaling: bool) -> dict[str, Any]:
    shape = request.shape
    on_demand, gpu = dict(CPU_NODES), dict(GPU_NODES)
    groups = [_group(request, "trainers", shape.trainers, gpu if shape.trainers.size.gpus else on_demand, autoscaling)]
    if request.spot:
        groups[0]["labels"] = {"ray.io/market-type": "spot"}
    if shape.data:
        groups.append(_group(request, "data", shape.data, on_demand, autoscaling))
    if shape.drivers:
        drivers = _group(request, "drivers", shape.drivers, on_demand, autoscaling)
        # Nothing but drivers fits there.
        drivers["rayStartParams"] = {"num-cpus": "0", "resources": f'"{{\\"{TRIAL_DRIVER}\\": 64}}"'}
        drivers["minReplicas"] = drivers["replicas"] = shape.drivers.least
        groups.append(drivers)
    head = _pod(request, shape.head, on_demand, role="head")
    head["metadata"]["annotations"] = {SAFE_TO_EVICT: "false"}
    head["spec"]["priorityClassName"] = HEAD_PRIORITY
    cluster: dict[str, Any] = {
        "rayVersion": request.ray_version,
        "authOptions": {"mode": "token", "secretName": request.token_secret},
        "headGroupSpec": {
            "rayStartParams": {"num-cpus": "0", "num-gpus": "0", "dashboard-host": "0.0.0.0"},
            "template": head,
        },
        "workerGroupSpecs": groups,
    }
    if autoscaling:
        head["spec"]["containers"][0]["env"] = [{"name": GROWS_TO_VARIABLE, "value": grows_to(cluster)}]
        cluster["enableInTreeAutoscaling"] = True
        cluster["autoscalerOptions"] = {
            "version": "v2",
            "idleTimeoutSeconds": 60,
            "upscalingMode": "Default",
            "securityContext": copy.deepcopy(RESTRICTED),
            "resources": {
                "limits": {"cpu": "500m", "memory": "1Gi"},
                "requests": {"cpu": "500m", "memory": "1Gi"},
            },
        }
    return cluster


def _group(request: JobRequest, name: str, group: PodGroup, nodes: dict[str, str], autoscaling: bool) -> dict[str, Any]:
    least = group.least if autoscaling else group.most
    return {
        "groupName": name,
        "replicas": least,
        "minReplicas": least,
        "maxReplicas": group.most,
        "rayStartParams": {},
        "template": _pod(request, group.size, nodes, role=name, spot=request.spot and name == "trainers"),
    }


RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "runAsUser": USER_ID,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""What the namespace's admission (restricted) asks of every container."""


def _pod(request: JobRequest, size: PodSize, nodes: dict[str, str], *, role: str, spot: bool = False) -> dict[str, Any]:
    amounts = {"cpu": str(size.cpus), "memory": f"{size.memory_gib}Gi"}
    tolerations = []
    if size.gpus:
        amounts[GPU] = str(size.gpus)
        tolerations.append({"key": GPU, "operator": "Exists", "effect": "NoSchedule"})
    if spot:
        nodes = {**nodes, "seldtune.dev/market": "spot"}
        tolerations.append({"key": "seldtune.dev/spot", "operator": "Exists", "effect": "NoSchedule"})
    labels = {"app.kubernetes.io/part-of": "seldtune", "seldtune.dev/role": role}
    return {
        "metadata": {"labels": labels},
        "spec": {
            **({} if request.overlay == "dev" else {"nodeSelector": dict(nodes)}),
            **({"tolerations": tolerations} if tolerations else {}),
            "serviceAccountName": SERVICE_ACCOUNT,
            "automountServiceAccountToken": role == "head",  # for the autoscaler beside it
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": GRACE_S,
            "securityContext": {"runAsNonRoot": True, "runAsUser": USER_ID, "fsGroup": USER_ID},
            "containers": [
                {
                    "name": "ray",
                    "image": request.image,
                    "envFrom": [
                        {"configMapRef": {"name": SETTINGS_CONFIG_MAP}},
                        *({"secretRef": {"name": name}} for name in SECRETS),
                    ],
                    "resources": {"limits": dict(amounts), "requests": dict(amounts)},
                    "securityContext": copy.deepcopy(RESTRICTED),
                    "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}, {"name": "tmp", "mountPath": "/tmp"}],
                }
            ],
            "volumes": [
                {
                    "name": "shm",
                    "emptyDir": {"medium": "Memory", "sizeLimit": f"{size.memory_gib // SHARED_MEMORY_SHARE}Gi"},
                },
                {"name": "tmp", "emptyDir": {}},
            ],
        },
    }


def _submitter(request: JobRequest) -> dict[str, Any]:
    """The pod that submits: KubeRay's own would not be let into a restricted namespace."""
    amounts = {"cpu": "500m", "memory": "1Gi"}
    return {
        "metadata": {"labels": {"app.kubernetes.io/part-of": "seldtune", "seldtune.dev/role": "submitter"}},
        "spec": {
            "serviceAccountName": SERVICE_ACCOUNT,
            "automountServiceAccountToken": False,
            "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": True, "runAsUser": USER_ID},
            "containers": [
                {
                    "name": "submitter",
                    "image": request.image,
                    "resources": {"limits": dict(amounts), "requests": dict(amounts)},
                    "securityContext": copy.deepcopy(RESTRICTED),
                }
            ],
        },
    }
