"""A `kubectl` for the commands of a page, where there is no cluster: Secrets are kept by `Cluster`, whose servers stand
for pods. What it prints and patches is done by the real kubectl, which needs no API server for a file.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from support.mlflow_cluster import PATH, REPOSITORY, Cluster

REAL = shutil.which("kubectl")
JOB = "mlflow-account"
SECRET_LENGTH = 48
"""Of what k8s/secrets.sh makes."""
_CLIENT = """#!{python} -IS
import json, os, socket, sys
reads = "-i" in sys.argv or "-" in sys.argv or "/dev/stdin" in sys.argv
asked = {{"words": sys.argv[1:], "given": sys.stdin.read() if reads else ""}}
with socket.socket(socket.AF_UNIX) as door:
    door.connect({door!r})
    door.sendall(json.dumps(asked).encode() + b"\\n")
    told = json.loads(door.makefile().readline())
sys.stdout.write(told["out"])
sys.stderr.write(told["error"])
sys.exit(told["code"])
"""


class Refused(Exception):
    """What kubectl would end with 1 for."""


class Kubectl:
    """Answers the commands of one namespace."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        self.job: subprocess.CompletedProcess[bytes] | None = None
        """How the Job of accounts ended, as long as it is there."""
        self.arguments: list[str] = []
        """Of all commands: what anybody on the machine may read."""

    def answer(self, words: list[str], given: str) -> str:
        """What the command prints.

        Raises:
            Refused: the command ends with another code than 0.
        """
        secrets = self.cluster.secrets
        self.arguments += words
        match words:
            case ["create", "-f", "-"]:
                return self._write(given, there=False)
            case ["replace", "-f", "-"]:
                return self._write(given, there=True)
            case ["get", "secret", name, "-o", template]:
                return self._real("label", ["x=y", "-o", template], self._file(name))
            case ["patch", "secret", name, "--patch-file", "/dev/stdin"]:
                patch = ["--patch-file", "/dev/stdin", "-o", "yaml"]
                held = yaml.safe_load(self._real("patch", patch, self._file(name), given))["data"]
                secrets[name] = {key: base64.b64decode(value).decode() for key, value in held.items()}
                return f"secret/{name} patched\n"
            case ["delete", "secret", name]:
                self._file(name)
                del secrets[name]
                return f'secret "{name}" deleted\n'
            case ["delete", "job", name, "--ignore-not-found"] if name == JOB:
                self.job = None
                return ""
            case ["apply", "-k", "k8s/overlays/mine"]:
                self.job = self.job or self.cluster.run_account_job()
                return ""
            case ["wait", "--for=condition=complete", job, "--timeout", _] if job == f"job/{JOB}":
                if self.job is None or self.job.returncode:
                    raise Refused(f"{job}: {self.job and self.job.stderr.decode()}")
                return f"{job} condition met\n"
            case ["exec", "-i", pod, "--", *command]:
                return self._execute(pod, command, given)
            case ["exec", pod, "--", *command]:
                return self._execute(pod, command, "")
            case ["rollout", "restart", workload]:
                name = workload.partition("/")[2]
                self.cluster.stop(name)
                self.cluster.start(name)
                return ""
            case ["rollout", "status", _, "--timeout", _]:
                return ""
        raise Refused(f"no cluster to do this in: {words}")

    def _execute(self, pod: str, command: list[str], given: str) -> str:
        ended = self.cluster.execute(pod.partition("/")[2], command, given.encode())
        if ended.returncode:
            raise Refused(ended.stderr.decode() + ended.stdout.decode())
        return ended.stdout.decode()

    def _write(self, text: str, *, there: bool) -> str:
        for document in filter(None, yaml.safe_load_all(text)):
            name = document["metadata"]["name"]
            if (name in self.cluster.secrets) != there:
                raise Refused(f"Secret {name} is {'not ' * there}there")
            self.cluster.secrets[name] = document["stringData"]
        return ""

    def _file(self, secret: str) -> Path:
        """A Secret as the API server has it."""
        if secret not in self.cluster.secrets:
            raise Refused(f'secrets "{secret}" not found')
        held = {key: base64.b64encode(value.encode()).decode() for key, value in self.cluster.secrets[secret].items()}
        document: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret}, "data": held}
        path = self.folder / "secret.json"
        path.write_text(json.dumps(document))
        return path

    @staticmethod
    def _real(verb: str, words: list[str], path: Path, given: str = "") -> str:
        command = [str(REAL), verb, "--local", "-f", str(path), *words]
        ended = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise Refused(ended.stderr)
        return ended.stdout


@contextmanager
def page_commands(cluster: Cluster, folder: Path) -> Iterator[Callable[[str], str]]:
    """`run(text)` runs a block of a page in a shell, where `kubectl` is the stand-in, and returns what it prints.

    It fails at the first command that does, as a person would stop there; and where a secret was in an argument.
    """
    kubectl, door = Kubectl(cluster, folder), str(folder / "door")

    class Answer(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            asked = json.loads(self.rfile.readline())
            try:
                told = {"out": kubectl.answer(asked["words"], asked["given"]), "error": "", "code": 0}
            except Refused as error:
                told = {"out": "", "error": f"error: {error}\n", "code": 1}
            self.wfile.write(json.dumps(told).encode() + b"\n")

    (folder / "bin").mkdir()
    client = folder / "bin" / "kubectl"
    client.write_text(_CLIENT.format(python=sys.executable, door=door))
    client.chmod(0o755)

    def run(text: str) -> str:
        shell = ["bash", "-euo", "pipefail", "-c", text]
        environment = {"PATH": f"{folder / 'bin'}{os.pathsep}{PATH}"}
        ended = subprocess.run(
            shell, env=environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False
        )
        assert ended.returncode == 0, ended.stderr
        values = [
            value for secret in cluster.secrets.values() for value in secret.values() if len(value) == SECRET_LENGTH
        ]
        shown = " ".join(kubectl.arguments)
        assert values
        assert not [value for value in values if value in shown]
        return ended.stdout

    with socketserver.ThreadingUnixStreamServer(door, Answer) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield run
        finally:
            server.shutdown()
            thread.join()
