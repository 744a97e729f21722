"""What else the API server refuses of a pod: probes, affinities, numbers of users, things that are listed twice.

Read off Kubernetes 1.36 (`pkg/apis/core/validation/validation.go`), and off the list keys of KubeRay's definitions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from infra.kube.documents import Violation, under
from infra.kube.pods import Container, Pod
from infra.kube.rules.names import AS_VALUE, is_label_key

KEYS: dict[str, tuple[str, ...]] = {
    "env": ("name",),
    "hostAliases": ("ip",),
    "imagePullSecrets": ("name",),
    "ports": ("containerPort", "protocol"),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "volumeDevices": ("devicePath",),
}
"""By what the entries of a list are told apart; names of containers and volumes, and mounts, are `pod_spec`'s."""
_HANDLERS = ("exec", "grpc", "httpGet", "tcpSocket")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_LEAST = {
    "periodSeconds": 1,
    "timeoutSeconds": 1,
    "failureThreshold": 1,
    "successThreshold": 1,
    "initialDelaySeconds": 0,
}
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")
_FIELDS = re.compile(
    r"metadata\.(name|namespace|uid|(labels|annotations)(\['[^']+'\])?)"
    r"|spec\.(nodeName|serviceAccountName)|status\.(hostIP|hostIPs|podIP|podIPs)"
)
_MEDIA = re.compile(r"|Memory|HugePages(-.+)?")


def detail_rules(pod: Pod) -> Iterator[Violation]:
    """What of a pod would be refused when it is made, in its details."""
    spec, path = pod.spec, f"{pod.path}.spec"
    yield from _twice(path, spec)
    yield from _numbers(f"{path}.securityContext", spec.get("securityContext") or {})
    for index, volume in enumerate(spec.get("volumes") or []):
        medium = str(under(volume, "emptyDir.medium") or "")
        if not _MEDIA.fullmatch(medium):
            yield Violation(f"{path}.volumes[{index}].emptyDir.medium", repr(medium), "Memory, or leave it out")
    for index, spread in enumerate(spec.get("topologySpreadConstraints") or []):
        where = f"{path}.topologySpreadConstraints[{index}]"
        if spread.get("maxSkew", 0) < 1:
            yield Violation(f"{where}.maxSkew", f"{spread.get('maxSkew')}", "1 or more")
        if spread.get("whenUnsatisfiable") not in ("DoNotSchedule", "ScheduleAnyway"):
            got = f"{spread.get('whenUnsatisfiable')}"
            yield Violation(f"{where}.whenUnsatisfiable", got, "DoNotSchedule or ScheduleAnyway")
        if not is_label_key(str(spread.get("topologyKey") or "")):
            yield Violation(f"{where}.topologyKey", f"{spread.get('topologyKey')}", AS_VALUE)
    yield from _affinity(f"{path}.affinity", spec.get("affinity") or {})
    for container in pod.all_containers:
        if not (container.made_by == container.path and container in pod.first):
            yield from _container(container)


def _twice(path: str, holder: Mapping[str, Any]) -> Iterator[Violation]:
    for field, keys in KEYS.items():
        seen: set[tuple[Any, ...]] = set()
        for index, entry in enumerate(holder.get(field) or []):
            key = tuple(entry.get(part, "TCP" if part == "protocol" else None) for part in keys)
            if key in seen:
                got = f"{' '.join(str(part) for part in key)} again"
                yield Violation(f"{path}.{field}[{index}]", got, "leave one of them out")
            seen.add(key)


def _numbers(path: str, context: Mapping[str, Any]) -> Iterator[Violation]:
    for field in ("runAsUser", "runAsGroup", "fsGroup"):
        if not 0 <= context.get(field, 0) < 2**31:
            yield Violation(f"{path}.{field}", f"{context[field]}", "0 to 2147483647")
    if context.get("runAsNonRoot") and context.get("runAsUser") == 0:
        yield Violation(f"{path}.runAsUser", "0, with runAsNonRoot", "another user, e.g. 1000")
    for field in ("seccompProfile", "appArmorProfile"):
        profile = context.get(field) or {}
        if (profile.get("type") == "Localhost") != bool(profile.get("localhostProfile")):
            got = f"type {profile.get('type')}, localhostProfile {profile.get('localhostProfile')!r}"
            yield Violation(f"{path}.{field}", got, "localhostProfile with type: Localhost, and with it alone")


