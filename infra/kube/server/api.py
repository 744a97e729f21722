"""The API server that kubectl reaches, asked as its user.

Through `kubectl proxy`, so that every way to log in that kubectl knows works here too, on a socket in a folder that
nobody else may enter. Answers are Kubernetes' own objects: what is refused is told with its reason and its fields.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

PATIENCE_S = 10.0
"""For the proxy to stand."""
ANSWER_PATIENCE_S = 40.0
"""For an answer: a webhook that judges may take half a minute."""
TRIES, PAUSE_S = 3, 1.0
"""Of what passes: too many requests, a quota that is being written to, a server that is about to be back."""
_WARNING = re.compile(r'299 \S+ "((?:[^"\\]|\\.)*)"')
METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
"""Of a Secret nothing but that it is there leaves the server."""


class UnreachableError(Exception):
    """There is no API server to ask; its text is kubectl's own reason."""


@dataclass(frozen=True)
class Answer:
    """What the API server answered.

    Attributes:
        code: of HTTP.
        body: the object, or the Status that says why there is none.
        warnings: what it said beside it.
    """

    code: int
    body: dict[str, Any]
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether it did what it was asked."""
        return self.code < 300

    @property
    def reason(self) -> str:
        """In one word, for programs: Forbidden, Invalid, AlreadyExists, Conflict, NotFound."""
        return str(self.body.get("reason") or "")

    @property
    def message(self) -> str:
        """In a sentence, for people."""
        return str(self.body.get("message") or f"HTTP {self.code}")

    @property
    def causes(self) -> list[tuple[str, str]]:
        """Field and what is wrong with it, where the server names fields."""
        causes = (self.body.get("details") or {}).get("causes") or []
        return [(str(cause.get("field") or ""), str(cause.get("message") or "")) for cause in causes]

    @property
    def lacks_object(self) -> bool:
        """Whether it knows this kind of object, and not the one of this name."""
        return self.code == 404 and bool((self.body.get("details") or {}).get("name"))

    @property
    def passes(self) -> bool:
        """Whether the same may be answered otherwise in a moment: nothing was judged."""
        return self.code in (429, 500, 502, 503, 504) or (self.code == 409 and self.reason == "Conflict")

    @property
    def lacks_right(self) -> bool:
        """Whether the user may not do this at all, whatever is asked."""
        return self.code == 403 and " cannot " in self.message


@dataclass(frozen=True)
class ApiServer:
    """An API server.

    Attributes:
        connect: opens a connection to it.
        namespace: that kubectl uses where a document names none.
        name: how people know it.
    """

    connect: Callable[[], http.client.HTTPConnection]
    namespace: str = "default"
    name: str = "the cluster"

    def get(self, path: str, *, metadata_only: bool = False, **query: str) -> Answer:
        """An object, or a list of them."""
        accept = METADATA_ONLY if metadata_only else "application/json"
        return self._ask("GET", path, None, query, {"Accept": accept})

    def items(self, path: str, **query: str) -> tuple[Answer, list[dict[str, Any]]]:
        """The last answer, and what a list holds, however many pages it has."""
        found: list[dict[str, Any]] = []
        while True:
            answer = self.get(path, metadata_only=False, **query)
            found += answer.body.get("items") or []
            following = (answer.body.get("metadata") or {}).get("continue")
            if not answer.ok or not following:
                return answer, found
            query = {**query, "continue": following}

    def try_out(self, path: str, document: dict[str, Any]) -> Answer:
        """What creating an object would come to, in all but that it is there afterwards; unknown fields are refused."""
        for left in reversed(range(TRIES)):
            answer = self._ask("POST", path, document, {"dryRun": "All", "fieldValidation": "Strict"}, {})
            if not answer.passes or not left:
                break
            time.sleep(PAUSE_S)
        return answer

    def create(self, path: str, document: dict[str, Any]) -> Answer:
        """An object, for real."""
        return self._ask("POST", path, document, {}, {})

    def delete(self, path: str) -> Answer:
        """An object that was created."""
        return self._ask("DELETE", path, None, {}, {})

    def review(self, kind: str, spec: dict[str, Any]) -> Answer:
        """One of the questions about oneself that everybody may ask: SelfSubjectAccessReview and its like."""
        group = "authorization.k8s.io"
        body = {"apiVersion": f"{group}/v1", "kind": kind, "spec": spec}
        return self.create(f"/apis/{group}/v1/{kind.lower()}s", body)

    def may(
        self, verb: str, resource: str, namespace: str | None = None, group: str = "", sub: str = ""
    ) -> bool | None:
        """Whether kubectl's user may do this; nothing where the server does not say."""
        attributes = {"verb": verb, "group": group, "resource": resource, "subresource": sub, "namespace": namespace}
        spec = {"resourceAttributes": {key: value for key, value in attributes.items() if value}}
        answer = self.review("SelfSubjectAccessReview", spec)
        status = answer.body.get("status")
        return bool(status.get("allowed")) if answer.ok and isinstance(status, dict) else None

    def _ask(self, verb: str, path: str, body: Any, query: dict[str, str], headers: dict[str, str]) -> Answer:
        url = f"{path}?{urlencode(query)}" if query else path
        content = None if body is None else json.dumps(body)
        sent = {"Host": "localhost", "Content-Type": "application/json", **headers}
        with contextlib.closing(self.connect()) as connection:
            try:
                connection.request(verb, url, content, sent)
                answer = connection.getresponse()
                text = answer.read().decode("utf-8", errors="replace")
            except (OSError, http.client.HTTPException) as error:
                raise UnreachableError(f"{self.name} does not answer: {error}") from error
        try:
            document = json.loads(text)
        except json.JSONDecodeError:
            document = None
        if not isinstance(document, dict) or not ({"kind", "gitVersion"} & document.keys()):
            # A proxy's page, or a login's: nobody who could judge anything.
            words = " ".join(re.sub(r"<[^>]*>", " ", text).split())[:100]
            if answer.status < 500 and answer.status != http.client.TOO_MANY_REQUESTS:
                raise UnreachableError(f"{self.name} is no API server: it answers {words!r}")
            document = {"message": words}
        if answer.status == http.client.UNAUTHORIZED:
            raise UnreachableError(f"{self.name} does not accept kubectl's login: {document.get('message')}")
        header = ", ".join(answer.headers.get_all("Warning") or [])
        warnings = [re.sub(r"\\(.)", r"\1", text) for text in _WARNING.findall(header)]
        return Answer(answer.status, document, tuple(warnings))


