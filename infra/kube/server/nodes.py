"""Whether a cluster has a node for each pod."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from infra.kube.amounts import Amounts, amounts_of, asked_by
from infra.kube.documents import under
from infra.kube.pods import Pod, pods_of
from infra.kube.server.api import ApiServer
from infra.kube.server.findings import Finding, unseen

_CORDONED = "node.kubernetes.io/unschedulable"
_KEEPS_OUT = ("NoSchedule", "NoExecute")


def node_findings(server: ApiServer, documents: list[dict[str, Any]]) -> Iterator[Finding]:
    """For each kind of pod: how many nodes would do, or why none does."""
    answer, listed = server.items("/api/v1/nodes")
    if not answer.ok:
        yield unseen(answer, "nodes", "list nodes")
        return
    nodes = [(item, amounts_of(under(item, "status.allocatable") or {})) for item in listed]
    for document in documents:
        for pod in pods_of(document):
            yield _node_for(pod, nodes)


def _node_for(pod: Pod, nodes: list[tuple[dict[str, Any], Amounts]]) -> Finding:
    what, asks = f"a node for {pod.role} {pod.name}", asked_by(pod)
    wanted, tolerations = pod.spec.get("nodeSelector") or {}, pod.spec.get("tolerations") or []
    named_so = [
        (node, room) for node, room in nodes if wanted.items() <= (under(node, "metadata.labels") or {}).items()
    ]
    if not named_so:
        labels = ",".join(f"{key}={value}" for key, value in wanted.items())
        got = f"none of {len(nodes)} nodes has {labels}" if labels else "there is no node"
        fix = f"else: kubectl label node NODE {labels}" if labels else ""
        return Finding("unseen", what, f"{got}; a pool that starts at 0 has none yet", fix)
    ready = [(node, room) for node, room in named_so if not _out_of_use(node)]
    if not ready:
        why = ", ".join(sorted({_out_of_use(node) for node, _ in named_so}))
        return Finding("wrong", what, f"{len(named_so)} of that name: {why}", "kubectl uncordon NODE, or mend it")
    open_ones = [(node, room) for node, room in ready if not kept_out(under(node, "spec.taints") or [], tolerations)]
    if not open_ones:
        taints = {taint for node, _ in ready for taint in kept_out(under(node, "spec.taints") or [], tolerations)}
        fix = "tolerate them in the template, or take them off"
        return Finding("wrong", what, f"taints {', '.join(sorted(taints))}", fix)
    fitting = [node for node, room in open_ones if not asks.lacking(room)]
    if fitting:
        return Finding("ok", what, f"{len(fitting)} of {len(nodes)} would do for {asks}")
    largest = max((room for _, room in open_ones), key=lambda room: (room.gpu, room.memory, room.cpu))
    got = f"asks for {asks.lacking(largest)} at the largest"
    return Finding("wrong", what, got, "a smaller --shape, or larger nodes")


def _out_of_use(node: dict[str, Any]) -> str:
    """Why nothing is placed on a node now; empty where it is."""
    taints = {taint.get("key") for taint in under(node, "spec.taints") or []}
    if under(node, "spec.unschedulable") or _CORDONED in taints:
        return "cordoned"
    conditions = under(node, "status.conditions") or []
    ready = next((one.get("status") for one in conditions if one.get("type") == "Ready"), "True")
    return "" if ready == "True" else "not ready"


def kept_out(taints: list[dict[str, Any]], tolerations: list[dict[str, Any]]) -> list[str]:
    """Those of some taints that are not tolerated."""
    return [
        f"{taint.get('key')}:{taint.get('effect')}"
        for taint in taints
        if taint.get("effect") in _KEEPS_OUT and not any(_tolerates(one, taint) for one in tolerations)
    ]


def _tolerates(toleration: dict[str, Any], taint: dict[str, Any]) -> bool:
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint.get("key"))
    return toleration.get("key") == taint.get("key") and toleration.get("value", "") == taint.get("value", "")
