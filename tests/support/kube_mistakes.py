"""Mistakes to plant in a job that `render` wrote, and the path at which each has to be refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from infra.kube.operator_rules import QUEUE_LABEL

CLUSTER = "spec.rayClusterSpec"
HEAD = f"{CLUSTER}.headGroupSpec"
GROUP = f"{CLUSTER}.workerGroupSpecs[0]"
CONTAINER = "template.spec.containers[0]"
RULES = "spec.deletionStrategy.deletionRules"


def put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
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


def all_of(*changes: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        for each in changes:
            each(document)

    return change


def rule(policy: str, seconds: int, **condition: str) -> dict[str, Any]:
    return {"policy": policy, "condition": {**condition, "ttlSeconds": seconds}}


def late_rule(document: dict[str, Any]) -> None:
    document["spec"]["deletionStrategy"]["deletionRules"][0]["condition"]["ttlSeconds"] = 10**6


def second_rule(document: dict[str, Any]) -> None:
    rules = document["spec"]["deletionStrategy"]["deletionRules"]
    rules.append(rule("DeleteCluster", 5, jobStatus="SUCCEEDED"))


def many_groups(document: dict[str, Any]) -> None:
    groups = document["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    groups += [{**copy.deepcopy(groups[0]), "groupName": f"more-{index}"} for index in range(17)]


QUEUED = all_of(
    put("metadata.labels", {QUEUE_LABEL: "seldtune"}),
    put("spec.deletionStrategy", None),
    put("spec.shutdownAfterJobFinishes", True),
    put(f"{CLUSTER}.enableInTreeAutoscaling", False),
)


REDIS = {"redisAddress": "redis:6379"}
SCHEMA_MISTAKES = {
    "an unknown field": (put("spec.shutdownAfterFinish", True), "spec.shutdownAfterFinish"),
    "an unknown field in a pod": (put(f"{HEAD}.{CONTAINER}.imagePullPolice", "Always"), f"{HEAD}.{CONTAINER}"),
    "a text for a number": (put("spec.backoffLimit", "3"), "spec.backoffLimit"),
    "a number for a text": (put(f"{CLUSTER}.rayVersion", 2.6), f"{CLUSTER}.rayVersion"),
    "an unknown policy": (put(f"{RULES}[0].policy", "DeleteAll"), f"{RULES}[0].policy"),
    "an unknown auth mode": (
        put(f"{CLUSTER}.authOptions.mode", "basic"),
        f"{CLUSTER}.authOptions.mode",
    ),
    "a negative time": (put(f"{RULES}[0].condition.ttlSeconds", -1), f"{RULES}[0].condition.ttlSeconds"),
    "no name for a container": (put(f"{HEAD}.{CONTAINER}.name", None), f"{HEAD}.{CONTAINER}"),
}


RULE_MISTAKES: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "a name of 49 characters": (put("metadata.name", "n" * 49), "metadata.name"),
    "a namespace in capitals": (put("metadata.namespace", "Bad_NS"), "metadata.namespace"),
    "a name in capitals": (put("metadata.name", "Sweep_1"), "metadata.name"),
    "suspended without an end": (put("spec.suspend", True), "spec.suspend"),
    "a time to live without an end": (put("spec.ttlSecondsAfterFinished", 60), "spec.ttlSecondsAfterFinished"),
    "deletion rules beside the old way": (put("spec.shutdownAfterJobFinishes", True), RULES),
    "the deprecated strategy": (
        put("spec.deletionStrategy.onSuccess", {"policy": "DeleteSelf"}),
        "spec.deletionStrategy.onSuccess",
    ),
    "a rule twice": (second_rule, f"{RULES}[4]"),
    "a cluster gone after its job": (late_rule, RULES),
    "workers deleted under the autoscaler": (
        put(f"{RULES}[0]", rule("DeleteWorkers", 0, jobStatus="SUCCEEDED")),
        f"{RULES}[0].policy",
    ),
    "a deadline and no rule for it": (
        put(RULES, [rule("DeleteCluster", 0, jobStatus="SUCCEEDED")]),
        RULES,
    ),
    "a negative backoff": (put("spec.backoffLimit", -1), "spec.backoffLimit"),
    "retries of an interactive job": (put("spec.submissionMode", "InteractiveMode"), "spec.backoffLimit"),
    "a sidecar with a pod of its own": (put("spec.submissionMode", "SidecarMode"), "spec.submitterPodTemplate"),
    "an unknown submission mode": (put("spec.submissionMode", "K8sMode"), "spec.submissionMode"),
    "no deadline at all": (put("spec.activeDeadlineSeconds", 0), "spec.activeDeadlineSeconds"),
    "a deadline before the wait is over": (
        put("spec.preRunningDeadlineSeconds", 10**6),
        "spec.activeDeadlineSeconds",
    ),
    "no cluster": (put(CLUSTER, None), CLUSTER),
    "a selector of nothing": (put("spec.clusterSelector", {"ray.io/cluster": ""}), "spec.clusterSelector"),
    "a fixed job id": (put("spec.jobId", "mine"), "spec.jobId"),
    "an environment that is no YAML": (put("spec.runtimeEnvYAML", "a: [1"), "spec.runtimeEnvYAML"),
    "a secret in the environment": (
        put("spec.runtimeEnvYAML", "env_vars: {AWS_SECRET_ACCESS_KEY: wJalrXUtnFEMIK7MDENG}"),
        "spec.runtimeEnvYAML.env_vars.AWS_SECRET_ACCESS_KEY",
    ),
    "pip at every start": (put("spec.runtimeEnvYAML", "pip: [torch]"), "spec.runtimeEnvYAML.pip"),
    "a secret in the entrypoint": (
        put("spec.entrypoint", "env AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMIK7 seldtune sweep quickstart"),
        "spec.entrypoint",
    ),
    "a secret in the metadata": (put("spec.metadata", {"api_token": "0123456789abcdef"}), "spec.metadata.api_token"),
    "a secret written out in a pod": (
        put(f"{HEAD}.{CONTAINER}.env", [{"name": "MLFLOW_TRACKING_PASSWORD", "value": "correcthorse"}]),
        f"{HEAD}.{CONTAINER}.env[0].value",
    ),
    "no token": (put(f"{CLUSTER}.authOptions", None), f"{CLUSTER}.authOptions"),
    "a token without its secret": (
        put(f"{CLUSTER}.authOptions.secretName", None),
        f"{CLUSTER}.authOptions.secretName",
    ),
    "a token on an old Ray": (
        all_of(
            put(f"{CLUSTER}.rayVersion", "2.51.0"),
            put(f"{HEAD}.{CONTAINER}.image", "seldtune:1-ray2.51.0"),
            put(f"{GROUP}.{CONTAINER}.image", "seldtune:1-ray2.51.0"),
        ),
        f"{CLUSTER}.rayVersion",
    ),
    "Kubernetes' tokens for a job": (
        put(f"{CLUSTER}.authOptions.enableK8sTokenAuth", True),
        f"{CLUSTER}.authOptions.enableK8sTokenAuth",
    ),
    "an image of another Ray": (
        put(f"{GROUP}.{CONTAINER}.image", "seldtune:0.1.0-ray2.59.0"),
        f"{GROUP}.{CONTAINER}.image",
    ),
    "the latest image": (put(f"{HEAD}.{CONTAINER}.image", "seldtune:latest"), f"{HEAD}.{CONTAINER}.image"),
    "no container": (put(f"{HEAD}.template.spec.containers", []), f"{HEAD}.template.spec.containers"),
    "resources said twice": (
        all_of(put(f"{GROUP}.resources", {"CPU": "4"}), put(f"{GROUP}.rayStartParams", {"num-cpus": "4"})),
        f"{GROUP}.rayStartParams.num-cpus",
    ),
    "labels as a parameter": (put(f"{GROUP}.rayStartParams", {"labels": "a=b"}), f"{GROUP}.rayStartParams.labels"),
    "a label that is none": (put(f"{GROUP}.labels", {"market": "spot or not"}), f"{GROUP}.labels"),
    "more at least than at most": (put(f"{GROUP}.minReplicas", 99), f"{GROUP}.minReplicas"),
    "a priority without the autoscaler": (
        all_of(put(f"{GROUP}.priority", 5), put(f"{CLUSTER}.enableInTreeAutoscaling", False)),
        f"{GROUP}.priority",
    ),
    "pods that restart under the autoscaler": (
        put(f"{GROUP}.template.spec.restartPolicy", "Always"),
        f"{GROUP}.template.spec.restartPolicy",
    ),
    "the operator's own variable": (
        put(f"{CLUSTER}.autoscalerOptions.env", [{"name": "KUBERAY_GEN_AUTOSCALER_START_CMD", "value": "x"}]),
        f"{CLUSTER}.autoscalerOptions.env",
    ),
    "a gate that is off": (
        put(f"{CLUSTER}.networkPolicy", {"mode": "DenyAll"}),
        f"{CLUSTER}.networkPolicy",
    ),
    "rocksdb's storage for redis": (
        put(f"{CLUSTER}.gcsFaultToleranceOptions", {**REDIS, "storage": {"size": "1Gi"}}),
        f"{CLUSTER}.gcsFaultToleranceOptions.storage",
    ),
    "redis said twice": (
        all_of(
            put(f"{CLUSTER}.gcsFaultToleranceOptions", REDIS),
            put(f"{HEAD}.{CONTAINER}.env", [{"name": "RAY_REDIS_ADDRESS", "value": "redis:6379"}]),
        ),
        f"{HEAD}.{CONTAINER}.env",
    ),
    "deletion rules in a queue": (
        all_of(QUEUED, put(RULES, [rule("DeleteSelf", 0, jobDeploymentStatus="Failed")])),
        RULES,
    ),
    "no end in a queue": (all_of(QUEUED, put("spec.shutdownAfterJobFinishes", False)), "spec.shutdownAfterJobFinishes"),
    "the autoscaler in a queue": (
        all_of(QUEUED, put(f"{CLUSTER}.enableInTreeAutoscaling", True)),
        f"{CLUSTER}.enableInTreeAutoscaling",
    ),
    "too many groups for a queue": (all_of(QUEUED, many_groups), f"{CLUSTER}.workerGroupSpecs"),
    "a group called head in a queue": (all_of(QUEUED, put(f"{GROUP}.groupName", "head")), f"{GROUP}.groupName"),
    "fewer GPUs asked for than allowed": (
        put(f"{GROUP}.{CONTAINER}.resources.requests", {"cpu": "8", "memory": "48Gi", "nvidia.com/gpu": "0"}),
        f"{GROUP}.{CONTAINER}.resources.requests.nvidia.com/gpu",
    ),
    "less memory asked for than allowed": (
        put(f"{GROUP}.{CONTAINER}.resources.requests.memory", "1Gi"),
        f"{GROUP}.{CONTAINER}.resources.requests.memory",
    ),
    "half a CPU": (
        put(f"{GROUP}.{CONTAINER}.resources.limits.cpu", "7500m"),
        f"{GROUP}.{CONTAINER}.resources.limits.cpu",
    ),
    "a quantity that is none": (
        put(f"{GROUP}.{CONTAINER}.resources.limits.memory", "48GB"),
        f"{GROUP}.{CONTAINER}.resources.limits.memory",
    ),
    "no limits": (put(f"{GROUP}.{CONTAINER}.resources", {}), f"{GROUP}.{CONTAINER}.resources.limits"),
    "no shared memory": (put(f"{GROUP}.{CONTAINER}.volumeMounts", []), f"{GROUP}.{CONTAINER}.volumeMounts"),
    "root": (
        all_of(
            put(f"{HEAD}.{CONTAINER}.securityContext", {"allowPrivilegeEscalation": False}),
            put(f"{HEAD}.template.spec.securityContext", {}),
        ),
        f"{HEAD}.{CONTAINER}.securityContext.runAsNonRoot",
    ),
    "privileges": (
        put(f"{HEAD}.{CONTAINER}.securityContext.privileged", True),
        f"{HEAD}.{CONTAINER}.securityContext.allowPrivilegeEscalation",
    ),
    "trials on the head": (put(f"{HEAD}.rayStartParams.num-cpus", "4"), f"{HEAD}.rayStartParams.num-cpus"),
    "an init container that is root": (
        put(
            f"{HEAD}.template.spec.initContainers", [{"name": "i", "image": "i:1", "securityContext": {"runAsUser": 0}}]
        ),
        f"{HEAD}.template.spec.initContainers[0].securityContext.runAsNonRoot",
    ),
    "a pod that submits as root": (
        put("spec.submitterPodTemplate.spec.containers[0].securityContext.runAsNonRoot", False),
        "spec.submitterPodTemplate.spec.containers[0].securityContext.runAsNonRoot",
    ),
    "a cluster that does not say how far it grows": (put(f"{HEAD}.{CONTAINER}.env", None), f"{HEAD}.{CONTAINER}.env"),
    "a cluster that grows further than it says": (put(f"{GROUP}.maxReplicas", 99), f"{HEAD}.{CONTAINER}.env"),
    "fault tolerance by annotation": (
        all_of(
            put(f"{CLUSTER}.gcsFaultToleranceOptions", REDIS),
            put("metadata.annotations", {"ray.io/ft-enabled": "true"}),
        ),
        "metadata.annotations",
    ),
    "a head that may be moved": (
        put(f"{HEAD}.template.metadata.annotations", None),
        f"{HEAD}.template.metadata.annotations",
    ),
}
