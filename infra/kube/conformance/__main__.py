"""Whether a cluster answers as these rules say: `python -m infra.kube.conformance`, for people with a cluster.

Everything that `render` writes has to be taken, and every mistake of the table refused by whom the table says. Asked as
strict dry runs, so that nothing is there afterwards; with `--apply` those that only KubeRay's operator judges are
created, waited for and deleted. Prints what differs, then one JSON line; exit code 1 where anything differs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

from infra.kube.conformance.details import BY_DETAIL
from infra.kube.conformance.documents import BY_KUBERAY, BY_KUEUE, BY_SCHEMA, BY_SERVER
from infra.kube.conformance.plant import Mistakes, request
from infra.kube.conformance.pods import BY_POD, BY_POD_SECURITY
from infra.kube.documents import under
from infra.kube.pods import pods_of
from infra.kube.rayjob import OVERLAYS, rayjob
from infra.kube.server.api import ApiServer, UnreachableError, kubectls_server
from infra.kube.shapes import SHAPES

OPERATOR_PATIENCE_S = 60.0


def compare(server: ApiServer, namespace: str, *, apply: bool) -> Iterator[tuple[str, str]]:
    """What was asked, and how the answer differs; empty where it is as it should be.

    Raises:
        UnreachableError: the server stopped to answer.
    """
    jobs, pods = f"/apis/ray.io/v1/namespaces/{namespace}/rayjobs", f"/api/v1/namespaces/{namespace}/pods"
    may_pods = bool(server.may("create", "pods", namespace))
    queued = bool(server.get("/apis/kueue.x-k8s.io").body.get("versions"))
    for overlay in OVERLAYS:
        for name, shape in SHAPES.items():
            if (overlay == "dev" and shape.trainers.size.gpus) or (overlay == "kueue" and not queued):
                continue
            for spot in (False, True):
                document = rayjob(request(namespace, overlay=overlay, shape=shape, spot=spot))
                answers = [server.try_out(jobs, document)]
                if may_pods:
                    answers += [server.try_out(pods, pod.manifest) for pod in pods_of(document)]
                refused = [
                    answer.message for answer in answers if not answer.ok and "exceeded quota" not in answer.message
                ]
                yield f"{overlay}, {name}{', spot' if spot else ''}", "; ".join(refused)
    for mistakes, asked in (
        ({**BY_SCHEMA, **BY_SERVER}, True),
        (BY_KUEUE, queued),
    ):
        for what, document in _planted(mistakes, namespace, asked=asked):
            yield what, "taken" if server.try_out(jobs, document).ok else ""
    for what, document in _planted({**BY_POD, **BY_DETAIL, **BY_POD_SECURITY}, namespace, asked=may_pods):
        answers = [server.try_out(pods, pod.manifest) for pod in pods_of(document)]
        yield what, "every pod is taken" if all(answer.ok for answer in answers) else ""
    for what, document in _planted(BY_KUBERAY, namespace, asked=apply):
        yield what, _operators_word(server, jobs, document)


def _planted(mistakes: Mistakes, namespace: str, *, asked: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    for what, (change, _) in mistakes.items() if asked else ():
        document = rayjob(request(namespace))
        change(document)
        yield what, document


def _operators_word(server: ApiServer, jobs: str, document: dict[str, Any]) -> str:
    """What KubeRay makes of a RayJob that is there for real until it has spoken."""
    answer = server.create(jobs, document)
    if not answer.ok:
        return ""  # refused even earlier
    place = f"{jobs}/{under(answer.body, 'metadata.name')}"
    try:
        end, state = time.monotonic() + OPERATOR_PATIENCE_S, None
        while time.monotonic() < end:
            state = under(server.get(place).body, "status.jobDeploymentStatus")
            if state:
                break
            time.sleep(1)
        return "" if state == "ValidationFailed" else f"taken up: {state or 'no status'}"
    finally:
        server.delete(place)


def main(arguments: list[str] | None = None) -> int:
    """Compare, print, and tell by the exit code."""
    parser = argparse.ArgumentParser(prog="python -m infra.kube.conformance", description=__doc__.split("\n\n")[0])
    parser.add_argument("--context", help="kubectl's context; the current one if not given")
    parser.add_argument("--namespace", default="seldtune", help="a namespace that is restricted, as k8s/base makes it")
    parser.add_argument("--apply", action="store_true", help="create and delete RayJobs that only KubeRay judges")
    given = parser.parse_args(arguments)
    try:
        with kubectls_server(given.context) as server:
            version = server.get("/version").body.get("gitVersion")
            asked, differ = 0, []
            for what, how in compare(server, given.namespace, apply=given.apply):
                asked += 1
                if how:
                    differ.append(what)
                    print(f"differs: {what}: {how}")
    except UnreachableError as error:
        print(f"error: no cluster to ask: {error}", file=sys.stderr)
        return 2
    print(json.dumps({"server": version, "asked": asked, "agree": asked - len(differ), "differ": differ}))
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
