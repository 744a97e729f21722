"""What `seldtune doctor --cluster` says of a cluster, with a stand-in for the cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from data.errors import UserError
from infra.cli import app
from infra.kube.documents import as_yaml
from infra.kube.rayjob import rayjob
from infra.kube.recurring import recurring
from infra.kube.review import documents_of
from infra.kube.server.api import ApiServer
from infra.kube.server.doctor import examine
from infra.kube.server.findings import Finding
from infra.kube.server.named import named
from infra.kube.shapes import SHAPES
from support.kube_requests import request
from support.kube_server import Cluster, forbidden, refusal, standing
from support.kubectl import needs_kubectl, use

QUEUES = "/apis/kueue.x-k8s.io/v1beta2"


def items(*found: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "List", "items": list(found)}


def node(name: str, pool: str, cpu: str, memory: str, gpu: str = "0", taint: str = "") -> dict[str, Any]:
    taints = [{"key": taint, "effect": "NoSchedule"}] if taint else []
    return {
        "metadata": {"name": name, "labels": {"seldtune.dev/nodes": pool}},
        "spec": {"taints": taints},
        "status": {"allocatable": {"cpu": cpu, "memory": memory, "nvidia.com/gpu": gpu}},
    }


def operator(label: str, image: str) -> dict[str, Any]:
    return {"metadata": {"labels": label}, "spec": {"template": {"spec": {"containers": [{"image": image}]}}}}


JOB = rayjob(request())
QUEUED = rayjob(request(overlay="kueue", priority="low"))


@pytest.fixture
def cluster() -> Cluster:
    """A cluster where everything is as it should be."""
    found = Cluster()
    for document in (JOB, QUEUED):
        for each in named(document, "seldtune"):
            found.objects[each.place] = {"kind": each.kind, "metadata": {"name": each.name}}
    found.objects |= {
        "/apis/ray.io": {"versions": [{"version": "v1"}]},
        "/apis/kueue.x-k8s.io": {"versions": [{"version": "v1beta2"}]},
        "/apis/apps/v1/deployments": items(operator("o", "quay.io/kuberay/operator:v1.7.0")),
        "/api/v1/namespaces/seldtune": {
            "metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        },
        "/api/v1/namespaces/seldtune/resourcequotas": items(
            {
                "metadata": {"name": "seldtune"},
                "status": {
                    "hard": {"requests.cpu": "512", "requests.memory": "4Ti", "count/rayjobs.ray.io": "200"},
                    "used": {"requests.cpu": "100", "requests.memory": "1Ti", "count/rayjobs.ray.io": "3"},
                },
            }
        ),
        "/api/v1/nodes": items(
            node("a", "on-demand", "16", "64Gi"),
            node("b", "gpu", "16", "128Gi", gpu="1", taint="nvidia.com/gpu"),
        ),
        f"{QUEUES}/namespaces/seldtune/localqueues/seldtune": {"spec": {"clusterQueue": "seldtune"}},
        f"{QUEUES}/clusterqueues/seldtune": {
            "spec": {
                "namespaceSelector": {},
                "resourceGroups": [
                    {
                        "flavors": [
                            {"name": "cpus", "resources": resources(96, "384Gi", 0)},
                            {"name": "gpus", "resources": resources(256, "2Ti", 32)},
                        ]
                    }
                ],
            }
        },
        f"{QUEUES}/resourceflavors/cpus": {"spec": {"nodeLabels": {"seldtune.dev/nodes": "on-demand"}}},
        f"{QUEUES}/resourceflavors/gpus": {"spec": {"nodeLabels": {"seldtune.dev/nodes": "gpu"}}},
        f"{QUEUES}/workloadpriorityclasses/low": {"value": 50000},
        "/apis/scheduling.k8s.io/v1/priorityclasses/seldtune-head": {"value": 100000},
    }
    return found


def resources(cpu: int, memory: str, gpu: int) -> list[dict[str, Any]]:
    return [{"name": n, "nominalQuota": q} for n, q in (("cpu", cpu), ("memory", memory), ("nvidia.com/gpu", gpu))]


@pytest.fixture
def server(cluster: Cluster) -> Iterator[ApiServer]:
    with standing(cluster) as (found, _):
        yield found


def wrong(server: ApiServer, *documents: dict[str, Any]) -> list[Finding]:
    return [finding for finding in examine(server, list(documents), "seldtune") if finding.state == "wrong"]


def test_where_all_is_there_nothing_is_wrong(cluster: Cluster, server: ApiServer) -> None:
    findings = list(examine(server, [JOB, QUEUED], "seldtune"))
    assert {finding.state for finding in findings} == {"ok"}
    whats = " ".join(finding.what for finding in findings)
    for what in (
        "Kubernetes",
        "KubeRay",
        "Kueue",
        "rights",
        "Secret",
        "quota",
        "ClusterQueue",
        "priority",
        "a node for",
    ):
        assert what in whats
    # It reads, and asks of itself; it changes nothing.
    assert {verb for verb, path in cluster.asked if "selfsubject" not in path} == {"GET"}


TWO = {"count/rayjobs.ray.io": "2"}
FEW = [{"flavors": [{"name": "cpus", "resources": resources(8, "16Gi", 0)}]}]
SMALL = {"spec": {"namespaceSelector": {}, "resourceGroups": FEW}}


@pytest.mark.parametrize(
    ("place", "there", "what", "got", "fix"),
    [
        ("/version", {"gitVersion": "v1.24.0"}, "Kubernetes", "v1.24.0", "1.29"),
        ("/apis/ray.io", None, "KubeRay", "is not installed", "k8s/README.md"),
        ("/apis/kueue.x-k8s.io", None, "Kueue", "is not installed", "k8s/README.md"),
        (
            "/apis/apps/v1/deployments",
            items(operator("o", "quay.io/kuberay/operator:v1.3.2")),
            "KubeRay",
            "v1.3.2",
            "1.6",
        ),
        ("/api/v1/namespaces/seldtune", None, "namespace seldtune", "is not there", "namespace.yaml"),
        ("/api/v1/namespaces/seldtune", {"metadata": {}}, "namespace seldtune", "not set", "namespace.yaml"),
        (
            "/api/v1/namespaces/seldtune/secrets/seldtune-mlflow",
            None,
            "Secret seldtune-mlflow",
            "not there",
            "secrets.sh",
        ),
        ("/api/v1/namespaces/seldtune/serviceaccounts/seldtune-sweep", None, "ServiceAccount", "not there", "overlay"),
        (
            "/api/v1/namespaces/seldtune/resourcequotas",
            items({"metadata": {"name": "q"}, "status": {"hard": {"requests.nvidia.com/gpu": "4"}}}),
            "quota q",
            "8 of 4 requests.nvidia.com/gpu",
            "larger quota",
        ),
        (
            "/api/v1/namespaces/seldtune/resourcequotas",
            items(
                {
                    "metadata": {"name": "q"},
                    "status": {"hard": {"count/rayjobs.ray.io": "2"}, "used": {"count/rayjobs.ray.io": "2"}},
                }
            ),
            "quota q",
            "0 of 2 RayJobs left",
            "kubectl delete rayjob",
        ),
        (f"{QUEUES}/namespaces/seldtune/localqueues/seldtune", None, "LocalQueue seldtune", "not there", "overlay"),
        (f"{QUEUES}/clusterqueues/seldtune", None, "ClusterQueue seldtune", "not there", "kueue"),
        (f"{QUEUES}/clusterqueues/seldtune", SMALL, "ClusterQueue seldtune", "no flavor has nodes", "resourceflavors"),
        (
            "/api/v1/nodes",
            items(node("a", "on-demand", "2", "8Gi"), node("b", "gpu", "16", "128Gi", gpu="1")),
            "a node for head",
            "4.5 CPU of 2, 17 GiB of 8",
            "larger nodes",
        ),
        (
            "/api/v1/nodes",
            items(node("a", "on-demand", "16", "64Gi", taint="team/other"), node("b", "gpu", "16", "128Gi", gpu="1")),
            "a node for head",
            "taints team/other:NoSchedule",
            "tolerate",
        ),
    ],
)
def test_what_is_missing_is_told_with_its_fix(
    cluster: Cluster, server: ApiServer, place: str, there: Any, what: str, got: str, fix: str
) -> None:
    if there is None:
        del cluster.objects[place]
    else:
        cluster.objects[place] = there
    found = [finding for finding in wrong(server, JOB, QUEUED) if what in finding.what]
    assert found
    assert any(got in finding.got and fix in finding.fix for finding in found), found


def test_a_large_shape_is_compared_with_the_queue(cluster: Cluster, server: ApiServer) -> None:
    large = rayjob(request(overlay="kueue", shape=SHAPES["gpu8"]))
    assert not [finding for finding in wrong(server, large) if "ClusterQueue" in finding.what]
    flavors = cluster.objects[f"{QUEUES}/clusterqueues/seldtune"]["spec"]["resourceGroups"][0]["flavors"]
    flavors[0]["resources"] = resources(64, "256Gi", 0)
    (found,) = [finding for finding in wrong(server, large) if "ClusterQueue" in finding.what]
    assert "74.5 CPU of 64, 297 GiB of 256" in found.got
    assert "suspended for ever" in found.fix


def test_a_pool_that_starts_at_nothing_is_no_fault(cluster: Cluster, server: ApiServer) -> None:
    cluster.objects["/api/v1/nodes"] = items(node("a", "on-demand", "16", "64Gi"))
    findings = [f for f in examine(server, [JOB], "seldtune") if f.what == "a node for worker trainers"]
    assert [finding.state for finding in findings] == ["unseen"]
    assert "seldtune.dev/nodes=gpu" in findings[0].fix


def test_what_one_may_not_see_is_not_taken_for_missing(cluster: Cluster, server: ApiServer) -> None:
    """The rights of Role seldtune-operator alone."""
    for place in list(cluster.objects):
        kind = place.split("/")[-2]
        if kind in ("secrets", "priorityclasses", "clusterqueues", "resourceflavors", "workloadpriorityclasses"):
            cluster.objects[place] = forbidden("get", kind)
    for place in ("/api/v1/nodes", "/apis/apps/v1/deployments", "/api/v1/namespaces/seldtune"):
        cluster.objects[place] = forbidden("list", place.rpartition("/")[2])
    findings = list(examine(server, [JOB, QUEUED], "seldtune"))
    assert not [finding for finding in findings if finding.state == "wrong"]
    unseen = {finding.what for finding in findings if finding.state == "unseen"}
    assert {"nodes", "KubeRay's version", "Secret seldtune-storage", "ClusterQueue seldtune"} <= unseen
    cluster.rights = {("get", "rayjobs")}
    (found,) = [finding for finding in wrong(server) if finding.what == "your rights"]
    assert "create rayjobs" in found.got
    assert "--role seldtune-operator" in found.fix


def test_files_are_read_before_a_cluster_is_asked(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    config, cron = recurring(JOB, "0 2 * * *", None)
    mine.write_text(as_yaml(config, cron, {"apiVersion": "v1", "kind": "Foo", "spec": ["a"]}))
    assert [document["kind"] for document in documents_of(str(mine))] == ["RayJob", "CronJob"]
    wrong = rayjob(request())
    wrong["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["envFrom"] = {"a": 1}
    mine.write_text(as_yaml(*recurring(wrong, "0 2 * * *", None)))
    with pytest.raises(UserError, match=r"RayJob: spec\.rayClusterSpec.*envFrom: fields \(a\); write a list"):
        documents_of(str(mine))


@needs_kubectl
def test_the_command(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(as_yaml(JOB))
    with standing(cluster) as (_, url):
        use(monkeypatch, tmp_path, url)
        said = CliRunner().invoke(app, ["doctor", "--cluster", str(mine)])
        assert said.exit_code == 0, said.output
        assert said.stdout.startswith(f"{url}, namespace seldtune\nok     Kubernetes: v1.36.2\n")
        cluster.objects["/apis/ray.io"] = refusal(404, "NotFound", "the server could not find the requested resource")
        said = CliRunner().invoke(app, ["doctor", "--cluster"])
        assert said.exit_code == 2
        assert "wrong  KubeRay: is not installed" in said.stdout
    said = CliRunner().invoke(app, ["doctor", "--cluster"])
    assert isinstance(said.exception, UserError)
    assert "no cluster to look at" in str(said.exception)
    said = CliRunner().invoke(app, ["doctor"])
    assert "seldtune doctor --cluster" in str(said.exception)
