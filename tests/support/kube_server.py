"""A stand-in for a Kubernetes API server, for there is no cluster here: it answers as one of the stated versions did.

What it refuses is told as kube-apiserver 1.36.2 with Pod Security, KubeRay 1.7.0 and Kueue 0.19.2 tell it: status,
reason and message, no more text than is needed.
"""

from __future__ import annotations

import http.client
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from infra.kube.server.api import ApiServer

VERSION = {"major": "1", "minor": "36", "gitVersion": "v1.36.2"}


def refusal(code: int, reason: str, message: str, **details: Any) -> tuple[int, dict[str, Any]]:
    """An answer that says no."""
    status = {"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": code}
    return code, {**status, "details": details}


def forbidden(verb: str, resource: str, where: str = "at the cluster scope") -> tuple[int, dict[str, Any]]:
    """What somebody without the right is told."""
    message = f'{resource} is forbidden: User "ann" cannot {verb} resource "{resource}" {where}'
    return refusal(403, "Forbidden", message, kind=resource)


class Cluster:
    """What the stand-in knows.

    Attributes:
        objects: path -> object, or the answer that says why there is none.
        posts: path -> answers to dry runs, by name or generateName's beginning; taken where none is here.
        rights: (verb, resource) that the user has; all where it is nothing.
        asked: every request, in its order.
        lacks: beginnings of paths of what is not installed.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {"/version": VERSION}
        self.posts: dict[str, tuple[int, dict[str, Any]]] = {}
        self.rights: set[tuple[str, str]] | None = None
        self.asked: list[tuple[str, str]] = []
        self.lacks: tuple[str, ...] = ()

    def answer_get(self, path: str) -> tuple[int, Any]:
        found = self.objects.get(path)
        if isinstance(found, tuple):
            return found
        if found is not None:
            return 200, {"kind": "Object", **found} if isinstance(found, dict) else found
        kind, name = path.split("/")[-2:]
        if path.startswith(self.lacks):
            return refusal(404, "NotFound", "the server could not find the requested resource")
        return refusal(404, "NotFound", f'{kind} "{name}" not found', name=name, kind=kind)

    def answer_post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if path.endswith("selfsubjectaccessreviews"):
            asked = body["spec"]["resourceAttributes"]
            allowed = self.rights is None or (asked["verb"], asked["resource"]) in self.rights
            return 201, {**body, "status": {"allowed": allowed}}
        name = body["metadata"].get("name") or body["metadata"].get("generateName", "")
        for (place, start), answer in ((key.rsplit(" ", 1), one) for key, one in self.posts.items()):
            if path.endswith(place) and name.startswith(start):
                return answer
        return 201, body

    def answer_delete(self, path: str) -> tuple[int, Any]:
        del self.objects[path]
        return 200, {"kind": "Status", "status": "Success"}


@contextmanager
def standing(cluster: Cluster) -> Iterator[tuple[ApiServer, str]]:
    """The stand-in as it is asked by the product, and its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._tell(*cluster.answer_get(urlsplit(self.path).path))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._tell(*cluster.answer_post(urlsplit(self.path).path, body))

        def do_DELETE(self) -> None:
            self._tell(*cluster.answer_delete(urlsplit(self.path).path))

        def _tell(self, code: int, document: Any) -> None:
            cluster.asked.append((self.command, self.path))
            content = document.encode() if isinstance(document, str) else json.dumps(document).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_port
        yield (
            ApiServer(lambda: http.client.HTTPConnection("127.0.0.1", port, timeout=10), "seldtune", "the stand-in"),
            f"http://127.0.0.1:{port}",
        )
        server.shutdown()
