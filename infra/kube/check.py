"""Everything that is wrong with Kubernetes documents of ours, before anything is applied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from infra.kube.cron import schedule_rules
from infra.kube.documents import Violation, read_documents, under
from infra.kube.operator_rules import operator_rules
from infra.kube.platform_rules import platform_rules
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
            Violation(f"data[{name}].{found.path}", found.got, found.fix)
            for name, text in (document.get("data") or {}).items()
            if name.endswith((".yaml", ".yml"))
            for inner in read_documents(text, name)
            for found in check_document(inner, schemas)
        ]
    if kind == "CronJob":
        return list(schedule_rules(document.get("spec") or {}))
    if kind not in KINDS:
        return []
    violations = list(check_schema(document, schemas or {}))
    if any("is not of type" in violation.got for violation in violations) or not isinstance(document.get("spec"), dict):
        return violations or [Violation("spec", "missing", "describe the job")]  # rules read what has its type
    if kind == "RayCronJob" and not isinstance(under(document, "spec.jobTemplate"), dict):
        return violations or [Violation("spec.jobTemplate", "missing", "describe the job")]
    try:
        return [*violations, *operator_rules(document), *platform_rules(document)]
    except (AttributeError, TypeError) as error:
        # Without schemas nobody has looked at the types.
        return violations or [Violation("spec", f"a field is of a wrong type ({error})", "--schemas says which one")]


def check_text(text: str, name: str, schemas: Schemas | None) -> tuple[int, list[str]]:
    """How many documents of ours a file holds, and a line for each thing that is wrong with them.

    Raises:
        UserError: it is no file of Kubernetes documents.
    """
    documents = read_documents(text, name)
    lines = []
    for document in documents:
        title = f"{document['kind']} {under(document, 'metadata.name') or under(document, 'metadata.generateName')}"
        lines += [f"{title}: {violation}" for violation in check_document(document, schemas)]
    return sum(_is_ours(document) for document in documents), lines


def _is_ours(document: dict[str, Any]) -> bool:
    texts: Sequence[str] = list(document.get("data") or {}) if document["kind"] == "ConfigMap" else ()
    return document["kind"] in KINDS or any(name.endswith((".yaml", ".yml")) for name in texts)
