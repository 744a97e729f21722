"""What the API server refuses of a pod, hours after it took the RayJob that the pod is of.

Read off Kubernetes 1.36 (`pkg/apis/core/validation/validation.go`). What only a cluster knows (accounts, priority
classes, what else its admission asks for) is asked of the cluster: `infra.kube.server`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from data.errors import UserError
from infra.kube.documents import Violation, under
from infra.kube.growth import GPU
from infra.kube.pods import Pod
from infra.kube.quantities import quantity
from infra.kube.rules.names import (
    AS_LABEL,
    AS_SUBDOMAIN,
    AS_VALUE,
    is_label,
    is_label_key,
    is_label_value,
    is_port_name,
    is_subdomain,
    is_variable,
)

LEAST_MEMORY = 6 * 2**20
"""Bytes below which no runtime starts a container."""
STANDARD_RESOURCES = ("cpu", "memory", "ephemeral-storage")
_VALUE_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")


def pod_rules(pod: Pod) -> Iterator[Violation]:
    """What of a pod would be refused when it is made."""
    yield from _metadata(pod)
    spec, path = pod.spec, f"{pod.path}.spec"
    yield from _one_of(path, spec, "restartPolicy", ("Always", "OnFailure", "Never"))
    yield from _one_of(path, spec, "dnsPolicy", ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"))
    yield from _one_of(path, spec, "preemptionPolicy", ("PreemptLowerPriority", "Never"))
    if pod.role in ("submitter", "Job", "CronJob") and spec.get("restartPolicy") not in ("Never", "OnFailure"):
        yield Violation(f"{path}.restartPolicy", f"{spec.get('restartPolicy', 'Always')}", "Never: it is a Job's pod")
    for field in ("priorityClassName", "serviceAccountName"):
        if (name := spec.get(field)) and not is_subdomain(str(name)):
            yield Violation(f"{path}.{field}", repr(name), AS_SUBDOMAIN)
    if spec.get("terminationGracePeriodSeconds", 0) < 0:
        yield Violation(
            f"{path}.terminationGracePeriodSeconds", f"{spec['terminationGracePeriodSeconds']}", "0 or more"
        )
    if spec.get("activeDeadlineSeconds", 1) < 1:
        yield Violation(f"{path}.activeDeadlineSeconds", f"{spec['activeDeadlineSeconds']}", "1 or more")
    for key, value in (spec.get("nodeSelector") or {}).items():
        yield from _label(f"{path}.nodeSelector", key, value)
    for index, toleration in enumerate(spec.get("tolerations") or []):
        yield from _toleration(f"{path}.tolerations[{index}]", toleration)
    yield from _volumes(f"{path}.volumes", spec.get("volumes") or [])
    yield from _containers(pod)


def _metadata(pod: Pod) -> Iterator[Violation]:
    metadata, path = pod.manifest["metadata"], f"{pod.path}.metadata"
    for key, value in (metadata.get("labels") or {}).items():
        if key == "ray.io/group" and not is_label_value(value):
            where = f"{pod.path.removesuffix('.template')}.groupName"
            yield Violation(where, repr(value), f"it becomes a label: {AS_VALUE}")
            return
        yield from _label(f"{path}.labels", key, value)
    for key, value in (metadata.get("annotations") or {}).items():
        if not is_label_key(str(key).lower()):
            yield Violation(f"{path}.annotations", repr(key), "use domain/name, as labels do")
        elif not isinstance(value, str):
            yield Violation(f"{path}.annotations.{key}", f"{value!r} is no text", f'write it as text: "{value}"')
    # Five letters come at its end.
    if pod.role == "worker" and not is_subdomain(f"{metadata['generateName']}00000"):
        where = f"{pod.path.removesuffix('.template')}.groupName"
        yield Violation(where, repr(pod.name), "its pods' names are made of it: use a-z, 0-9 and -")


def _label(path: str, key: Any, value: Any) -> Iterator[Violation]:
    if not is_label_key(str(key)):
        yield Violation(path, f"key {key!r}", AS_VALUE)
    elif not isinstance(value, str):
        yield Violation(f"{path}.{key}", f"{value!r} is no text", f'write it as text: "{value}"')
    elif not is_label_value(value):
        yield Violation(f"{path}.{key}", repr(value), AS_VALUE)


def _one_of(path: str, holder: Mapping[str, Any], field: str, known: tuple[str, ...]) -> Iterator[Violation]:
    if (value := holder.get(field)) is not None and value not in known:
        yield Violation(f"{path}.{field}", repr(value), f"choose one of {', '.join(known)}")


def _toleration(path: str, toleration: Mapping[str, Any]) -> Iterator[Violation]:
    operator, effect = toleration.get("operator") or "Equal", toleration.get("effect")
    yield from _one_of(path, toleration, "operator", ("", "Exists", "Equal", "Lt", "Gt"))
    if effect:
        yield from _one_of(path, toleration, "effect", ("NoSchedule", "PreferNoSchedule", "NoExecute"))
    if operator == "Exists" and toleration.get("value"):
        yield Violation(f"{path}.value", repr(toleration["value"]), "none with operator: Exists")
    if operator == "Equal" and not toleration.get("key"):
        yield Violation(f"{path}.key", "missing", "name a taint, or write operator: Exists")
    if toleration.get("key") and not is_label_key(str(toleration["key"])):
        yield Violation(f"{path}.key", repr(toleration["key"]), AS_VALUE)
    if operator == "Equal" and not is_label_value(str(toleration.get("value", ""))):
        yield Violation(f"{path}.value", repr(toleration["value"]), AS_VALUE)
    if "tolerationSeconds" in toleration and effect != "NoExecute":
        yield Violation(
            f"{path}.tolerationSeconds", f"{toleration['tolerationSeconds']}", "with effect: NoExecute only"
        )


def _volumes(path: str, volumes: list[dict[str, Any]]) -> Iterator[Violation]:
    seen: set[str] = set()
    for index, volume in enumerate(volumes):
        where, name = f"{path}[{index}]", str(volume.get("name") or "")
        if not is_label(name):
            yield Violation(f"{where}.name", repr(name), AS_LABEL)
        elif name in seen:
            yield Violation(f"{where}.name", f"{name} again", "give each volume a name of its own")
        seen.add(name)
        kinds = sorted(volume.keys() - {"name"})
        if len(kinds) > 1:
            yield Violation(where, f"{', '.join(kinds)}", "a volume is of one kind")
        for holder, field in (("configMap", "name"), ("secret", "secretName"), ("persistentVolumeClaim", "claimName")):
            if holder in volume and not is_subdomain(str(under(volume, f"{holder}.{field}") or "")):
                got = repr(under(volume, f"{holder}.{field}"))
                yield Violation(f"{where}.{holder}.{field}", got, AS_SUBDOMAIN)
        if (limit := under(volume, "emptyDir.sizeLimit")) is not None:
            yield from _quantity(f"{where}.emptyDir.sizeLimit", limit)


def _quantity(path: str, value: Any) -> Iterator[Violation]:
    try:
        quantity(value)
    except UserError as error:
        yield Violation(path, str(error), "write it as Kubernetes does")


def _containers(pod: Pod) -> Iterator[Violation]:
    names: set[str] = set()
    volumes = {volume.get("name") for volume in pod.spec.get("volumes") or []}
    for container in pod.all_containers:
        path, body = container.path, container.body
        name = str(body.get("name") or "")
        if not is_label(name):
            yield Violation(f"{path}.name", repr(name), AS_LABEL)
        elif name in names:
            fix = "KubeRay's own container is called so: name yours otherwise" if container.made_by else "rename one"
            yield Violation(f"{path}.name", f"{name} again", fix)
        names.add(name)
        if container.made_by == path and container in pod.first:
            continue  # of Ray's container, which is looked at itself
        image = body.get("image")
        taken_over = container.made_by and image == pod.containers[0].body.get("image")
        if not taken_over and (not image or str(image) != str(image).strip()):
            yield Violation(f"{path}.image", repr(image), "name an image, without blanks around it")
        yield from _one_of(path, body, "imagePullPolicy", ("Always", "IfNotPresent", "Never"))
        yield from _one_of(path, body, "terminationMessagePolicy", ("File", "FallbackToLogsOnError"))
        yield from _environment(path, body)
        yield from _mounts(path, body, volumes)
        yield from _ports(path, body)
        yield from _resources(f"{path}.resources", body.get("resources") or {})
        if container not in pod.containers[:1] or pod.role not in ("head", "worker"):  # Ray's own takes more
            yield from tiny_memory(f"{path}.resources", body.get("resources") or {}, LEAST_MEMORY)
        security = body.get("securityContext") or {}
        if security.get("privileged") and security.get("allowPrivilegeEscalation") is False:
            fix = "leave it out, with allowPrivilegeEscalation: false"
            yield Violation(f"{path}.securityContext.privileged", "true", fix)


def _environment(path: str, body: Mapping[str, Any]) -> Iterator[Violation]:
    for index, entry in enumerate(body.get("env") or []):
        where, name, source = f"{path}.env[{index}]", str(entry.get("name") or ""), entry.get("valueFrom")
        if not is_variable(name) or "=" in name:
            yield Violation(f"{where}.name", repr(name), "use printable characters, and no =")
        if not isinstance(entry.get("value", ""), str):
            yield Violation(f"{where}.value", f"{entry['value']!r} is no text", f'write it as text: "{entry["value"]}"')
        if source is not None:
            kinds = [kind for kind in _VALUE_SOURCES if kind in source]
            if entry.get("value"):
                yield Violation(f"{where}.valueFrom", "beside value", "say it in one of the two")
            if len(kinds) != 1:
                got = ", ".join(kinds) or "nothing"
                yield Violation(f"{where}.valueFrom", got, f"one of {', '.join(_VALUE_SOURCES)}")
            for kind in ("configMapKeyRef", "secretKeyRef"):
                if kind in kinds:
                    yield from _reference(f"{where}.valueFrom.{kind}", source[kind])
    for index, entry in enumerate(body.get("envFrom") or []):
        kinds = [kind for kind in ("configMapRef", "secretRef") if kind in entry]
        if len(kinds) != 1:
            yield Violation(
                f"{path}.envFrom[{index}]", ", ".join(kinds) or "nothing", "either configMapRef or secretRef"
            )
        for kind in kinds:
            yield from _reference(f"{path}.envFrom[{index}].{kind}", entry[kind])


def _reference(path: str, reference: Mapping[str, Any]) -> Iterator[Violation]:
    if not is_subdomain(str(reference.get("name") or "")):
        yield Violation(f"{path}.name", repr(reference.get("name")), AS_SUBDOMAIN)


def _mounts(path: str, body: Mapping[str, Any], volumes: set[Any]) -> Iterator[Violation]:
    places: set[str] = set()
    for index, mount in enumerate(body.get("volumeMounts") or []):
        where, place = f"{path}.volumeMounts[{index}]", str(mount.get("mountPath") or "")
        if mount.get("name") not in volumes:
            yield Violation(f"{where}.name", repr(mount.get("name")), "no volume of the pod is called so")
        if not place:
            yield Violation(f"{where}.mountPath", "missing", "say where it is to be seen")
        elif place in places:
            yield Violation(f"{where}.mountPath", f"{place} again", "mount one volume at a place")
        places.add(place)
        sub = str(mount.get("subPath") or "")
        if sub.startswith("/") or ".." in sub.split("/"):
            yield Violation(f"{where}.subPath", repr(sub), "a path inside the volume")


def _ports(path: str, body: Mapping[str, Any]) -> Iterator[Violation]:
    names: set[str] = set()
    for index, port in enumerate(body.get("ports") or []):
        where, name = f"{path}.ports[{index}]", port.get("name")
        if not 1 <= int(port.get("containerPort") or 0) <= 65535:
            yield Violation(f"{where}.containerPort", f"{port.get('containerPort')}", "1 to 65535")
        if name is not None:
            if not is_port_name(str(name)):
                yield Violation(f"{where}.name", repr(name), "15 of a-z, 0-9 and - at most, a letter among them")
            elif name in names:
                yield Violation(f"{where}.name", f"{name} again", "give each port a name of its own")
            names.add(name)
        yield from _one_of(where, port, "protocol", ("TCP", "UDP", "SCTP"))


def _resources(path: str, resources: Mapping[str, Any]) -> Iterator[Violation]:
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    wrong = False
    for kind, amounts in (("limits", limits), ("requests", requests)):
        for name, amount in amounts.items():
            where = f"{path}.{kind}.{name}"
            for violation in _quantity(where, amount):
                wrong = True
                yield violation
            near = difflib.SequenceMatcher(None, name.lower(), GPU).ratio()
            if name != GPU and near >= 0.8 and not re.search("shared|mig", name):
                wrong = True
                yield Violation(where, "no such device", f"did you mean {GPU}?")
            elif name not in STANDARD_RESOURCES and not name.startswith("hugepages-") and "/" not in name:
                wrong = True
                yield Violation(where, "no such resource", f"{', '.join(STANDARD_RESOURCES)}, or nvidia.com/gpu")
    if wrong:
        return
    for name in sorted({*limits, *requests}):
        asked, allowed = requests.get(name, limits.get(name)), limits.get(name)
        extended = "/" in name or name.startswith("hugepages-")
        if extended and any(quantity(amount).denominator != 1 for amount in (asked, allowed) if amount is not None):
            got = allowed if allowed is not None else asked
            yield Violation(f"{path}.limits.{name}", f"{got}", "whole ones: a device is given to one container")
        elif extended and (allowed is None or quantity(asked) != quantity(allowed)):
            yield Violation(f"{path}.requests.{name}", f"{asked}, and the limit {allowed}", "make them equal")
        elif allowed is not None and quantity(asked) > quantity(allowed):
            yield Violation(f"{path}.requests.{name}", f"{asked}, above the limit {allowed}", "at most the limit")


def tiny_memory(path: str, resources: Mapping[str, Any], least: int) -> Iterator[Violation]:
    """Memory that is taken for bytes, or thousandths of one: pods are made, and can never start.

    Args:
        least: bytes below which nothing of this kind runs.
    """
    for kind in ("limits", "requests"):
        amount = (resources.get(kind) or {}).get("memory")
        try:
            size = quantity(amount) if amount is not None else None
        except UserError:
            continue  # said of the quantity itself
        if size is not None and size < least:
            why = "m is thousandths" if str(amount).endswith("m") else "a number alone is bytes"
            got = f"{amount} is {float(size):g} bytes ({why})"
            meant = f"{float(size):g}" if size >= 1 else "16"
            yield Violation(f"{path}.{kind}.memory", got, f"write {meant}Gi or {meant}Mi")
            return


def duplicates(pods: list[Pod]) -> Iterator[Violation]:
    """Groups of one name: KubeRay would wait for ever, and say nothing."""
    seen: set[str] = set()
    for pod in pods:
        if pod.role == "worker":
            if pod.name in seen:
                where = f"{pod.path.removesuffix('.template')}.groupName"
                yield Violation(where, f"{pod.name} again", "give each group a name of its own")
            seen.add(pod.name)