class _SocketConnection(http.client.HTTPConnection):
    """HTTP over a socket in the file system."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=ANSWER_PATIENCE_S)
        self._path = path

    def connect(self) -> None:
        end = time.monotonic() + PATIENCE_S
        while True:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            try:
                self.sock.connect(self._path)
                return
            except ConnectionRefusedError:  # the socket is there a moment before anybody listens
                self.sock.close()
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)


@contextlib.contextmanager
def kubectls_server(context: str | None = None) -> Iterator[ApiServer]:
    """The server that kubectl's current context (or this one) names, for as long as the block runs.

    Raises:
        UnreachableError: no kubectl, no context, or no server at its address; in kubectl's words.
    """
    if shutil.which("kubectl") is None:
        raise UnreachableError("there is no kubectl")
    chosen = ["--context", context] if context else []
    name, namespace = _settings(chosen)
    with tempfile.TemporaryDirectory(prefix="seldtune-") as folder:
        path = f"{folder}/kubectl.sock"
        process = subprocess.Popen(
            ["kubectl", "proxy", f"--unix-socket={path}", *chosen],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            _wait(process, Path(path))
            server = ApiServer(lambda: _SocketConnection(path), namespace, name)
            answer = server.get("/version")
            if not answer.ok:
                raise UnreachableError(f"{server.name}: {answer.message}")
            yield server
        finally:
            process.terminate()
            process.wait()
            if process.stderr:
                process.stderr.close()


def _settings(chosen: list[str]) -> tuple[str, str]:
    """Address of the server, and the namespace where a document names none."""
    command = ["kubectl", "config", "view", "--minify", "-o", "json", *chosen]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnreachableError(f"kubectl: {error}") from error
    if answer.returncode != 0:
        raise UnreachableError(f"kubectl has no context: {answer.stderr.strip().removeprefix('error: ')}")
    config = json.loads(answer.stdout)
    clusters, contexts = config.get("clusters") or [], config.get("contexts") or []
    if not clusters:
        raise UnreachableError("kubectl has no cluster")
    namespace = ((contexts[0] if contexts else {}).get("context") or {}).get("namespace")
    return clusters[0]["cluster"].get("server") or "the cluster", namespace or "default"


def _wait(process: subprocess.Popen[str], path: Path) -> None:
    end = time.monotonic() + PATIENCE_S
    while not path.exists():
        if process.poll() is not None:
            said = process.stderr.read() if process.stderr else ""
            raise UnreachableError(f"kubectl proxy: {said.strip()}")
        if time.monotonic() > end:
            raise UnreachableError(f"kubectl proxy does not stand within {PATIENCE_S:.0f} s")
        time.sleep(0.02)
