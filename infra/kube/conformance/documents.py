"""Mistakes to plant in a RayJob that `render` wrote, by who refuses each: in what is judged of the document itself.

Each has the path at which it is refused here. Those of its pods are in `infra.kube.conformance.pods`.
"""

from __future__ import annotations

import copy
from typing import Any

from infra.kube.conformance.plant import CLUSTER, CONTAINER, GROUP, HEAD, Mistakes, all_of, put
from infra.kube.rules.kueue import PRIORITY_LABEL, QUEUE_LABEL

RULES = "spec.deletionStrategy.deletionRules"
REDIS = {"redisAddress": "redis:6379"}


def _rule(policy: str, seconds: int, **condition: str) -> dict[str, Any]:
    return {"policy": policy, "condition": {**condition, "ttlSeconds": seconds}}


def _late_rule(document: dict[str, Any]) -> None:
    document["spec"]["deletionStrategy"]["deletionRules"][0]["condition"]["ttlSeconds"] = 10**6


def _second_rule(document: dict[str, Any]) -> None:
    rules = document["spec"]["deletionStrategy"]["deletionRules"]
    rules.append(_rule("DeleteCluster", 5, jobStatus="SUCCEEDED"))


def _many_groups(document: dict[str, Any]) -> None:
    groups = document["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    groups += [{**copy.deepcopy(groups[0]), "groupName": f"more-{index}"} for index in range(17)]


QUEUED = all_of(
    put("metadata.labels", {QUEUE_LABEL: "seldtune"}),
    put("spec.deletionStrategy", None),
    put("spec.shutdownAfterJobFinishes", True),
    put(f"{CLUSTER}.enableInTreeAutoscaling", False),
)


BY_SCHEMA: Mistakes = {
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
"""The API server refuses them by KubeRay's definitions."""

BY_SERVER: Mistakes = {
    "a label of two words for the job": (put("metadata.labels", {"team": "a b"}), "metadata.labels"),
    "a variable twice": (
        put(f"{HEAD}.{CONTAINER}.env", [{"name": "A", "value": "x"}, {"name": "A", "value": "y"}]),
        f"{HEAD}.{CONTAINER}.env[1]",
    ),
    "a port twice": (
        put(f"{HEAD}.{CONTAINER}.ports", [{"containerPort": 9000}, {"containerPort": 9000, "protocol": "TCP"}]),
        f"{HEAD}.{CONTAINER}.ports[1]",
    ),
    "a rule of two states": (
        put(f"{RULES}[0].condition", {"jobStatus": "SUCCEEDED", "jobDeploymentStatus": "Failed", "ttlSeconds": 0}),
        f"{RULES}[0].condition",
    ),
    "a rule of no state": (put(f"{RULES}[0].condition", {"ttlSeconds": 0}), f"{RULES}[0].condition"),
    "a strategy of no rules": (put("spec.deletionStrategy", {}), RULES),
    "managed by nobody known": (put("spec.managedBy", "me"), "spec.managedBy"),
    "a number among the parameters": (
        put(f"{HEAD}.rayStartParams.num-gpus", 0),
        f"{HEAD}.rayStartParams.num-gpus",
    ),
    "a namespace in capitals": (put("metadata.namespace", "Bad_NS"), "metadata.namespace"),
    "a priority of two words": (
        all_of(QUEUED, put("metadata.labels", {QUEUE_LABEL: "seldtune", PRIORITY_LABEL: "High Prio"})),
        f"metadata.labels.{PRIORITY_LABEL}",
    ),
}
"""The API server refuses them by its own rules of names and by rules of the definitions that no schema can say."""

BY_KUBERAY: Mistakes = {
    "a name of 49 characters": (put("metadata.name", "n" * 49), "metadata.name"),
    "a name in capitals": (put("metadata.name", "Sweep_1"), "metadata.name"),
    "suspended without an end": (put("spec.suspend", True), "spec.suspend"),
    "a time to live without an end": (put("spec.ttlSecondsAfterFinished", 60), "spec.ttlSecondsAfterFinished"),
    "deletion rules beside the old way": (put("spec.shutdownAfterJobFinishes", True), RULES),
    "a rule twice": (_second_rule, f"{RULES}[4]"),
    "a cluster gone after its job": (_late_rule, RULES),
    "workers deleted under the autoscaler": (
        put(f"{RULES}[0]", _rule("DeleteWorkers", 0, jobStatus="SUCCEEDED")),
        f"{RULES}[0].policy",
    ),
    "a negative backoff": (put("spec.backoffLimit", -1), "spec.backoffLimit"),
    "retries of an interactive job": (put("spec.submissionMode", "InteractiveMode"), "spec.backoffLimit"),
    "a sidecar with a pod of its own": (put("spec.submissionMode", "SidecarMode"), "spec.submitterPodTemplate"),
    "no deadline at all": (put("spec.activeDeadlineSeconds", 0), "spec.activeDeadlineSeconds"),
    "no cluster": (put(CLUSTER, None), CLUSTER),
    "a selector of nothing": (put("spec.clusterSelector", {"ray.io/cluster": ""}), "spec.clusterSelector"),
    "an environment that is no YAML": (put("spec.runtimeEnvYAML", "a: [1"), "spec.runtimeEnvYAML"),
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
    "too many groups for a queue": (all_of(QUEUED, _many_groups), f"{CLUSTER}.workerGroupSpecs"),
    "fault tolerance by annotation": (
        all_of(
            put(f"{CLUSTER}.gcsFaultToleranceOptions", REDIS),
            put("metadata.annotations", {"ray.io/ft-enabled": "true"}),
        ),
        "metadata.annotations",
    ),
    "a wait of no time": (put("spec.preRunningDeadlineSeconds", 0), "spec.preRunningDeadlineSeconds"),
    "a time to live below nothing": (
        all_of(QUEUED, put("metadata.labels", {}), put("spec.ttlSecondsAfterFinished", -1)),
        "spec.ttlSecondsAfterFinished",
    ),
    "a strategy of upgrades": (put(f"{CLUSTER}.upgradeStrategy", {"type": "None"}), f"{CLUSTER}.upgradeStrategy"),
    "a group suspended under the autoscaler": (put(f"{GROUP}.suspend", True), f"{GROUP}.suspend"),
    "a group's patience without the autoscaler's version": (
        all_of(put(f"{GROUP}.idleTimeoutSeconds", 30), put(f"{CLUSTER}.autoscalerOptions.version", None)),
        f"{GROUP}.idleTimeoutSeconds",
    ),
    "a negative patience": (put(f"{GROUP}.idleTimeoutSeconds", -1), f"{GROUP}.idleTimeoutSeconds"),
    "a negative patience of the autoscaler": (
        put(f"{CLUSTER}.autoscalerOptions.idleTimeoutSeconds", -1),
        f"{CLUSTER}.autoscalerOptions.idleTimeoutSeconds",
    ),
    "the autoscaler's version said twice": (
        put(f"{HEAD}.{CONTAINER}.env[0]", {"name": "RAY_enable_autoscaler_v2", "value": "1"}),
        f"{HEAD}.{CONTAINER}.env",
    ),
    "redis without fault tolerance": (
        put(f"{HEAD}.{CONTAINER}.env[0]", {"name": "RAY_REDIS_ADDRESS", "value": "redis:6379"}),
        f"{HEAD}.{CONTAINER}.env",
    ),
    "a user of redis by variable": (
        put(f"{HEAD}.{CONTAINER}.env[0]", {"name": "REDIS_USERNAME", "value": "ray"}),
        f"{HEAD}.{CONTAINER}.env",
    ),
    "redis' name space by annotation": (
        all_of(
            put(f"{CLUSTER}.gcsFaultToleranceOptions", REDIS),
            put("metadata.annotations", {"ray.io/external-storage-namespace": "mine"}),
        ),
        "metadata.annotations",
    ),
    "a sidecar with a submitter's limit": (
        all_of(
            put("spec.submissionMode", "SidecarMode"),
            put("spec.submitterPodTemplate", None),
            put("spec.submitterConfig", {"backoffLimit": 1}),
        ),
        "spec.submitterConfig",
    ),
    "a name that ends with a dash": (put("metadata.name", "sweep-"), "metadata.name"),
}
"""KubeRay takes them up and gives up: `ValidationFailed`."""

BY_KUEUE: Mistakes = {
    "deletion rules in a queue": (
        all_of(QUEUED, put(RULES, [_rule("DeleteSelf", 0, jobDeploymentStatus="Failed")])),
        RULES,
    ),
    "no end in a queue": (all_of(QUEUED, put("spec.shutdownAfterJobFinishes", False)), "spec.shutdownAfterJobFinishes"),
    "the autoscaler in a queue": (
        all_of(QUEUED, put(f"{CLUSTER}.enableInTreeAutoscaling", True)),
        f"{CLUSTER}.enableInTreeAutoscaling",
    ),
    "a group called head in a queue": (all_of(QUEUED, put(f"{GROUP}.groupName", "head")), f"{GROUP}.groupName"),
    "a queue in capitals": (
        all_of(QUEUED, put("metadata.labels", {QUEUE_LABEL: "Team_A"})),
        f"metadata.labels.{QUEUE_LABEL}",
    ),
}
"""Kueue's webhook refuses them."""

BY_US: Mistakes = {
    "no settings": (put(f"{HEAD}.{CONTAINER}.envFrom", None), f"{HEAD}.{CONTAINER}.envFrom"),
    "no worker and no autoscaler": (
        put(f"{CLUSTER}.enableInTreeAutoscaling", False),
        f"{CLUSTER}.workerGroupSpecs",
    ),
    "nothing to run": (put("spec.entrypoint", " "), "spec.entrypoint"),
    "the deprecated strategy": (
        put("spec.deletionStrategy.onSuccess", {"policy": "DeleteSelf"}),
        "spec.deletionStrategy.onSuccess",
    ),
    "a deadline and no rule for it": (
        put(RULES, [_rule("DeleteCluster", 0, jobStatus="SUCCEEDED")]),
        RULES,
    ),
    "an unknown submission mode": (put("spec.submissionMode", "K8sMode"), "spec.submissionMode"),
    "a deadline before the wait is over": (
        put("spec.preRunningDeadlineSeconds", 10**6),
        "spec.activeDeadlineSeconds",
    ),
    "a fixed job id": (put("spec.jobId", "mine"), "spec.jobId"),
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
    "an image of another Ray": (
        put(f"{GROUP}.{CONTAINER}.image", "seldtune:0.1.0-ray2.59.0"),
        f"{GROUP}.{CONTAINER}.image",
    ),
    "the latest image": (put(f"{HEAD}.{CONTAINER}.image", "seldtune:latest"), f"{HEAD}.{CONTAINER}.image"),
    "less memory asked for than allowed": (
        put(f"{GROUP}.{CONTAINER}.resources.requests.memory", "1Gi"),
        f"{GROUP}.{CONTAINER}.resources.requests.memory",
    ),
    "no limits": (put(f"{GROUP}.{CONTAINER}.resources", {}), f"{GROUP}.{CONTAINER}.resources.limits"),
    "trials on the head": (put(f"{HEAD}.rayStartParams.num-cpus", "4"), f"{HEAD}.rayStartParams.num-cpus"),
    "a cluster that does not say how far it grows": (put(f"{HEAD}.{CONTAINER}.env", None), f"{HEAD}.{CONTAINER}.env"),
    "a cluster that grows further than it says": (put(f"{GROUP}.maxReplicas", 99), f"{HEAD}.{CONTAINER}.env"),
    "a head that may be moved": (
        put(f"{HEAD}.template.metadata.annotations", None),
        f"{HEAD}.template.metadata.annotations",
    ),
    "a priority in no queue": (
        put("metadata.labels", {PRIORITY_LABEL: "high"}),
        f"metadata.labels.{PRIORITY_LABEL}",
    ),
    "nothing that deletes after success": (
        put(RULES, [_rule("DeleteCluster", 600, jobDeploymentStatus="Failed")]),
        RULES,
    ),
    "a failure that deletes nothing": (put(f"{RULES}[2].policy", "DeleteNone"), RULES),
    "a cluster that stays for a week": (
        put(
            RULES,
            [
                _rule("DeleteSelf", 604800, jobStatus="SUCCEEDED"),
                _rule("DeleteSelf", 604800, jobDeploymentStatus="Failed"),
            ],
        ),
        RULES,
    ),
    "a week to live in a queue": (
        all_of(QUEUED, put("spec.ttlSecondsAfterFinished", 604800)),
        "spec.ttlSecondsAfterFinished",
    ),
    "Ray's own image of another version": (
        put(f"{GROUP}.{CONTAINER}.image", "rayproject/ray:2.54.0-py311-gpu"),
        f"{GROUP}.{CONTAINER}.image",
    ),
    "an image in capitals": (put(f"{HEAD}.{CONTAINER}.image", "ghcr.io/X/Seld:1"), f"{HEAD}.{CONTAINER}.image"),
    "memory in thousandths of a byte": (
        put(f"{GROUP}.{CONTAINER}.resources.limits.memory", "16000m"),
        f"{GROUP}.{CONTAINER}.resources.limits.memory",
    ),
    "memory in bytes": (
        put(f"{GROUP}.{CONTAINER}.resources.limits.memory", "16"),
        f"{GROUP}.{CONTAINER}.resources.limits.memory",
    ),
    "no memory": (
        put(f"{GROUP}.{CONTAINER}.resources.limits.memory", "0"),
        f"{GROUP}.{CONTAINER}.resources.limits.memory",
    ),
    "half a CPU": (
        put(f"{GROUP}.{CONTAINER}.resources.limits.cpu", "7500m"),
        f"{GROUP}.{CONTAINER}.resources.limits.cpu",
    ),
}
"""Everybody takes them; what comes of it leaks, fails or never starts."""
