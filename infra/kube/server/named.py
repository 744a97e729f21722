"""What a document names and somebody else makes: Secrets, accounts, classes, queues."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from infra.kube.documents import clusters, under
from infra.kube.pods import Pod, pods_of
from infra.kube.rules.kueue import PRIORITY_LABEL, QUEUE_LABEL

KUEUE = "/apis/kueue.x-k8s.io/v1beta2"
_MAKES_SECRETS, _MAKES_THE_REST = "k8s/secrets.sh makes it", "apply the overlay that has it"
_REFERENCES = (("Secret", "secretRef", "secretKeyRef"), ("ConfigMap", "configMapRef", "configMapKeyRef"))


@dataclass(frozen=True)
class Named:
    """Something that has to be there.

    Attributes:
        path: where the document names it.
        place: of the object on an API server.
        fix: what makes it.
    """

    path: str
    kind: str
    name: str
    place: str
    fix: str


def named(document: dict[str, Any], namespace: str) -> list[Named]:
    """All that has to be there for a document's pods to start, each once."""
    found: dict[tuple[str, str], Named] = {}
    for path, kind, name in _names(document):
        if name:
            fix = _MAKES_SECRETS if kind == "Secret" else _MAKES_THE_REST
            place = f"{_place(kind, namespace)}/{name}"
            found.setdefault((kind, str(name)), Named(path, kind, str(name), place, fix))
    return list(found.values())


def _place(kind: str, namespace: str) -> str:
    if kind == "PriorityClass":
        return "/apis/scheduling.k8s.io/v1/priorityclasses"
    if kind == "RuntimeClass":
        return "/apis/node.k8s.io/v1/runtimeclasses"
    if kind == "WorkloadPriorityClass":
        return f"{KUEUE}/workloadpriorityclasses"
    if kind == "RayCluster":
        return f"/apis/ray.io/v1/namespaces/{namespace}/rayclusters"
    if kind == "LocalQueue":
        return f"{KUEUE}/namespaces/{namespace}/localqueues"
    return f"/api/v1/namespaces/{namespace}/{plural(kind)}"


def plural(kind: str) -> str:
    """As paths and rights have a kind: secrets, priorityclasses."""
    return f"{kind.lower()}{'es' if kind.endswith('s') else 's'}"


def _names(document: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Path, kind and name."""
    for path, cluster in clusters(document):
        yield f"{path}.authOptions.secretName", "Secret", under(cluster, "authOptions.secretName")
    labels = under(document, "metadata.labels") or {}
    yield f"metadata.labels.{QUEUE_LABEL}", "LocalQueue", labels.get(QUEUE_LABEL)
    yield f"metadata.labels.{PRIORITY_LABEL}", "WorkloadPriorityClass", labels.get(PRIORITY_LABEL)
    yield "spec.clusterSelector", "RayCluster", (under(document, "spec.clusterSelector") or {}).get("ray.io/cluster")
    for pod in pods_of(document):
        yield from _of_pod(pod)


def _of_pod(pod: Pod) -> Iterator[tuple[str, str, Any]]:
    path = f"{pod.path}.spec"
    yield f"{path}.serviceAccountName", "ServiceAccount", pod.spec.get("serviceAccountName")
    yield f"{path}.priorityClassName", "PriorityClass", pod.spec.get("priorityClassName")
    yield f"{path}.runtimeClassName", "RuntimeClass", pod.spec.get("runtimeClassName")
    for reference in pod.spec.get("imagePullSecrets") or []:
        yield f"{path}.imagePullSecrets", "Secret", reference.get("name")
    for index, volume in enumerate(pod.spec.get("volumes") or []):
        where = f"{path}.volumes[{index}]"
        yield where, "PersistentVolumeClaim", under(volume, "persistentVolumeClaim.claimName")
        for kind, holder, field in (("Secret", "secret", "secretName"), ("ConfigMap", "configMap", "name")):
            for source in (volume, *(under(volume, "projected.sources") or [])):
                held = source.get(holder) or {}
                if not held.get("optional"):
                    yield where, kind, held.get(field) or held.get("name")
    for container in pod.all_containers:
        for kind, whole, of_key in _REFERENCES:
            sources = [("envFrom", entry.get(whole)) for entry in container.body.get("envFrom") or []]
            sources += [("env", under(entry, f"valueFrom.{of_key}")) for entry in container.body.get("env") or []]
            for field, reference in sources:
                if reference and not reference.get("optional"):
                    yield f"{container.path}.{field}", kind, reference.get("name")
