"""Further mistakes to plant in the pods of a RayJob: probes, hooks, volumes, variables, placement."""

from __future__ import annotations

from typing import Any

from infra.kube.conformance.plant import CONTAINER, GROUP, HEAD, Change, Mistakes, put

_POD = f"{HEAD}.template.spec"
_FIRST = f"{HEAD}.{CONTAINER}"
_TRUE = {"exec": {"command": ["true"]}}
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def _variable(source: dict[str, Any]) -> Change:
    def change(document: dict[str, Any]) -> None:
        container = document["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
        container["env"].append({"name": "A", "valueFrom": source})

    return change


def _volume(**kind: Any) -> Change:
    def change(document: dict[str, Any]) -> None:
        volumes = document["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["volumes"]
        volumes.append({"name": "more", **kind})

    return change


def _nodes(operator: str, values: list[str]) -> dict[str, Any]:
    term = {"matchExpressions": [{"key": "zone", "operator": operator, "values": values}]}
    return {"nodeAffinity": {_REQUIRED: {"nodeSelectorTerms": [term]}}}


BY_DETAIL: Mistakes = {
    "a field of no pod": (
        _variable({"fieldRef": {"fieldPath": "metadata.nam"}}),
        f"{_FIRST}.env[1].valueFrom.fieldRef.fieldPath",
    ),
    "all labels in a variable": (
        _variable({"fieldRef": {"fieldPath": "metadata.labels"}}),
        f"{_FIRST}.env[1].valueFrom.fieldRef.fieldPath",
    ),
    "a key of two words": (
        _variable({"secretKeyRef": {"name": "s", "key": "a b"}}),
        f"{_FIRST}.env[1].valueFrom.secretKeyRef.key",
    ),
    "an amount of GPUs in a variable": (
        _variable({"resourceFieldRef": {"resource": "limits.gpu"}}),
        f"{_FIRST}.env[1].valueFrom.resourceFieldRef.resource",
    ),
    "a negative user": (put(f"{_FIRST}.securityContext.runAsUser", -1), f"{_FIRST}.securityContext.runAsUser"),
    "a negative group": (
        put(f"{_POD}.securityContext.supplementalGroups", [-1]),
        f"{_POD}.securityContext.supplementalGroups",
    ),
    "an unknown way to change groups": (
        put(f"{_POD}.securityContext.fsGroupChangePolicy", "Sometimes"),
        f"{_POD}.securityContext.fsGroupChangePolicy",
    ),
    "a profile of this node without its name": (
        put(f"{_FIRST}.securityContext.seccompProfile", {"type": "Localhost"}),
        f"{_FIRST}.securityContext.seccompProfile",
    ),
    "a probe that does nothing": (put(f"{_FIRST}.readinessProbe", {"periodSeconds": 5}), f"{_FIRST}.readinessProbe"),
    "a probe of no words": (
        put(f"{_FIRST}.readinessProbe", {"exec": {"command": []}}),
        f"{_FIRST}.readinessProbe.exec.command",
    ),
    "a probe of no time": (
        put(f"{_FIRST}.livenessProbe", {**_TRUE, "timeoutSeconds": -1}),
        f"{_FIRST}.livenessProbe.timeoutSeconds",
    ),
    "a probe of no port": (
        put(f"{_FIRST}.startupProbe", {"tcpSocket": {"port": 0}}),
        f"{_FIRST}.startupProbe.tcpSocket.port",
    ),
    "a probe by FTP": (
        put(f"{_FIRST}.livenessProbe", {"httpGet": {"port": 80, "scheme": "FTP"}}),
        f"{_FIRST}.livenessProbe.httpGet.scheme",
    ),
    "a probe that ends what is not ready": (
        put(f"{_FIRST}.readinessProbe", {**_TRUE, "terminationGracePeriodSeconds": 5}),
        f"{_FIRST}.readinessProbe.terminationGracePeriodSeconds",
    ),
    "two ways to stop": (
        put(f"{_FIRST}.lifecycle", {"preStop": {**_TRUE, "sleep": {"seconds": 1}}}),
        f"{_FIRST}.lifecycle.preStop",
    ),
    "a sleep beyond the grace": (
        put(f"{_FIRST}.lifecycle", {"preStop": {"sleep": {"seconds": 1000}}}),
        f"{_FIRST}.lifecycle.preStop.sleep.seconds",
    ),
    "two paths below a volume": (
        put(f"{_FIRST}.volumeMounts[1].subPath", "a/../b"),
        f"{_FIRST}.volumeMounts[1].subPath",
    ),
    "a mount for the node to see": (
        put(f"{_FIRST}.volumeMounts[1].mountPropagation", "Bidirectional"),
        f"{_FIRST}.volumeMounts[1].mountPropagation",
    ),
    "a mode without its zero": (
        _volume(secret={"secretName": "s", "defaultMode": 644}),
        f"{_POD}.volumes[2].secret.defaultMode",
    ),
    "a path out of its volume": (
        _volume(configMap={"name": "c", "items": [{"key": "k", "path": "../k"}]}),
        f"{_POD}.volumes[2].configMap.items[0].path",
    ),
    "a claim of no size": (
        _volume(ephemeral={"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"]}}}),
        f"{_POD}.volumes[2].ephemeral.volumeClaimTemplate.spec.resources.requests.storage",
    ),
    "a token for a minute": (
        _volume(projected={"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 60}}]}),
        f"{_POD}.volumes[2].projected.sources[0].serviceAccountToken.expirationSeconds",
    ),
    "a driver of no name": (_volume(csi={"driver": ""}), f"{_POD}.volumes[2].csi.driver"),
    "a pod's address as a file": (
        _volume(downwardAPI={"items": [{"path": "ip", "fieldRef": {"fieldPath": "status.podIP"}}]}),
        f"{_POD}.volumes[2].downwardAPI.items[0].fieldRef.fieldPath",
    ),
    "an unknown operator of nodes": (put(f"{_POD}.affinity", _nodes("Is", ["a"])), f"{_POD}.affinity.nodeAffinity"),
    "nodes without a value": (put(f"{_POD}.affinity", _nodes("In", [])), f"{_POD}.affinity.nodeAffinity"),
    "nodes above two numbers": (put(f"{_POD}.affinity", _nodes("Gt", ["1", "2"])), f"{_POD}.affinity.nodeAffinity"),
    "nodes in two words": (put(f"{_POD}.affinity", _nodes("In", ["b c"])), f"{_POD}.affinity.nodeAffinity"),
    "apart from nothing": (
        put(f"{_POD}.affinity", {"podAntiAffinity": {_REQUIRED: [{"labelSelector": {}}]}}),
        f"{_POD}.affinity.podAntiAffinity",
    ),
    "a spread of nothing": (
        put(
            f"{GROUP}.template.spec.topologySpreadConstraints",
            [{"maxSkew": 0, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
        ),
        f"{GROUP}.template.spec.topologySpreadConstraints[0].maxSkew",
    ),
    "names from nowhere": (put(f"{_POD}.dnsPolicy", "None"), f"{_POD}.dnsConfig.nameservers"),
    "a host's address of words": (
        put(f"{_POD}.hostAliases", [{"ip": "here", "hostnames": ["a"]}]),
        f"{_POD}.hostAliases[0].ip",
    ),
    "a host name in capitals": (put(f"{_POD}.hostname", "Bad_Host"), f"{_POD}.hostname"),
}
"""The API server refuses the pods."""
