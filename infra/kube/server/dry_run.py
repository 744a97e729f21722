"""What a cluster would answer to documents of ours, asked before anything is applied.

Three questions: what its API server, its webhooks and its admission make of a document and of its pods; whether what
the document names is there; and whether a job of this name runs already. The first is asked as a strict dry run, which
whoever may create RayJobs may do; of what the user may not ask, the rules have spoken.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from infra.kube.documents import Violation, inner_documents, under
from infra.kube.pods import Pod, pods_of
from infra.kube.rayjob import ENDED, SWEEP_LABEL
from infra.kube.rules.shape import misshapen
from infra.kube.schemas import KINDS
from infra.kube.server.api import Answer, ApiServer
from infra.kube.server.named import named

_PLACES = {
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "CronJob": "/apis/batch/v1/namespaces/{}/cronjobs",
    **{kind: f"/apis/ray.io/v1/namespaces/{{}}/{plural}" for kind, plural in KINDS.items()},
}
_PODS = "/api/v1/namespaces/{}/pods"
_UNKNOWN_FIELD = re.compile(r'unknown field "([^"]+)"')
"""How a strict API server names a field that a kind does not have."""


@dataclass
class Asked:
    """What a cluster said of one document.

    Attributes:
        refused: what will not work on it.
        said: what is worth knowing, and no reason to refuse.
        judged: whether the server looked at the document at all.
    """

    refused: list[Violation] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    judged: bool = True


def ask(server: ApiServer, document: dict[str, Any], there: Collection[tuple[str, str]] = ()) -> Asked:
    """What the server makes of a document, and of what it will bring about.

    Args:
        there: kinds and names of what is applied with it.

    Raises:
        UnreachableError: it stopped to answer.
    """
    asked, kind = Asked(), document["kind"]
    if kind not in _PLACES:
        return asked
    namespace = str(under(document, "metadata.namespace") or server.namespace)
    place = _PLACES[kind].format(namespace)
    answer = server.try_out(place, document)
    asked.said += answer.warnings
    if not answer.ok and answer.reason != "AlreadyExists":
        _told(asked, answer, kind, namespace)
        if asked.refused:
            return asked
    if misshapen(document):
        return asked  # the rules have said so
    if kind == "ConfigMap":
        for key, documents in inner_documents(document, SWEEP_LABEL):
            for inner in documents:
                found = ask(server, inner, there)
                asked.refused += [Violation(f"data[{key}].{one.path}", one.got, one.fix) for one in found.refused]
                asked.said += found.said
                asked.judged &= found.judged
        return asked
    if kind in ("RayJob", "RayCluster"):
        _standing(asked, server, place, document)
    _missing(asked, server, document, namespace, there)
    if server.may("create", "pods", namespace):
        for pod in pods_of(document):
            _pod(asked, server.try_out(_PODS.format(namespace), pod.manifest), pod, namespace)
    return asked


def _told(asked: Asked, answer: Answer, kind: str, namespace: str) -> None:
    """A refusal of the document itself."""
    asked.judged = not (answer.lacks_right or answer.passes)
    if answer.passes:
        asked.said.append(f"the API server could not judge the {kind} now ({answer.message}); try again")
    elif answer.lacks_right:
        asked.said.append(
            f"you may not create a {kind} in namespace {namespace}, so it was not tried: {answer.message}"
        )
    elif answer.code == 404 and (answer.body.get("details") or {}).get("kind") == "namespaces":
        asked.refused.append(
            Violation("metadata.namespace", f"{namespace} is not there", "apply k8s/base/namespace.yaml")
        )
    elif answer.code == 404:
        asked.refused.append(Violation("kind", f"the cluster knows no {kind}", "install KubeRay: k8s/README.md"))
    elif answer.causes:
        asked.refused += [
            Violation(path or "(document)", text, "the API server says so") for path, text in answer.causes
        ]
    elif unknown := _UNKNOWN_FIELD.findall(answer.message):
        asked.refused += [
            Violation(path, "no such field", "leave it out, or see KubeRay's reference") for path in unknown
        ]
    elif answer.code in (400, 403, 409, 413, 422):
        fix = "delete what has ended: kubectl get rayjob" if "exceeded quota" in answer.message else "mend it"
        asked.refused.append(Violation("(document)", answer.message, fix))
    else:
        asked.judged = False
        asked.said.append(f"the API server did not judge the {kind}: {answer.message}")


def _pod(asked: Asked, answer: Answer, pod: Pod, namespace: str) -> None:
    """What admission makes of a pod; room for it now is the scheduler's matter."""
    asked.said += [warning for warning in answer.warnings if warning not in asked.said]
    if answer.ok or "exceeded quota" in answer.message:
        return
    if answer.passes:
        asked.said.append(f"the API server could not judge the {pod.role} pod now ({answer.message}); try again")
        return
    for path, text in answer.causes:
        asked.refused.append(Violation(f"{pod.path}.{path}", text, f"no {pod.role} pod could be made"))
    if not answer.causes:
        asked.refused.append(Violation(pod.path, answer.message, f"no {pod.role} pod could be made in {namespace}"))


def _standing(asked: Asked, server: ApiServer, place: str, document: dict[str, Any]) -> None:
    """What is there already under this name."""
    name = under(document, "metadata.name")
    answer = server.get(f"{place}/{name}") if name else None
    if answer is None or not answer.ok or document["kind"] != "RayJob":
        return
    state = str(under(answer.body, "status.jobDeploymentStatus") or "New")
    before, now = under(answer.body, "spec.entrypoint"), under(document, "spec.entrypoint")
    again = f"kubectl delete rayjob {name}, then apply"
    if state in ENDED:
        asked.said.append(f"RayJob {name} is there and has ended ({state}); applied, nothing starts: {again}")
    elif before != now:
        got = f"RayJob {name} is there ({state}) and runs {before!r}"
        fix = f"give another --name; or {again}: an edit would come into force at its next restart"
        asked.refused.append(Violation("spec.entrypoint", got, fix))
    elif not _holds(answer.body.get("spec"), document["spec"]):
        asked.said.append(f"RayJob {name} runs ({state}): an edit comes into force at its next restart. Now: {again}")
    else:
        asked.said.append(f"RayJob {name} runs already ({state}): applied, nothing changes")


def _holds(stored: Any, asked: Any) -> bool:
    """Whether what is stored is what is asked for, but for what the server added."""
    if isinstance(asked, dict):
        return isinstance(stored, dict) and all(_holds(stored.get(key), value) for key, value in asked.items())
    if isinstance(asked, list):
        return isinstance(stored, list) and len(stored) == len(asked) and all(map(_holds, stored, asked))
    return bool(stored == asked) or (asked in (0, "", False) and stored is None)


def _missing(
    asked: Asked, server: ApiServer, document: dict[str, Any], namespace: str, there: Collection[tuple[str, str]]
) -> None:
    for one in named(document, namespace):
        if (one.kind, one.name) in there:
            continue
        answer = server.get(one.place, metadata_only=True)
        if answer.lacks_object:
            asked.refused.append(Violation(one.path, f"no {one.kind} {one.name} in the cluster", one.fix))
        elif answer.code == 404:
            fix = "install Kueue, or choose --overlay gpu"
            asked.refused.append(Violation(one.path, f"the cluster knows no {one.kind}", fix))
        elif not answer.ok and answer.code != 403:
            asked.said.append(f"whether {one.kind} {one.name} is there could not be told: {answer.message}")
