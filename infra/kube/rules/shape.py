"""What is a mapping, a list, a text and a number in the documents that rules read: looked at before any rule reads it.

Without KubeRay's definitions nobody else has looked, and a forgotten dash is the commonest slip of all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from infra.kube.documents import Violation

INT32 = 2**31

Shape = Any
"""`str`, `int` (of 32 bits), `bool`, `object` (anything); a list of one shape; a mapping of fields, `...` for more."""

_TEXTS: Shape = {...: str}
_AMOUNTS: Shape = {"limits": {...: object}, "requests": {...: object}, "claims": [{...: object}]}
_CONTEXT: Shape = {
    "allowPrivilegeEscalation": bool,
    "privileged": bool,
    "runAsNonRoot": bool,
    "runAsUser": int,
    "runAsGroup": int,
    "fsGroup": int,
    "capabilities": {"add": [str], "drop": [str]},
    "seccompProfile": {"type": str, "localhostProfile": str},
    "appArmorProfile": {"type": str, "localhostProfile": str},
    "seLinuxOptions": {...: str},
    "windowsOptions": {...: object},
    "sysctls": [{"name": str, "value": object}],
    "supplementalGroups": [int],
    "procMount": str,
}
_ENV: Shape = [
    {
        "name": str,
        "value": str,
        "valueFrom": {
            "fieldRef": {"fieldPath": str, "apiVersion": str},
            "resourceFieldRef": {"resource": str, "containerName": str},
            "configMapKeyRef": {"name": str, "key": str, "optional": bool},
            "secretKeyRef": {"name": str, "key": str, "optional": bool},
        },
    }
]
_REFERENCE: Shape = {"name": str, "optional": bool}
_ENV_FROM: Shape = [{"prefix": str, "configMapRef": _REFERENCE, "secretRef": _REFERENCE}]
_MOUNTS: Shape = [{"name": str, "mountPath": str, "subPath": str, "subPathExpr": str, "readOnly": bool}]
_HANDLER: Shape = {
    "exec": {"command": [str]},
    "httpGet": {"host": str, "path": str, "port": object, "scheme": str},
    "tcpSocket": {"host": str, "port": object},
    "grpc": {"port": int},
    "sleep": {"seconds": int},
}
_TIMES = ("initialDelaySeconds", "periodSeconds", "timeoutSeconds", "successThreshold", "failureThreshold")
_PROBE: Shape = {**_HANDLER, **dict.fromkeys((*_TIMES, "terminationGracePeriodSeconds"), int)}
_CONTAINER: Shape = {
    "name": str,
    "image": str,
    "imagePullPolicy": str,
    "restartPolicy": str,
    "command": [str],
    "args": [str],
    "env": _ENV,
    "envFrom": _ENV_FROM,
    "volumeMounts": _MOUNTS,
    "volumeDevices": [{...: str}],
    "ports": [{"name": str, "containerPort": int, "hostPort": int, "protocol": str, "hostIP": str}],
    "resources": _AMOUNTS,
    "securityContext": _CONTEXT,
    "livenessProbe": _PROBE,
    "readinessProbe": _PROBE,
    "startupProbe": _PROBE,
    "lifecycle": {"postStart": _HANDLER, "preStop": _HANDLER},
}
_SELECTOR: Shape = {"matchLabels": _TEXTS, "matchExpressions": [{"key": str, "operator": str, "values": [str]}]}
_NODE_TERM: Shape = {
    field: [{"key": str, "operator": str, "values": [str]}] for field in ("matchExpressions", "matchFields")
}
_POD_TERM: Shape = {"topologyKey": str, "labelSelector": _SELECTOR}
_REQUIRED, _PREFERRED = (
    "requiredDuringSchedulingIgnoredDuringExecution",
    "preferredDuringSchedulingIgnoredDuringExecution",
)
_POD_AFFINITY: Shape = {_REQUIRED: [_POD_TERM], _PREFERRED: [{"weight": int, "podAffinityTerm": _POD_TERM}]}
_ITEMS: Shape = [{"key": str, "path": str, "mode": int}]
_VOLUME: Shape = {
    "name": str,
    "emptyDir": {"medium": str, "sizeLimit": object},
    "configMap": {"name": str, "defaultMode": int, "optional": bool, "items": _ITEMS},
    "secret": {"secretName": str, "defaultMode": int, "optional": bool, "items": _ITEMS},
    "persistentVolumeClaim": {"claimName": str},
    "hostPath": {...: object},
    "csi": {"driver": str},
    "downwardAPI": {"defaultMode": int, "items": [{"path": str, "fieldRef": {"fieldPath": str}}]},
    "ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": [str], "resources": _AMOUNTS}}},
    "projected": {
        "defaultMode": int,
        "sources": [
            {
                "secret": {"name": str, "optional": bool, "items": _ITEMS},
                "configMap": {"name": str, "optional": bool, "items": _ITEMS},
                "serviceAccountToken": {"path": str, "expirationSeconds": int, "audience": str},
                "downwardAPI": {"items": [{"path": str, "fieldRef": {"fieldPath": str}}]},
            }
        ],
    },
}
_POD: Shape = {
    "containers": [_CONTAINER],
    "initContainers": [_CONTAINER],
    "ephemeralContainers": [{...: object}],
    "volumes": [_VOLUME],
    "securityContext": _CONTEXT,
    "nodeSelector": _TEXTS,
    "tolerations": [{"key": str, "operator": str, "value": str, "effect": str, "tolerationSeconds": object}],
    "affinity": {
        "nodeAffinity": {
            _REQUIRED: {"nodeSelectorTerms": [_NODE_TERM]},
            _PREFERRED: [{"weight": int, "preference": _NODE_TERM}],
        },
        "podAffinity": _POD_AFFINITY,
        "podAntiAffinity": _POD_AFFINITY,
    },
    "topologySpreadConstraints": [
        {"maxSkew": int, "minDomains": int, "topologyKey": str, "whenUnsatisfiable": str, "labelSelector": _SELECTOR}
    ],
    "imagePullSecrets": [{"name": str}],
    "hostAliases": [{"ip": str, "hostnames": [str]}],
    "resourceClaims": [{"name": str}],
    "dnsConfig": {"nameservers": [str]},
    "resources": _AMOUNTS,
    "overhead": {...: object},
    **dict.fromkeys(("hostNetwork", "hostPID", "hostIPC", "hostUsers", "automountServiceAccountToken"), bool),
    **dict.fromkeys(("terminationGracePeriodSeconds", "activeDeadlineSeconds"), int),
    **dict.fromkeys(
        ("restartPolicy", "dnsPolicy", "serviceAccountName", "priorityClassName", "runtimeClassName", "hostname"), str
    ),
}
_META: Shape = {"labels": _TEXTS, "annotations": _TEXTS, "name": str, "generateName": str, "namespace": str}
_TEMPLATE: Shape = {"metadata": {"labels": _TEXTS, "annotations": _TEXTS}, "spec": _POD}
_GROUP: Shape = {
    "groupName": str,
    "serviceType": str,
    "template": _TEMPLATE,
    "rayStartParams": _TEXTS,
    "labels": _TEXTS,
    "resources": {...: object},
    "suspend": bool,
    **dict.fromkeys(("replicas", "minReplicas", "maxReplicas", "numOfHosts", "idleTimeoutSeconds", "priority"), int),
}
_CLUSTER: Shape = {
    "rayVersion": str,
    "enableInTreeAutoscaling": bool,
    "headGroupSpec": _GROUP,
    "workerGroupSpecs": [_GROUP],
    "authOptions": {"mode": str, "secretName": str, "enableK8sTokenAuth": bool},
    "autoscalerOptions": {
        "version": str,
        "idleTimeoutSeconds": int,
        "image": str,
        "env": _ENV,
        "envFrom": _ENV_FROM,
        "volumeMounts": _MOUNTS,
        "resources": _AMOUNTS,
        "securityContext": _CONTEXT,
    },
    "gcsFaultToleranceOptions": {"backend": str, "storage": {...: object}, ...: object},
    "upgradeStrategy": {"type": str},
}
_RULE: Shape = {
    "policy": str,
    "condition": {"jobStatus": str, "jobDeploymentStatus": str, "ttlSeconds": int},
}
_NUMBERS = ("activeDeadlineSeconds", "preRunningDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished")
_JOB: Shape = {
    "submissionMode": str,
    "entrypoint": str,
    "jobId": str,
    "managedBy": str,
    "runtimeEnvYAML": str,
    "clusterSelector": _TEXTS,
    "metadata": _TEXTS,
    "suspend": bool,
    "shutdownAfterJobFinishes": bool,
    "rayClusterSpec": _CLUSTER,
    "submitterPodTemplate": _TEMPLATE,
    "submitterConfig": {"backoffLimit": int},
    "deletionStrategy": {"deletionRules": [_RULE], "onSuccess": {"policy": str}, "onFailure": {"policy": str}},
    **dict.fromkeys(_NUMBERS, int),
}
_SCHEDULE: Shape = {"schedule": str, "timeZone": str, "suspend": bool}
SHAPES: dict[str, Shape] = {
    "RayJob": {"metadata": _META, "spec": _JOB},
    "RayCluster": {"metadata": _META, "spec": _CLUSTER},
    "RayCronJob": {"metadata": _META, "spec": {**_SCHEDULE, "jobTemplate": _JOB}},
    "CronJob": {"metadata": _META, "spec": {**_SCHEDULE, "jobTemplate": {"spec": {"template": _TEMPLATE}}}},
    "ConfigMap": {"metadata": _META, "data": _TEXTS},
}
"""Kind -> shape of its document; fields that are not named are whatever they are."""


def misshapen(document: dict[str, Any]) -> list[Violation]:
    """Where a document holds another kind of value than its rules read."""
    return list(_differing(document, SHAPES.get(document["kind"], {}), ""))


def _differing(value: Any, shape: Shape, path: str) -> Iterator[Violation]:
    if shape is object:
        return
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            yield Violation(path, _got(value), "write fields below it: name: value")
            return
        for key, item in value.items():
            inner = shape.get(key, shape.get(..., object))
            yield from _differing(item, inner, f"{path}.{key}" if path else str(key))
    elif isinstance(shape, list):
        if not isinstance(value, list):
            yield Violation(path, _got(value), "write a list: each entry begins with a dash")
            return
        for index, item in enumerate(value):
            yield from _differing(item, shape[0], f"{path}[{index}]")
    elif shape is int:
        if isinstance(value, bool) or not isinstance(value, int) or not -INT32 <= value < INT32:
            yield Violation(path, _got(value), "write a whole number of 32 bits, without quotes")
    elif shape is bool:
        if not isinstance(value, bool):
            yield Violation(path, _got(value), "write true or false, without quotes")
    elif not isinstance(value, str):
        example = "" if isinstance(value, dict | list) else f': "{value}"'
        yield Violation(path, f"{_got(value)} is no text", f"write a text{example}")


def _got(value: Any) -> str:
    if isinstance(value, dict):
        return f"fields ({', '.join(map(str, list(value)[:3])) or 'none'})"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return f"{value!r}"
