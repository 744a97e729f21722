"""Everything that is wrong with Kubernetes documents of ours, before anything is applied."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from infra.kube.documents import Violation, in_template, inner_documents, job_of, under
from infra.kube.pods import pods_of
from infra.kube.rayjob import SWEEP_LABEL
from infra.kube.rules.fields import misspelt
from infra.kube.rules.kuberay import operator_rules
from infra.kube.rules.kueue import queue_rules
from infra.kube.rules.platform import platform_rules
from infra.kube.rules.pod_details import detail_rules
from infra.kube.rules.pod_security import restricted_rules
from infra.kube.rules.pod_spec import duplicates, pod_rules
from infra.kube.rules.schedule import cron_job_rules
from infra.kube.rules.shape import misshapen
from infra.kube.schemas import GROUP, KINDS, VERSION, Schemas, check_schema


def check_document(document: dict[str, Any], schemas: Schemas | None) -> list[Violation]:
    """What is wrong with one document; what is neither Ray's nor holds something of Ray's is not looked at.

    Args:
        schemas: nothing where there are none: the rules alone then speak.
    """
    kind = document["kind"]
    if near := meant(kind):
        return [Violation("kind", repr(kind), f"write {near}")]
    if kind not in ("ConfigMap", "CronJob", *KINDS):
        return []
    if kind in KINDS and document["apiVersion"] != f"{GROUP}/{VERSION}":
        return [Violation("apiVersion", repr(document["apiVersion"]), f"write {GROUP}/{VERSION}")]
    # Each rule reads what has its type.
    if wrong := list(dict.fromkeys([*misshapen(document), *check_schema(document, schemas or {})])):
        return wrong
    if kind == "ConfigMap":
        return [
            replace(found, path=f"data[{key}].{found.path}")
            for key, documents in inner_documents(document, SWEEP_LABEL)
            for inner in documents
            for found in check_document(inner, schemas)
        ]
    if not isinstance(document.get("spec"), dict):
        return [Violation("spec", "missing", "describe the job")]
    if kind == "RayCronJob" and not isinstance(under(document, "spec.jobTemplate"), dict):
        return [Violation("spec.jobTemplate", "missing", "describe the job")]
    try:
        # A thing that two rules find is said once.
        found = list(dict.fromkeys(_rules(document)))
        return found if schemas else [*misspelt(document), *found] if kind in KINDS else found
    except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        return [Violation("spec", f"a field is of a wrong type ({error})", "--schemas says which one")]


def _rules(document: dict[str, Any]) -> Iterator[Violation]:
    if document["kind"] == "CronJob":
        yield from cron_job_rules(document)
        if SWEEP_LABEL not in (under(document, "metadata.labels") or {}):
            return  # somebody else's, in a namespace of theirs
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
    if document["kind"] == "ConfigMap" and not misshapen(document):
        return any(is_ours(inner) for _, found in inner_documents(document, SWEEP_LABEL) for inner in found)
    return document["kind"] in KINDS or bool(meant(document["kind"]))


def meant(kind: str) -> str:
    """The kind of Ray's that another is a slip of; empty where it is none."""
    others = [known for known in ("ConfigMap", "CronJob") if known.lower() == kind.lower() and known != kind]
    if others or kind in KINDS or not kind.lower().startswith("ray"):
        return "".join(others)
    near = difflib.get_close_matches(kind.lower(), [known.lower() for known in KINDS], 1, 0.8)
    return next((known for known in KINDS if known.lower() in near), "")
