"""What a cluster has of what sweeps need, item by item, each with its fix: read only, as kubectl's user.

What the user may not see is said to be unseen, with the right that it takes; it is never taken for missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from infra.kube.documents import under
from infra.kube.rules.kueue import QUEUE_LABEL
from infra.kube.server.api import ApiServer
from infra.kube.server.findings import Finding, seen, unseen
from infra.kube.server.named import named, plural
from infra.kube.server.nodes import node_findings
from infra.kube.server.quotas import queue_findings, quota_findings

KUBERNETES = (1, 29)
"""The oldest that is known to do."""
OPERATORS = (
    ("KubeRay", "ray.io", "v1", "app.kubernetes.io/name=kuberay-operator", (1, 6)),
    ("Kueue", "kueue.x-k8s.io", "v1beta2", "app.kubernetes.io/name=kueue", (0, 15)),
)
"""Group, version that is asked for, label of its deployment, oldest; manifests are written for 1.7 and 0.19."""
RIGHTS = (
    ("create", "ray.io", "rayjobs", ""),
    ("delete", "ray.io", "rayjobs", ""),
    ("get", "ray.io", "rayjobs", ""),
    ("get", "ray.io", "rayclusters", ""),
    ("get", "", "pods", "log"),
    ("create", "", "pods", "portforward"),
)
"""What launching a sweep and looking after it takes."""
_VERSION = re.compile(r"v?(\d+)\.(\d+)")


def examine(server: ApiServer, documents: list[dict[str, Any]], namespace: str) -> Iterator[Finding]:
    """All findings, in the order in which they are worth mending.

    Args:
        documents: what is to run there, as `render` writes it.
        namespace: of sweeps.

    Raises:
        UnreachableError: the server stopped to answer.
    """
    yield _kubernetes(server)
    queued = any(QUEUE_LABEL in (under(document, "metadata.labels") or {}) for document in documents)
    for title, group, version, label, oldest in OPERATORS:
        yield from _operator(server, title, group, version, label, oldest, needed=title == "KubeRay" or queued)
    yield from _namespace(server, namespace)
    yield _rights(server, namespace)
    there = {(document["kind"], str(under(document, "metadata.name"))) for document in documents}
    looked_at: set[str] = set()
    for document in documents:
        for one in named(document, namespace):
            if one.place not in looked_at and (one.kind, one.name) not in there:
                looked_at.add(one.place)
                answer = server.get(one.place, metadata_only=True)
                yield seen(answer, f"{one.kind} {one.name}", f"get {plural(one.kind)}", one.fix)
    jobs = [document for document in documents if document["kind"] in ("RayJob", "RayCluster")]
    yield from quota_findings(server, jobs, namespace)
    yield from queue_findings(server, jobs, namespace)
    yield from node_findings(server, jobs)


def _kubernetes(server: ApiServer) -> Finding:
    git = str(server.get("/version").body.get("gitVersion") or "of no version")
    found = _VERSION.match(git)
    if found and (int(found[1]), int(found[2])) < KUBERNETES:
        return Finding("wrong", "Kubernetes", git, f"{'.'.join(map(str, KUBERNETES))} or newer")
    return Finding("ok" if found else "unseen", "Kubernetes", git)


def _operator(
    server: ApiServer, title: str, group: str, version: str, label: str, oldest: tuple[int, int], *, needed: bool
) -> Iterator[Finding]:
    served = server.get(f"/apis/{group}")
    versions = [str(one.get("version")) for one in served.body.get("versions") or []]
    if not served.ok and served.code != 404:
        yield unseen(served, title, f"read /apis/{group}")
    elif not versions:
        if needed:
            yield Finding("wrong", title, "is not installed", "install it: k8s/README.md")
    elif version not in versions:
        fix = f"{'.'.join(map(str, oldest))} or newer: k8s/README.md"
        yield Finding("wrong", title, f"serves {', '.join(versions)} and not {version}", fix)
    else:
        answer, listed = server.items("/apis/apps/v1/deployments", labelSelector=label)
        tags = [
            found[0]
            for item in listed
            for container in under(item, "spec.template.spec.containers") or []
            if (found := _tag(str(container.get("image"))))
        ]
        if not answer.ok:
            yield unseen(answer, f"{title}'s version", "list deployments")
        elif not tags:
            yield Finding("unseen", f"{title}'s version", f"it serves {version}; no image of it names a version")
        elif (found := _VERSION.match(tags[0])) and (int(found[1]), int(found[2])) < oldest:
            yield Finding("wrong", title, tags[0], f"{'.'.join(map(str, oldest))} or newer: k8s/README.md")
        else:
            yield Finding("ok", title, tags[0])


def _tag(image: str) -> re.Match[str] | None:
    """A version's beginning in an image's tag: `v1.7.0` of quay.io/kuberay/operator:v1.7.0@sha256:..."""
    return re.match(r"v?\d+\.\d+\S*", image.partition("@")[0].rpartition("/")[2].partition(":")[2])


def _namespace(server: ApiServer, namespace: str) -> Iterator[Finding]:
    what, answer = f"namespace {namespace}", server.get(f"/api/v1/namespaces/{namespace}")
    yield seen(answer, what, "get namespaces", "kubectl apply -f k8s/base/namespace.yaml")
    if not answer.ok:
        return
    if under(answer.body, "status.phase") == "Terminating":
        yield Finding("wrong", what, "is being deleted", "wait, and make it again")
    label = "pod-security.kubernetes.io/enforce"
    enforced = (under(answer.body, "metadata.labels") or {}).get(label)
    if enforced != "restricted":
        yield Finding("wrong", what, f"{label} is {enforced or 'not set'}", "label it as k8s/base/namespace.yaml does")


def _rights(server: ApiServer, namespace: str) -> Finding:
    answers = {
        f"{verb} {resource}{'/' if sub else ''}{sub}": server.may(verb, resource, namespace, group, sub)
        for verb, group, resource, sub in RIGHTS
    }
    if lacking := [right for right, may in answers.items() if may is False]:
        fix = f"kubectl create rolebinding NAME -n {namespace} --role seldtune-operator --user USER"
        return Finding("wrong", "your rights", f"you may not {', '.join(lacking)}", fix)
    if None in answers.values():
        return Finding("unseen", "your rights", "the server does not say", "try again")
    return Finding("ok", "your rights", "sweeps, their logs, port-forward")


def worst(findings: list[Finding]) -> bool:
    """Whether anything has to be mended before a sweep can run."""
    return any(finding.state == "wrong" for finding in findings)
