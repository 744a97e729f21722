"""What else the API server refuses of a pod: probes, affinities, numbers of users, things that are listed twice.

Read off Kubernetes 1.36 (`pkg/apis/core/validation/validation.go`), and off the list keys of KubeRay's definitions.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from infra.kube.documents import Violation, under
from infra.kube.pods import Container, Pod
from infra.kube.rules.names import AS_LABEL, AS_VALUE, is_label, is_label_key, is_label_value, is_port_name
from infra.kube.rules.volumes import volume_rules

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
    r"metadata\.(name|namespace|uid|(labels|annotations)\['[^']+'\])"
    r"|spec\.(nodeName|serviceAccountName)|status\.(hostIP|hostIPs|podIP|podIPs)"
)
_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_AMOUNT = re.compile(r"(limits|requests)\.(cpu|memory|ephemeral-storage|hugepages-.+)")
_MEDIA = re.compile(r"|Memory|HugePages(-.+)?")


def detail_rules(pod: Pod) -> Iterator[Violation]:
    """What of a pod would be refused when it is made, in its details."""
    spec, path = pod.spec, f"{pod.path}.spec"
    if pod.role != "CronJob":  # of a template of KubeRay's; Kubernetes' own takes the last
        yield from _twice(path, spec)
    yield from _numbers(f"{path}.securityContext", spec.get("securityContext") or {})
    yield from _whole_pod(path, spec)
    for index, volume in enumerate(spec.get("volumes") or []):
        yield from volume_rules(f"{path}.volumes[{index}]", volume)
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
        if spread.get("minDomains") is not None and spread.get("whenUnsatisfiable") != "DoNotSchedule":
            yield Violation(f"{where}.minDomains", f"{spread['minDomains']}", "with DoNotSchedule only")
        yield from _selector(f"{where}.labelSelector", spread.get("labelSelector") or {})
    yield from _affinity(f"{path}.affinity", spec.get("affinity") or {})
    for container in pod.all_containers:
        if not (container.made_by == container.path and container in pod.first):
            yield from _container(container, pod)


def _whole_pod(path: str, spec: Mapping[str, Any]) -> Iterator[Violation]:
    if spec.get("dnsPolicy") == "None" and not under(spec, "dnsConfig.nameservers"):
        yield Violation(f"{path}.dnsConfig.nameservers", "none", "name one, with dnsPolicy: None")
    if spec.get("ephemeralContainers"):
        yield Violation(f"{path}.ephemeralContainers", "set", "leave them out: they are added to a pod that runs")
    if spec.get("hostname") and not is_label(str(spec["hostname"])):
        yield Violation(f"{path}.hostname", repr(spec["hostname"]), AS_LABEL)
    for index, alias in enumerate(spec.get("hostAliases") or []):
        try:
            ipaddress.ip_address(str(alias.get("ip")))
        except ValueError:
            yield Violation(f"{path}.hostAliases[{index}].ip", f"{alias.get('ip')!r}", "an address: 10.0.0.1")
    policy = under(spec, "securityContext.fsGroupChangePolicy")
    if policy not in (None, "OnRootMismatch", "Always"):
        yield Violation(f"{path}.securityContext.fsGroupChangePolicy", repr(policy), "OnRootMismatch or Always")


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
    for group in context.get("supplementalGroups") or []:
        if not 0 <= group < 2**31:
            yield Violation(f"{path}.supplementalGroups", f"{group}", "0 to 2147483647")
    for field in ("seccompProfile", "appArmorProfile"):
        profile = context.get(field) or {}
        if str(profile.get("localhostProfile") or "").startswith("/"):
            got = repr(profile["localhostProfile"])
            yield Violation(f"{path}.{field}.localhostProfile", got, "a path below the node's folder of profiles")
        if (profile.get("type") == "Localhost") != bool(profile.get("localhostProfile")):
            got = f"type {profile.get('type')}, localhostProfile {profile.get('localhostProfile')!r}"
            yield Violation(f"{path}.{field}", got, "localhostProfile with type: Localhost, and with it alone")


def _container(container: Container, pod: Pod) -> Iterator[Violation]:
    body, path = container.body, container.path
    if pod.role != "CronJob":
        yield from _twice(path, body)
    if container in pod.first and body.get("restartPolicy") != "Always":
        for field in (*_PROBES, "lifecycle"):
            if body.get(field):
                fix = "leave it out: what runs before the others has none, but with restartPolicy: Always"
                yield Violation(f"{path}.{field}", "set", fix)
    yield from _values(path, body)
    for index, mount in enumerate(body.get("volumeMounts") or []):
        where, propagation = f"{path}.volumeMounts[{index}]", mount.get("mountPropagation")
        if mount.get("subPath") and mount.get("subPathExpr"):
            yield Violation(where, "subPath and subPathExpr", "one of the two")
        if propagation not in (None, "None", "HostToContainer", "Bidirectional"):
            yield Violation(f"{where}.mountPropagation", repr(propagation), "None or HostToContainer")
        elif propagation == "Bidirectional" and not under(body, "securityContext.privileged"):
            yield Violation(f"{where}.mountPropagation", "Bidirectional", "of a privileged container only")
    yield from _numbers(f"{path}.securityContext", body.get("securityContext") or {})
    for name in _PROBES:
        if probe := body.get(name):
            yield from _handler(f"{path}.{name}", probe)
            for field, least in _LEAST.items():
                if (probe.get(field) or least) < least:  # 0 is the default
                    yield Violation(f"{path}.{name}.{field}", f"{probe[field]}", f"{least} or more")
            grace = probe.get("terminationGracePeriodSeconds")
            if grace is not None and (name == "readinessProbe" or grace < 1):
                where = f"{path}.{name}.terminationGracePeriodSeconds"
                yield Violation(where, f"{grace}", "1 or more, and not of a readinessProbe")
            if name != "readinessProbe" and probe.get("successThreshold", 1) != 1:
                yield Violation(f"{path}.{name}.successThreshold", f"{probe['successThreshold']}", "1")
    for hook in ("postStart", "preStop"):
        if handler := under(body, f"lifecycle.{hook}"):
            yield from _handler(f"{path}.lifecycle.{hook}", handler)
            seconds, grace = under(handler, "sleep.seconds"), pod.spec.get("terminationGracePeriodSeconds", 30)
            if seconds is not None and not 0 <= seconds <= grace:
                got = f"{seconds} of a grace period of {grace}"
                yield Violation(f"{path}.lifecycle.{hook}.sleep.seconds", got, "0 to terminationGracePeriodSeconds")


def _values(path: str, body: Mapping[str, Any]) -> Iterator[Violation]:
    """Of variables that are taken from elsewhere."""
    for index, entry in enumerate(body.get("env") or []):
        where = f"{path}.env[{index}].valueFrom"
        field, version = under(entry, "valueFrom.fieldRef.fieldPath"), under(entry, "valueFrom.fieldRef.apiVersion")
        if field is not None and not _FIELDS.fullmatch(str(field)):
            fix = "e.g. metadata.name, spec.nodeName or status.podIP"
            yield Violation(f"{where}.fieldRef.fieldPath", repr(field), fix)
        if version not in (None, "v1"):
            yield Violation(f"{where}.fieldRef.apiVersion", f"{version}", "leave it out")
        for kind in ("secretKeyRef", "configMapKeyRef"):
            key = under(entry, f"valueFrom.{kind}.key")
            if under(entry, f"valueFrom.{kind}") is not None and not _KEY.fullmatch(str(key or "")):
                yield Violation(f"{where}.{kind}.key", repr(key), "letters, digits, -, _ and .")
        resource = under(entry, "valueFrom.resourceFieldRef.resource")
        if resource is not None and not _AMOUNT.fullmatch(str(resource)):
            yield Violation(f"{where}.resourceFieldRef.resource", repr(resource), "e.g. limits.cpu or requests.memory")


def _handler(path: str, handler: Mapping[str, Any]) -> Iterator[Violation]:
    kinds = [kind for kind in (*_HANDLERS, "sleep") if kind in handler]
    if len(kinds) != 1:
        yield Violation(path, ", ".join(kinds) or "does nothing", f"one of {', '.join(_HANDLERS)}")
    for kind in ("httpGet", "tcpSocket", "grpc"):
        port = under(handler, f"{kind}.port")
        if kind in kinds and not (isinstance(port, str) or (isinstance(port, int) and 1 <= port <= 65535)):
            yield Violation(f"{path}.{kind}.port", f"{port}", "1 to 65535, or a port's name")
        elif kind in kinds and isinstance(port, str) and not is_port_name(port):
            yield Violation(f"{path}.{kind}.port", repr(port), "15 of a-z, 0-9 and - at most, a letter among them")
    if "exec" in kinds and not under(handler, "exec.command"):
        yield Violation(f"{path}.exec.command", "nothing", "write the words of a command")
    if under(handler, "httpGet.scheme") not in (None, "HTTP", "HTTPS"):
        yield Violation(f"{path}.httpGet.scheme", repr(under(handler, "httpGet.scheme")), "HTTP or HTTPS")


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
            yield from _selector(f"{path}.{kind}.{place}.labelSelector", term.get("labelSelector") or {})


def _selector(path: str, selector: Mapping[str, Any]) -> Iterator[Violation]:
    """Of pods: fewer operators than of nodes."""
    yield from _expressions(path, selector, operators=_OPERATORS[:4])


def _weight(path: str, choice: Mapping[str, Any]) -> Iterator[Violation]:
    if not 1 <= choice.get("weight", 0) <= 100:
        yield Violation(f"{path}.weight", f"{choice.get('weight')}", "1 to 100")


def _expressions(path: str, term: Mapping[str, Any], operators: tuple[str, ...] = _OPERATORS) -> Iterator[Violation]:
    for index, expression in enumerate(term.get("matchFields") or []):
        if expression.get("key") != "metadata.name":
            yield Violation(f"{path}.matchFields[{index}].key", f"{expression.get('key')!r}", "metadata.name")
    for index, expression in enumerate(term.get("matchExpressions") or []):
        where, operator = f"{path}.matchExpressions[{index}]", expression.get("operator")
        values: Sequence[Any] = expression.get("values") or []
        if not is_label_key(str(expression.get("key") or "")):
            yield Violation(f"{where}.key", f"{expression.get('key')!r}", AS_VALUE)
        if operator not in operators:
            yield Violation(f"{where}.operator", f"{operator}", f"choose one of {', '.join(operators)}")
        elif operator in ("Gt", "Lt") and (len(values) != 1 or not str(values[0]).lstrip("-").isdecimal()):
            yield Violation(f"{where}.values", f"{list(values)} with {operator}", "one whole number, as text")
        elif not all(is_label_value(str(value)) for value in values):
            yield Violation(f"{where}.values", f"{list(values)}", AS_VALUE)
        elif bool(values) != (operator not in ("Exists", "DoesNotExist")):
            yield Violation(
                f"{where}.values", f"{list(values)} with {operator}", "values with In, NotIn, Gt and Lt only"
            )