def _container(container: Container) -> Iterator[Violation]:
    body, path = container.body, container.path
    yield from _twice(path, body)
    yield from _numbers(f"{path}.securityContext", body.get("securityContext") or {})
    for index, entry in enumerate(body.get("env") or []):
        field = under(entry, "valueFrom.fieldRef.fieldPath")
        if field is not None and not _FIELDS.fullmatch(str(field)):
            where = f"{path}.env[{index}].valueFrom.fieldRef.fieldPath"
            yield Violation(where, repr(field), "e.g. metadata.name, spec.nodeName or status.podIP")
    for name in _PROBES:
        if probe := body.get(name):
            yield from _handler(f"{path}.{name}", probe)
            for field, least in _LEAST.items():
                if probe.get(field, least) < least:
                    yield Violation(f"{path}.{name}.{field}", f"{probe[field]}", f"{least} or more")
            if name != "readinessProbe" and probe.get("successThreshold", 1) != 1:
                yield Violation(f"{path}.{name}.successThreshold", f"{probe['successThreshold']}", "1")
    for hook in ("postStart", "preStop"):
        if handler := under(body, f"lifecycle.{hook}"):
            yield from _handler(f"{path}.lifecycle.{hook}", handler)


def _handler(path: str, handler: Mapping[str, Any]) -> Iterator[Violation]:
    kinds = [kind for kind in (*_HANDLERS, "sleep") if kind in handler]
    if len(kinds) != 1:
        yield Violation(path, ", ".join(kinds) or "does nothing", f"one of {', '.join(_HANDLERS)}")
    for kind in ("httpGet", "tcpSocket", "grpc"):
        port = under(handler, f"{kind}.port")
        if kind in kinds and not (isinstance(port, str) or (isinstance(port, int) and 1 <= port <= 65535)):
            yield Violation(f"{path}.{kind}.port", f"{port}", "1 to 65535, or a port's name")


def _affinity(path: str, affinity: Mapping[str, Any]) -> Iterator[Violation]:
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    preferred = "preferredDuringSchedulingIgnoredDuringExecution"
    node, where = affinity.get("nodeAffinity") or {}, f"{path}.nodeAffinity"
    if required in node:
        terms = under(node, f"{required}.nodeSelectorTerms") or []
        if not terms:
            yield Violation(f"{where}.{required}", "no nodeSelectorTerms", "name the nodes, or leave it out")
        for index, term in enumerate(terms):
            yield from _expressions(f"{where}.{required}.nodeSelectorTerms[{index}]", term)
    for index, choice in enumerate(node.get(preferred) or []):
        yield from _weight(f"{where}.{preferred}[{index}]", choice)
        yield from _expressions(f"{where}.{preferred}[{index}].preference", choice.get("preference") or {})
    for kind in ("podAffinity", "podAntiAffinity"):
        terms = [(f"{required}[{i}]", term) for i, term in enumerate(under(affinity, f"{kind}.{required}") or [])]
        for index, choice in enumerate(under(affinity, f"{kind}.{preferred}") or []):
            yield from _weight(f"{path}.{kind}.{preferred}[{index}]", choice)
            terms.append((f"{preferred}[{index}].podAffinityTerm", choice.get("podAffinityTerm") or {}))
        for place, term in terms:
            if not is_label_key(str(term.get("topologyKey") or "")):
                got = f"{term.get('topologyKey')}"
                yield Violation(f"{path}.{kind}.{place}.topologyKey", got, "e.g. kubernetes.io/hostname")


def _weight(path: str, choice: Mapping[str, Any]) -> Iterator[Violation]:
    if not 1 <= choice.get("weight", 0) <= 100:
        yield Violation(f"{path}.weight", f"{choice.get('weight')}", "1 to 100")


def _expressions(path: str, term: Mapping[str, Any]) -> Iterator[Violation]:
    for index, expression in enumerate(term.get("matchExpressions") or []):
        where, operator = f"{path}.matchExpressions[{index}]", expression.get("operator")
        values: Sequence[Any] = expression.get("values") or []
        if not is_label_key(str(expression.get("key") or "")):
            yield Violation(f"{where}.key", f"{expression.get('key')!r}", AS_VALUE)
        if operator not in _OPERATORS:
            yield Violation(f"{where}.operator", f"{operator}", f"choose one of {', '.join(_OPERATORS)}")
        elif bool(values) != (operator not in ("Exists", "DoesNotExist")):
            yield Violation(
                f"{where}.values", f"{list(values)} with {operator}", "values with In, NotIn, Gt and Lt only"
            )
