"""Everything that is wrong with Kubernetes documents of ours, before anything is applied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from infra.kube.documents import Violation, in_template, job_of, read_documents, under
from infra.kube.pods import pods_of
from infra.kube.rules.kuberay import operator_rules
from infra.kube.rules.kueue import queue_rules
from infra.kube.rules.platform import platform_rules
from infra.kube.rules.pod_details import detail_rules
from infra.kube.rules.pod_security import restricted_rules
from infra.kube.rules.pod_spec import duplicates, pod_rules
from infra.kube.rules.schedule import schedule_rules
from infra.kube.schemas import KINDS, Schemas, check_schema


def check_document(document: dict[str, Any], schemas: Schemas | None) -> list[Violation]:
    """What is wrong with one document; what is neither Ray's nor holds something of Ray's is not looked at.

    Args:
        schemas: nothing where there are none: the rules alone then speak.
    """
    kind = document["kind"]
    if kind == "ConfigMap":
        # As recurring sweeps are kept: the RayJob is text in a ConfigMap.
        return [
            replace(found, path=f"data[{name}].{found.path}")
            for name, text in (document.get("data") or {}).items()
            if name.endswith((".yaml", ".yml"))
            for inner in read_documents(text, name)
            for found in check_document(inner, schemas)
        ]
    if kind != "CronJob" and kind not in KINDS:
        return []
    violations = list(check_schema(document, schemas or {}))
    if any("is not of type" in violation.got for violation in violations) or not isinstance(document.get("spec"), dict):
        return violations or [Violation("spec", "missing", "describe the job")]  # rules read what has its type
    if kind == "RayCronJob" and not isinstance(under(document, "spec.jobTemplate"), dict):
        return violations or [Violation("spec.jobTemplate", "missing", "describe the job")]
    try:
        # A thing that two rules find is said once.
        return list(dict.fromkeys([*violations, *_rules(document)]))
    except (AttributeError, TypeError, ValueError) as error:
        # Without schemas nobody has looked at the types.
        return violations or [Violation("spec", f"a field is of a wrong type ({error})", "--schemas says which one")]


def _rules(document: dict[str, Any]) -> Iterator[Violation]:
    if document["kind"] == "CronJob":
        yield from schedule_rules(document["spec"])
    else:
        yield from operator_rules(document)
        yield from platform_rules(document)
    if document["kind"] == "RayJob":
        yield from queue_rules(document)
    elif document["kind"] == "RayCronJob":
        yield from (replace(found, path=in_template(found.path)) for found in queue_rules(job_of(document)))
    pods = list(pods_of(document))
    yield from duplicates(pods)
    for pod in pods:
        yield from pod_rules(pod)
        yield from detail_rules(pod)
        yield from restricted_rules(pod)


def is_ours(document: dict[str, Any]) -> bool:
    """Whether a document is one of Ray's, or holds some."""
    texts: Sequence[str] = list(document.get("data") or {}) if document["kind"] == "ConfigMap" else ()
    return document["kind"] in KINDS or any(name.endswith((".yaml", ".yml")) for name in texts)
