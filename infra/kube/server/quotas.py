"""What a sweep asks for, against the quotas of its namespace and the queue it waits in."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from infra.kube.amounts import Amounts, amounts_of, asked_by, at_largest
from infra.kube.documents import under
from infra.kube.growth import GPU
from infra.kube.pods import Pod, pods_of
from infra.kube.quantities import quantity
from infra.kube.rayjob import HEAD_PRIORITY
from infra.kube.rules.kueue import PRIORITY_LABEL, QUEUE_LABEL
from infra.kube.server.api import ApiServer
from infra.kube.server.findings import Finding, seen, unseen
from infra.kube.server.named import KUEUE
from infra.kube.server.nodes import kept_out

_OURS = {"NotTerminating", "NotBestEffort"}
"""Scopes of a quota that every pod of a sweep is in: without a deadline, and with requests."""


def quota_findings(server: ApiServer, documents: list[dict[str, Any]], namespace: str) -> Iterator[Finding]:
    """Each quota: whether a sweep is ever whole in it, and whether it waits now."""
    answer, listed = server.items(f"/api/v1/namespaces/{namespace}/resourcequotas")
    if not answer.ok:
        yield unseen(answer, "quotas", "list resourcequotas")
        return
    for item in listed:
        what = f"quota {under(item, 'metadata.name')}"
        scopes = set(under(item, "spec.scopes") or [])
        if under(item, "spec.scopeSelector") or scopes - _OURS:
            yield Finding("unseen", what, "is of some pods only, and was not compared")
            continue
        hard = under(item, "status.hard") or under(item, "spec.hard") or {}
        used = under(item, "status.used") or {}
        jobs = "count/rayjobs.ray.io"
        if jobs in hard:
            left = max(Fraction(0), quantity(hard[jobs]) - quantity(used.get(jobs, 0)))
            fix = "" if left else "delete ended ones: kubectl get rayjob; kubectl delete rayjob NAME"
            yield Finding("ok" if left else "wrong", what, f"{int(left)} of {hard[jobs]} RayJobs left", fix)
        for document in documents:
            yield _within(what, document, hard, used)


def _within(what: str, document: dict[str, Any], hard: dict[str, Any], used: dict[str, Any]) -> Finding:
    name, asks = under(document, "metadata.name"), at_largest(pods_of(document))
    asked = _asked(document, asks)
    over = [key for key in hard if asked.get(key, 0) > quantity(hard[key])]
    never = [f"{_said(key, asked[key])} of {hard[key]} {key}" for key in over]
    if never:
        fix = "a smaller --shape, fewer maxReplicas, or a larger quota: it would never be whole"
        return Finding("wrong", what, f"{name} asks for {', '.join(never)}", fix)
    now = [
        f"{_said(key, quantity(hard[key]) - quantity(used.get(key, 0)))} {key}"
        for key in hard
        if asked.get(key, 0) > quantity(hard[key]) - quantity(used.get(key, 0))
    ]
    return Finding("ok", what, f"{name} fits: {asks}" + (f"; it waits now, with {', '.join(now)} left" if now else ""))


def _asked(document: dict[str, Any], asks: Amounts) -> dict[str, Fraction]:
    """What a document at its largest takes of each thing that a quota may limit."""
    pods = list(pods_of(document))
    limits = at_largest(pods, of="limits")
    number = Fraction(sum(pod.most for pod in pods))
    jobs = Fraction(sum(pod.role == "submitter" for pod in pods))
    asked = {"cpu": asks.cpu, "memory": asks.memory, f"requests.{GPU}": asks.gpu, "pods": number, "count/pods": number}
    asked |= {"requests.cpu": asks.cpu, "requests.memory": asks.memory, "count/jobs.batch": jobs}
    return asked | {"limits.cpu": limits.cpu, "limits.memory": limits.memory}


def _said(key: str, amount: Fraction) -> str:
    return f"{float(amount / 2**30):g} GiB" if key.endswith("memory") else f"{float(amount):g}"


def queue_findings(server: ApiServer, documents: list[dict[str, Any]], namespace: str) -> Iterator[Finding]:
    """Of each document in a queue of Kueue's: whether it will be admitted, and before whom."""
    for document in documents:
        labels = under(document, "metadata.labels") or {}
        if QUEUE_LABEL not in labels:
            continue
        queue = server.get(f"{KUEUE}/namespaces/{namespace}/localqueues/{labels[QUEUE_LABEL]}")
        if queue.ok:
            yield from _stopped(f"LocalQueue {labels[QUEUE_LABEL]}", queue.body)
            yield from _cluster_queue(server, document, str(under(queue.body, "spec.clusterQueue")))
        if priority := labels.get(PRIORITY_LABEL):
            head = server.get(f"/apis/scheduling.k8s.io/v1/priorityclasses/{HEAD_PRIORITY}")
            chosen = server.get(f"{KUEUE}/workloadpriorityclasses/{priority}")
            if chosen.ok and head.ok:
                value, none = int(chosen.body.get("value") or 0), int(head.body.get("value") or 0)
                place = "before" if value > none else "behind"
                yield Finding("ok", f"priority {priority}", f"{value}: {place} sweeps without one ({none})")


