"""What a cluster would answer to documents of ours, asked before anything is applied.

Three questions: what its API server, its webhooks and its admission make of a document and of its pods; whether what
the document names is there; and whether a job of this name runs already. The first is asked as a strict dry run, which
whoever may create RayJobs may do; of what the user may not ask, the rules have spoken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from infra.kube.documents import Violation, read_documents, under
from infra.kube.pods import Pod, pods_of
from infra.kube.rayjob import ENDED
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
    """

    refused: list[Violation] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


def ask(server: ApiServer, document: dict[str, Any]) -> Asked:
    """What the server makes of a document, and of what it will bring about.

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
    if kind == "ConfigMap":
        for name, text in (document.get("data") or {}).items():
            if name.endswith((".yaml", ".yml")):
                for inner in read_documents(text, name):
                    found = ask(server, inner)
                    asked.refused += [Violation(f"data[{name}].{one.path}", one.got, one.fix) for one in found.refused]
                    asked.said += found.said
        return asked
    if kind in ("RayJob", "RayCluster"):
        _standing(asked, server, place, document)
    asked.refused += _missing(server, document, namespace)
    if server.may("create", "pods", namespace):
        for pod in pods_of(document):
            _pod(asked, server.try_out(_PODS.format(namespace), pod.manifest), pod, namespace)
    return asked


def _told(asked: Asked, answer: Answer, kind: str, namespace: str) -> None:
    """A refusal of the document itself."""
    if answer.lacks_right:
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
    elif answer.code in (400, 403, 409, 422):
        fix = "delete what has ended: kubectl get rayjob" if "exceeded quota" in answer.message else "mend it"
        asked.refused.append(Violation("(document)", answer.message, fix))
    else:
        asked.said.append(f"the API server did not judge it: {answer.message}")


def _pod(asked: Asked, answer: Answer, pod: Pod, namespace: str) -> None:
    """What admission makes of a pod; room for it now is the scheduler's matter."""
    if answer.ok or "exceeded quota" in answer.message:
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


def _missing(server: ApiServer, document: dict[str, Any], namespace: str) -> Iterator[Violation]:
    for one in named(document, namespace):
        answer = server.get(one.place, metadata_only=True)
        if answer.lacks_object:
            yield Violation(one.path, f"no {one.kind} {one.name} in the cluster", one.fix)
        elif answer.code == 404:
            yield Violation(one.path, f"the cluster knows no {one.kind}", "install Kueue, or choose --overlay gpu")
