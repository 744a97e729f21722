"""What the API server refuses of a pod's volumes, kind by kind.

Read off Kubernetes 1.36 (`pkg/apis/core/validation/validation.go`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from infra.kube.documents import Violation, under

LEAST_TOKEN_S = 600
"""Seconds below which no token of an account is given out."""
_PROJECTED = ("clusterTrustBundle", "configMap", "downwardAPI", "podCertificate", "secret", "serviceAccountToken")


def volume_rules(path: str, volume: Mapping[str, Any]) -> Iterator[Violation]:
    """What is wrong inside one volume."""
    for kind in ("configMap", "secret", "downwardAPI", "projected"):
        source = volume.get(kind) or {}
        yield from _mode(f"{path}.{kind}.defaultMode", source.get("defaultMode"))
        yield from _items(f"{path}.{kind}", source, of_fields=kind == "downwardAPI")
    for index, source in enumerate(under(volume, "projected.sources") or []):
        where, kinds = f"{path}.projected.sources[{index}]", [kind for kind in _PROJECTED if kind in source]
        if len(kinds) != 1:
            yield Violation(where, ", ".join(kinds) or "nothing", "a source is of one kind")
        for kind in kinds:
            yield from _items(f"{where}.{kind}", source[kind] or {}, of_fields=kind == "downwardAPI")
        seconds = under(source, "serviceAccountToken.expirationSeconds")
        if seconds is not None and seconds < LEAST_TOKEN_S:
            got = f"{seconds}"
            yield Violation(f"{where}.serviceAccountToken.expirationSeconds", got, f"{LEAST_TOKEN_S} or more")
    if "csi" in volume and not under(volume, "csi.driver"):
        yield Violation(f"{path}.csi.driver", "missing", "name the driver")
    if "ephemeral" in volume:
        claim, where = under(volume, "ephemeral.volumeClaimTemplate.spec"), f"{path}.ephemeral.volumeClaimTemplate.spec"
        for field in ("accessModes", "resources.requests.storage"):
            if not under(claim, field):
                yield Violation(f"{where}.{field}", "missing", "a claim says how it is used and how large it is")


def _mode(path: str, mode: Any) -> Iterator[Violation]:
    if mode is not None and not 0 <= mode <= 0o777:
        yield Violation(path, f"{mode}", "0 to 0777: with a zero in front it is octal")


def _items(path: str, source: Mapping[str, Any], *, of_fields: bool) -> Iterator[Violation]:
    for index, item in enumerate(source.get("items") or []):
        where, place = f"{path}.items[{index}]", str(item.get("path") or "")
        if not place or place.startswith("/") or ".." in place.split("/"):
            yield Violation(f"{where}.path", repr(place), "a path inside the volume")
        yield from _mode(f"{where}.mode", item.get("mode"))
        if of_fields and ("fieldRef" in item) == ("resourceFieldRef" in item):
            yield Violation(where, "fieldRef and resourceFieldRef, or neither", "one of the two")
        field = under(item, "fieldRef.fieldPath")
        if of_fields and field is not None and not str(field).startswith("metadata."):
            yield Violation(f"{where}.fieldRef.fieldPath", repr(field), "a field of metadata: metadata.labels")