def _stopped(what: str, body: dict[str, Any]) -> Iterator[Finding]:
    if (policy := under(body, "spec.stopPolicy")) not in (None, "None"):
        yield Finding("wrong", what, f"stopPolicy is {policy}: nothing is admitted", "stopPolicy: None")
    for condition in under(body, "status.conditions") or []:
        if condition.get("type") == "Active" and condition.get("status") == "False":
            yield Finding("wrong", what, f"is not active: {condition.get('message')}", "kubectl describe it")


def _cluster_queue(server: ApiServer, document: dict[str, Any], name: str) -> Iterator[Finding]:
    """Each kind of pod finds, for each group of resources, a flavor that has room for all of that kind."""
    what = f"ClusterQueue {name}"
    answer = server.get(f"{KUEUE}/clusterqueues/{name}")
    if not answer.ok:
        yield seen(answer, what, "get clusterqueues", "apply k8s/overlays/kueue")
        return
    stopped = list(_stopped(what, answer.body))
    yield from stopped
    if under(answer.body, "spec.namespaceSelector") is None:
        yield Finding("wrong", what, "takes jobs of no namespace", "set its namespaceSelector")
    borrows = under(answer.body, "spec.cohort") or under(answer.body, "spec.cohortName")
    for group in under(answer.body, "spec.resourceGroups") or []:
        covered = set(group.get("coveredResources") or [])
        rooms = {
            str(flavor["name"]): amounts_of({one["name"]: one.get("nominalQuota", 0) for one in flavor["resources"]})
            for flavor in group.get("flavors") or []
        }
        kinds = {}
        for flavor in rooms:
            found = server.get(f"{KUEUE}/resourceflavors/{flavor}")
            if not found.ok:
                yield unseen(found, f"flavor {flavor}", "get resourceflavors")
                return
            kinds[flavor] = found.body
        yield from _placed(what, document, covered, rooms, kinds, borrows=bool(borrows))


def _placed(
    what: str,
    document: dict[str, Any],
    covered: set[str],
    rooms: dict[str, Amounts],
    kinds: dict[str, dict[str, Any]],
    *,
    borrows: bool,
) -> Iterator[Finding]:
    taken = dict.fromkeys(rooms, Amounts())
    for pod in pods_of(document):
        asks = _covered(asked_by(pod) * pod.most, covered)
        eligible = [flavor for flavor in rooms if _may_be_on(pod, kinds[flavor])]
        if not eligible:
            wanted = pod.spec.get("nodeSelector") or {}
            got = f"no flavor has nodes {wanted} that {pod.role} {pod.name} may be on"
            yield Finding("wrong", what, got, "kubectl get resourceflavors -o yaml")
            return
        fitting = [flavor for flavor in eligible if not (taken[flavor] + asks).lacking(rooms[flavor])]
        chosen = (fitting or eligible)[0]
        taken[chosen] = taken[chosen] + asks
    for flavor, amounts in taken.items():
        short = amounts.lacking(rooms[flavor])
        got = f"flavor {flavor}: {under(document, 'metadata.name')} asks for {short}"
        if short and borrows:
            yield Finding("unseen", what, f"{got}; its cohort may lend it", "kubectl get cohorts,clusterqueues -o yaml")
        elif short:
            fix = "a smaller --shape, or a larger nominalQuota: it would be suspended for ever"
            yield Finding("wrong", what, got, fix)
        elif amounts != Amounts():
            yield Finding("ok", what, f"flavor {flavor} has room for {amounts}: {rooms[flavor]}")


def _covered(amounts: Amounts, names: set[str]) -> Amounts:
    none = Fraction(0)
    return Amounts(
        amounts.cpu if not names or "cpu" in names else none,
        amounts.memory if not names or "memory" in names else none,
        amounts.gpu if not names or GPU in names else none,
    )


def _may_be_on(pod: Pod, flavor: dict[str, Any]) -> bool:
    labels, wanted = under(flavor, "spec.nodeLabels") or {}, pod.spec.get("nodeSelector") or {}
    tolerations = [*(pod.spec.get("tolerations") or []), *(under(flavor, "spec.tolerations") or [])]
    # Kueue looks at those labels alone that the flavor names.
    fits = all(labels[key] == value for key, value in wanted.items() if key in labels)
    return fits and not kept_out(under(flavor, "spec.nodeTaints") or [], tolerations)
