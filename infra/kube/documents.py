"""Kubernetes documents as files hold them, and what is wrong with one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from data.errors import UserError
from data.files.yaml_files import parse_yaml


@dataclass(frozen=True)
class Violation:
    """One thing that will not work."""

    path: str
    """Of the field: `spec.rayClusterSpec.workerGroupSpecs[0].template`."""
    got: str
    fix: str

    def __str__(self) -> str:
        return f"{self.path}: {self.got}; {self.fix}"


def read_documents(text: str, name: str) -> list[dict[str, Any]]:
    """The documents of a YAML file, without their nulls, which the API server drops; lists as what they hold.

    Raises:
        UserError: it is no YAML, has a key twice, or holds something that is no Kubernetes object.
    """
    try:
        documents = [_without_nulls(document) for document in parse_yaml(text, octal=True) if document is not None]
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    found: list[dict[str, Any]] = []
    for document in documents:
        items = document.get("items") if isinstance(document, dict) else None
        found += items if isinstance(items, list) and str(document.get("kind")).endswith("List") else [document]
    for document in found:
        if not isinstance(document, dict) or not all(isinstance(document.get(f), str) for f in ("apiVersion", "kind")):
            raise UserError(f"{name} holds a document without apiVersion and kind; is it a Kubernetes manifest?")
    if not found:
        raise UserError(f"{name} holds no document")
    return found


def inner_documents(config: dict[str, Any], label: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Key and documents of each YAML text of a ConfigMap, as recurring sweeps are kept.

    What is no Kubernetes manifest is somebody's settings, but in a ConfigMap with this label.

    Raises:
        UserError: a text of a labelled one is no manifest.
    """
    for key, text in (config.get("data") or {}).items():
        if key.endswith((".yaml", ".yml")):
            try:
                yield key, read_documents(text, f"ConfigMap {under(config, 'metadata.name')}, {key}")
            except UserError:
                if label in (under(config, "metadata.labels") or {}):
                    raise


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


class _PlainDumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _as_lines(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """A text of several lines as lines, to be read and edited."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_PlainDumper.add_representer(str, _as_lines)


def as_yaml(*documents: dict[str, Any]) -> str:
    """The documents as one YAML text, keys in their order and no anchors."""
    return "---\n".join(
        yaml.dump(d, Dumper=_PlainDumper, sort_keys=False, width=120, allow_unicode=True) for d in documents
    )


def under(document: Any, path: str) -> Any:
    """The value at `a.b.c`; nothing where a part is missing."""
    for key in path.split("."):
        document = document.get(key) if isinstance(document, dict) else None
    return document


def job_of(document: dict[str, Any]) -> dict[str, Any]:
    """The RayJob that a RayCronJob creates, as a document."""
    return {
        "apiVersion": document["apiVersion"],
        "kind": "RayJob",
        "metadata": {},
        "spec": under(document, "spec.jobTemplate"),
    }


def in_template(path: str) -> str:
    """A path of `job_of` a RayCronJob as it is in the RayCronJob."""
    return path.replace("spec", "spec.jobTemplate", 1)


def pod_templates(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Path and pod template of a RayJob's or RayCluster's head and groups, in their order."""
    for prefix, cluster in clusters(document):
        if isinstance(head := cluster.get("headGroupSpec"), dict):
            yield f"{prefix}.headGroupSpec.template", head.get("template") or {}
        for index, group in enumerate(cluster.get("workerGroupSpecs") or []):
            yield f"{prefix}.workerGroupSpecs[{index}].template", group.get("template") or {}


def clusters(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Path and content of the cluster that a document describes, if it does."""
    for kind, path in (("RayCluster", "spec"), ("RayJob", "spec.rayClusterSpec")):
        if document.get("kind") == kind and isinstance(cluster := under(document, path), dict):
            yield path, cluster
