"""Asking a cluster whether it answers as the rules say, with stand-ins that agree and that do not."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.kube.check import check_document
from infra.kube.conformance.__main__ import compare, main
from infra.kube.conformance.details import BY_DETAIL
from infra.kube.conformance.documents import BY_KUBERAY, BY_KUEUE, BY_SCHEMA, BY_SERVER
from infra.kube.conformance.plant import request
from infra.kube.conformance.pods import BY_POD, BY_POD_SECURITY
from infra.kube.pods import pods_of
from infra.kube.rayjob import OVERLAYS, rayjob
from infra.kube.shapes import SHAPES
from support.kube_server import Cluster, refusal, standing
from support.kubectl import needs_kubectl, use

KUEUE = {"/apis/kueue.x-k8s.io": {"versions": [{"version": "v1beta2"}]}}
REFUSED = refusal(422, "Invalid", "no")


class Judge(Cluster):
    """Refuses each planted mistake as whom the table names would, by comparing with what was planted."""

    def __init__(self, taken: Callable[[str], bool] = lambda _: False) -> None:
        super().__init__()
        self.objects |= KUEUE
        self.documents: list[dict[str, Any]] = []
        self.pods: list[dict[str, Any]] = []
        for mistakes, kind in (
            ({**BY_SCHEMA, **BY_SERVER, **BY_KUEUE}, self.documents),
            ({**BY_POD, **BY_DETAIL, **BY_POD_SECURITY}, self.pods),
        ):
            for what, (change, _) in mistakes.items():
                document = rayjob(request("seldtune"))
                clean = [pod.manifest for pod in pods_of(document)] if kind is self.pods else []
                change(document)
                if not taken(what):
                    kind += (
                        [pod.manifest for pod in pods_of(document) if pod.manifest not in clean]
                        if kind is self.pods
                        else [document]
                    )

    def answer_post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        planted = self.pods if path.endswith("/pods") else self.documents
        return REFUSED if body in planted else super().answer_post(path, body)


def differing(cluster: Cluster, *, apply: bool = False) -> tuple[int, list[str]]:
    with standing(cluster) as (server, _):
        answers = list(compare(server, "seldtune", apply=apply))
    return len(answers), [what for what, how in answers if how]


CLEAN = 2 * sum(overlay != "dev" or not shape.trainers.size.gpus for overlay in OVERLAYS for shape in SHAPES.values())
PLANTED = [*BY_SCHEMA, *BY_SERVER, *BY_KUEUE, *BY_POD, *BY_DETAIL, *BY_POD_SECURITY]


def test_a_cluster_that_agrees() -> None:
    asked, differ = differing(Judge())
    assert asked == CLEAN + len(PLANTED)
    assert differ == []


def test_a_cluster_that_takes_what_it_should_not() -> None:
    newer = {"half a GPU", "a capability added", "a queue in capitals"}
    assert set(differing(Judge(lambda what: what in newer))[1]) == newer
    # One that takes everything differs in each mistake and in nothing else.
    everything = Cluster()
    everything.objects |= KUEUE
    assert differing(everything)[1] == PLANTED


def test_a_cluster_that_refuses_what_is_rendered() -> None:
    cluster = Judge()
    cluster.posts["/rayjobs sweep-conformance"] = refusal(403, "Forbidden", "a policy of the cluster")
    assert len(differing(cluster)[1]) == CLEAN


def test_without_a_queue_or_the_right_to_make_pods_less_is_asked() -> None:
    cluster = Judge()
    cluster.rights, cluster.lacks = {("create", "rayjobs")}, ("/apis/kueue",)
    del cluster.objects["/apis/kueue.x-k8s.io"]
    asked, differ = differing(cluster)
    assert differ == []
    assert asked == 2 * (1 + len(SHAPES)) + len(BY_SCHEMA) + len(BY_SERVER)


class Operator(Judge):
    """As KubeRay: what is created for real is looked at, and its state written."""

    def answer_post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        answer = super().answer_post(path, body)
        if path.endswith("/rayjobs"):
            state = "ValidationFailed" if check_document(body, None) else "Initializing"
            made = {**copy.deepcopy(body), "status": {"jobDeploymentStatus": state}}
            self.objects[f"{path}/{body['metadata']['name']}"] = made
        return answer


def test_what_only_the_operator_judges_is_asked_for_real_when_told_to() -> None:
    cluster = Operator()
    asked, differ = differing(cluster, apply=True)
    assert asked == CLEAN + len(PLANTED) + len(BY_KUBERAY)
    assert differ == []
    deletes = [path for verb, path in cluster.asked if verb == "DELETE"]
    assert len(deletes) == len(BY_KUBERAY)


@needs_kubectl
def test_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with standing(Judge(lambda what: what == "half a GPU")) as (_, url):
        use(monkeypatch, tmp_path, url)
        assert main([]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "differs: half a GPU: every pod is taken"
    said = json.loads(lines[-1])
    assert said["differ"] == ["half a GPU"]
    assert said["agree"] == said["asked"] - 1
    assert said["server"] == "v1.36.2"
    assert main([]) == 2
    assert "no cluster to ask" in capsys.readouterr().err
