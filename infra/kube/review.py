"""A file of Kubernetes documents, looked at in every way there is: by rules, by schemas, by the cluster itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import UserError
from data.files.yaml_files import read_text
from infra.kube.amounts import at_largest
from infra.kube.check import check_document, is_ours
from infra.kube.documents import Violation, inner_documents, read_documents, under
from infra.kube.pods import pods_of
from infra.kube.rayjob import SWEEP_LABEL
from infra.kube.rules.kueue import QUEUE_LABEL
from infra.kube.rules.shape import misshapen
from infra.kube.schemas import KINDS, schemas_from_folder

if TYPE_CHECKING:
    from infra.kube.server.api import ApiServer


@dataclass
class Review:
    """What came of it.

    Attributes:
        count: documents of Ray's that were looked at.
        by: who judged beside the rules; empty where nobody did.
        refused: a line for each thing that will not work.
        said: a line for each thing worth knowing.
    """

    count: int = 0
    by: str = ""
    refused: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


def review(
    text: str, name: str, *, schemas: str | None = None, context: str | None = None, offline: bool = False
) -> Review:
    """Look at a file.

    Args:
        name: of the file, for messages.
        schemas: folder of KubeRay's CRDs to check with, in a cluster's place.
        context: of kubectl's, whose cluster is asked; the current one if not given.
        offline: ask no cluster.

    Raises:
        UserError: it is no file of Kubernetes documents, or the folder holds no schemas.
    """
    if schemas is not None:
        return _review(text, name, schemas=schemas, by=f"schemas of {schemas}")
    if offline:
        return _review(text, name)
    from infra.kube.server.api import UnreachableError, kubectls_server

    try:
        with kubectls_server(context) as server:
            return _review(text, name, server=server, by=f"the API server {server.name}")
    except UnreachableError as error:
        found = _review(text, name)
        found.said.append(
            f"no cluster was asked, so fields were not checked, only the operator's rules ({error}); "
            "--schemas takes KubeRay's config/crd/bases"
        )
        return found


def _review(
    text: str, name: str, *, schemas: str | None = None, server: ApiServer | None = None, by: str = ""
) -> Review:
    found = Review(by=by)
    known = None if schemas is None else schemas_from_folder(schemas, [kind for kind in KINDS if kind in text])
    documents = read_documents(text, name)
    there = {(str(document["kind"]), str(under(document, "metadata.name"))) for document in documents}
    seen: set[tuple[str, str, str]] = set()
    for document in documents:
        found.count += is_ours(document)
        title = f"{document['kind']} {under(document, 'metadata.name') or under(document, 'metadata.generateName')}"
        violations = check_document(document, known)
        where = (document["kind"], *(str(under(document, f"metadata.{field}")) for field in ("namespace", "name")))
        if where in seen and under(document, "metadata.name"):
            got = f"{where[2]} again in this file"
            violations.append(Violation("metadata.name", got, "name it otherwise: it replaces the first"))
        seen.add(where)
        if server is not None:
            from infra.kube.server.dry_run import ask

            asked = ask(server, document, there)
            told = {violation.path for violation in violations}
            violations += [violation for violation in asked.refused if violation.path not in told]
            found.said += [line for line in asked.said if line not in found.said]
            if not asked.judged:
                found.by = ""
        found.refused += [f"{title}: {violation}" for violation in violations]
        if not violations and QUEUE_LABEL in (under(document, "metadata.labels") or {}):
            asks = at_largest(pods_of(document))
            found.said.append(f"{title} asks its queue for {asks} at once: `seldtune doctor --cluster` compares")
    return found


def documents_of(file: str, *kinds: str) -> list[dict[str, Any]]:
    """The documents of a file that are ours, those that a schedule will create among them.

    Args:
        kinds: those that are wanted; RayJobs, RayClusters and what starts them again and again if not given.

    Raises:
        UserError: there is no such file, it is none of Kubernetes documents, or one is malformed.
    """
    if not Path(file).is_file():
        raise UserError(f"{file!r}: there is no such file")
    found: list[dict[str, Any]] = []
    for document in read_documents(read_text(file), file):
        held = [document]
        if document["kind"] == "ConfigMap" and not misshapen(document):
            held += [inner for _, inners in inner_documents(document, SWEEP_LABEL) for inner in inners]
        for one in held:
            kind, labels = one["kind"], under(one, "metadata.labels")
            own = kind == "CronJob" and isinstance(labels, dict) and SWEEP_LABEL in labels
            wanted = kind in (kinds or KINDS) or (own and not kinds)
            if wanted and (wrong := misshapen(one)):
                raise UserError(f"{file}: {kind}: {wrong[0]}")
            if wanted:
                found.append(one)
    return found
