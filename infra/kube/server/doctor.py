"""What a cluster has of what sweeps need, item by item, each with its fix: read only, as kubectl's user.

What the user may not see is said to be unseen, with the right that it takes; it is never taken for missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from infra.kube.amounts import Amounts, amounts_of, asked_by, at_largest
from infra.kube.documents import under
from infra.kube.growth import GPU
from infra.kube.pods import Pod, pods_of
from infra.kube.rayjob import HEAD_PRIORITY
from infra.kube.rules.kueue import PRIORITY_LABEL, QUEUE_LABEL
from infra.kube.server.api import Answer, ApiServer
from infra.kube.server.named import KUEUE, named

KUBERNETES, KUBERAY, KUEUE_VERSION = (1, 29), (1, 6), (0, 15)
"""The oldest that is known to do; manifests are written for KubeRay 1.7 and Kueue 0.19."""
RIGHTS = (
    ("create", "ray.io", "rayjobs", ""),
    ("delete", "ray.io", "rayjobs", ""),
    ("get", "ray.io", "rayjobs", ""),
    ("get", "ray.io", "rayclusters", ""),
    ("get", "", "pods", "log"),
    ("create", "", "pods", "portforward"),
)
"""What launching a sweep and looking after it takes."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        state: fits, is missing or unfit, or could not be seen.
        what: was looked at.
        got: what is there.
        fix: what to do, where it is not well.
    """

    state: Literal["ok", "wrong", "unseen"]
    what: str
    got: str
    fix: str = ""


def examine(server: ApiServer, documents: list[dict[str, Any]], namespace: str) -> Iterator[Finding]:
    """All findings, in the order in which they are worth mending.

    Args:
        documents: RayJobs that are to run there, as `render` writes them.
        namespace: of sweeps.

    Raises:
        UnreachableError: the server stopped to answer.
    """
    yield _kubernetes(server)
    yield from _operators(server, queued=any(QUEUE_LABEL in _labels(document) for document in documents))
    yield from _namespace(server, namespace)
    yield from _rights(server, namespace)
    for document in documents:
        for one in named(document, namespace):
            what = f"{one.kind} {one.name}"
            yield _seen(server.get(one.place, metadata_only=True), what, f"get {one.kind.lower()}s", one.fix)
    yield from _quotas(server, documents, namespace)
    yield from _queues(server, documents, namespace)
    yield from _nodes(server, documents)


def _labels(document: dict[str, Any]) -> dict[str, str]:
    return under(document, "metadata.labels") or {}


def _seen(answer: Answer, what: str, right: str, fix: str) -> Finding:
    """Whether one object is there."""
    if answer.ok:
        return Finding("ok", what, "is there")
    if answer.code == 403:
        return Finding("unseen", what, f"you may not {right}", f"ask somebody who may {right}")
    return Finding("wrong", what, "is not there" if answer.lacks_object else answer.message, fix)


def _version(text: Any) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", str(text))[:2])


def _kubernetes(server: ApiServer) -> Finding:
    git = str(server.get("/version").body.get("gitVersion") or "of no version")
    if _version(git) < KUBERNETES:
        return Finding("wrong", "Kubernetes", git, f"{'.'.join(map(str, KUBERNETES))} or newer")
    return Finding("ok", "Kubernetes", git)


def _operators(server: ApiServer, *, queued: bool) -> Iterator[Finding]:
    for title, group, label, oldest, needed in (
        ("KubeRay", "ray.io", "app.kubernetes.io/name=kuberay-operator", KUBERAY, True),
        ("Kueue", "kueue.x-k8s.io", "app.kubernetes.io/name=kueue", KUEUE_VERSION, queued),
    ):
        versions = [str(one.get("version")) for one in server.get(f"/apis/{group}").body.get("versions") or []]
        if not versions:
            if needed:
                yield Finding("wrong", title, "is not installed", "install it: k8s/README.md")
            continue
        listed = server.get("/apis/apps/v1/deployments", labelSelector=label)
        images = [
            str(container.get("image"))
            for item in listed.body.get("items") or []
            for container in under(item, "spec.template.spec.containers") or []
        ]
        tags = [image.rpartition(":")[2] for image in images if _version(image.rpartition(":")[2])]
        if listed.code == 403 or not tags:
            why = "you may not list deployments" if listed.code == 403 else "no deployment names its version"
            yield Finding("unseen", f"{title}'s version", f"it serves {', '.join(versions)}; {why}")
        elif max(map(_version, tags)) < oldest:
            yield Finding("wrong", title, tags[0], f"{'.'.join(map(str, oldest))} or newer: k8s/README.md")
        else:
            yield Finding("ok", title, tags[0])


def _namespace(server: ApiServer, namespace: str) -> Iterator[Finding]:
    answer = server.get(f"/api/v1/namespaces/{namespace}")
    yield _seen(answer, f"namespace {namespace}", "get namespaces", "kubectl apply -f k8s/base/namespace.yaml")
    if answer.ok and _labels(answer.body).get("pod-security.kubernetes.io/enforce") != "restricted":
        got = f"pod-security enforce is {_labels(answer.body).get('pod-security.kubernetes.io/enforce') or 'not set'}"
        yield Finding("wrong", f"namespace {namespace}", got, "label it restricted, as k8s/base/namespace.yaml does")


def _rights(server: ApiServer, namespace: str) -> Iterator[Finding]:
    lacking = [
        f"{verb} {resource}{'/' if sub else ''}{sub}"
        for verb, group, resource, sub in RIGHTS
        if not server.may(verb, resource, namespace, group, sub)
    ]
    if lacking:
        fix = f"kubectl create rolebinding NAME -n {namespace} --role seldtune-operator --user USER"
        yield Finding("wrong", "your rights", f"you may not {', '.join(lacking)}", fix)
    else:
        yield Finding("ok", "your rights", "sweeps, their logs, port-forward")


def _quotas(server: ApiServer, documents: list[dict[str, Any]], namespace: str) -> Iterator[Finding]:
    listed = server.get(f"/api/v1/namespaces/{namespace}/resourcequotas")
    if listed.code == 403:
        yield Finding("unseen", "quotas", "you may not list resourcequotas", "ask somebody who may")
        return
    for item in listed.body.get("items") or []:
        what = f"quota {under(item, 'metadata.name')}"
        hard, used = under(item, "status.hard") or {}, under(item, "status.used") or {}
        jobs = "count/rayjobs.ray.io"
        if jobs in hard:
            left = int(hard[jobs]) - int(used.get(jobs, 0))
            state: Literal["ok", "wrong"] = "ok" if left > 0 else "wrong"
            fix = "" if left > 0 else "delete ended ones: kubectl get rayjob; kubectl delete rayjob NAME"
            yield Finding(state, what, f"{left} of {hard[jobs]} RayJobs left", fix)
        limits = {name: amount for name, amount in hard.items() if name.startswith("requests.")}
        room = _where_limited(amounts_of(limits, "requests."), limits)
        for document in documents:
            asks = at_largest(pods_of(document))
            name = under(document, "metadata.name")
            if short := asks.lacking(room):
                fix = "a smaller --shape, fewer maxReplicas, or a larger quota: it would never be whole"
                yield Finding("wrong", what, f"{name} asks for {short}", fix)
                continue
            left_now = room - amounts_of(used, "requests.")
            short = asks.lacking(left_now)
            yield Finding("ok", what, f"{name} fits: {asks}" + (f"; it waits now, for {short} left" if short else ""))


def _where_limited(room: Amounts, limits: dict[str, Any]) -> Amounts:
    """No limit is room for anything."""
    endless = amounts_of({"cpu": "1E", "memory": "1E", GPU: "1E"})
    return Amounts(
        room.cpu if "requests.cpu" in limits else endless.cpu,
        room.memory if "requests.memory" in limits else endless.memory,
        room.gpu if f"requests.{GPU}" in limits else endless.gpu,
    )


def _queues(server: ApiServer, documents: list[dict[str, Any]], namespace: str) -> Iterator[Finding]:
    queued = [document for document in documents if QUEUE_LABEL in _labels(document)]
    if not queued:
        return
    head = server.get(f"/apis/scheduling.k8s.io/v1/priorityclasses/{HEAD_PRIORITY}")
    for document in queued:
        queue = server.get(f"{KUEUE}/namespaces/{namespace}/localqueues/{_labels(document)[QUEUE_LABEL]}")
        if queue.ok:
            yield from _cluster_queue(server, document, str(under(queue.body, "spec.clusterQueue")))
        priority = _labels(document).get(PRIORITY_LABEL)
        if priority and head.ok:
            chosen = server.get(f"{KUEUE}/workloadpriorityclasses/{priority}")
            if chosen.ok:
                value, none = int(chosen.body.get("value") or 0), int(head.body.get("value") or 0)
                place = "before" if value > none else "behind"
                yield Finding("ok", f"priority {priority}", f"{value}: {place} sweeps without one ({none})")


def _cluster_queue(server: ApiServer, document: dict[str, Any], name: str) -> Iterator[Finding]:
    """Each kind of pod has to find one flavor that has room for all of that kind."""
    what = f"ClusterQueue {name}"
    answer = server.get(f"{KUEUE}/clusterqueues/{name}")
    if not answer.ok:
        yield _seen(answer, what, "get clusterqueues", "apply k8s/overlays/kueue")
        return
    flavors: dict[str, Amounts] = {}
    for group in under(answer.body, "spec.resourceGroups") or []:
        for flavor in group.get("flavors") or []:
            quotas = {one["name"]: one.get("nominalQuota", 0) for one in flavor.get("resources") or []}
            flavors[str(flavor["name"])] = flavors.get(str(flavor["name"]), Amounts()) + amounts_of(quotas)
    labels = {
        flavor: under(server.get(f"{KUEUE}/resourceflavors/{flavor}").body, "spec.nodeLabels") or {}
        for flavor in flavors
    }
    asked: dict[str, Amounts] = {}
    for pod in pods_of(document):
        wanted = pod.spec.get("nodeSelector") or {}
        fitting = [f for f in flavors if all(labels[f].get(k, v) == v for k, v in wanted.items())]
        if not fitting:
            yield Finding(
                "wrong", what, f"no flavor has nodes {wanted} for {pod.role} {pod.name}", "see resourceflavors"
            )
            return
        asked[fitting[0]] = asked.get(fitting[0], Amounts()) + asked_by(pod) * pod.most
    for flavor, amounts in asked.items():
        if short := amounts.lacking(flavors[flavor]):
            fix = "a smaller --shape, or a larger nominalQuota: it would be suspended for ever"
            yield Finding("wrong", what, f"flavor {flavor}: {under(document, 'metadata.name')} asks for {short}", fix)
        else:
            yield Finding("ok", what, f"flavor {flavor} has room for {amounts}: {flavors[flavor]}")


def _nodes(server: ApiServer, documents: list[dict[str, Any]]) -> Iterator[Finding]:
    listed = server.get("/api/v1/nodes")
    if listed.code == 403:
        yield Finding("unseen", "nodes", "you may not list nodes", "ask for ClusterRole seldtune-cluster-reader")
        return
    nodes = [(item, amounts_of(under(item, "status.allocatable") or {})) for item in listed.body.get("items") or []]
    for document in documents:
        for pod in pods_of(document):
            yield _node_for(pod, nodes)


def _node_for(pod: Pod, nodes: list[tuple[dict[str, Any], Amounts]]) -> Finding:
    what, asks = f"a node for {pod.role} {pod.name}", asked_by(pod)
    wanted, tolerations = pod.spec.get("nodeSelector") or {}, pod.spec.get("tolerations") or []
    named_so = [(node, room) for node, room in nodes if wanted.items() <= _labels(node).items()]
    if not named_so:
        labels = ",".join(f"{key}={value}" for key, value in wanted.items())
        got = f"none of {len(nodes)} nodes has {labels}; a pool that starts at 0 has none yet"
        return Finding("unseen", what, got, f"else: kubectl label node NODE {labels}")
    open_ones = [(node, room) for node, room in named_so if not _kept_out(node, tolerations)]
    if not open_ones:
        taints = sorted({taint for node, _ in named_so for taint in _kept_out(node, tolerations)})
        return Finding("wrong", what, f"taints {', '.join(taints)}", "tolerate them in the template, or take them off")
    fitting = [node for node, room in open_ones if not asks.lacking(room)]
    if fitting:
        return Finding("ok", what, f"{len(fitting)} of {len(nodes)} would do for {asks}")
    largest = max((room for _, room in open_ones), key=lambda room: (room.gpu, room.memory, room.cpu))
    return Finding(
        "wrong", what, f"asks for {asks.lacking(largest)} at the largest", "a smaller --shape, or larger nodes"
    )


def _kept_out(node: dict[str, Any], tolerations: list[dict[str, Any]]) -> list[str]:
    """Taints of a node that the pod does not tolerate."""
    return [
        f"{taint.get('key')}:{taint.get('effect')}"
        for taint in under(node, "spec.taints") or []
        if taint.get("effect") in ("NoSchedule", "NoExecute") and not any(_tolerates(one, taint) for one in tolerations)
    ]


def _tolerates(toleration: dict[str, Any], taint: dict[str, Any]) -> bool:
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint.get("key"))
    return toleration.get("key") == taint.get("key") and toleration.get("value", "") == taint.get("value", "")


def worst(findings: list[Finding]) -> bool:
    """Whether anything has to be mended before a sweep can run."""
    return any(finding.state == "wrong" for finding in findings)


def shorter(finding: Finding, longest: int = 300) -> Finding:
    """With a message of the server's cut where it is long."""
    return replace(finding, got=finding.got if len(finding.got) <= longest else f"{finding.got[:longest]}...")
