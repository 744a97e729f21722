"""What ships fits together: shapes and quotas, priorities, what the operators' page says of both."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from infra.kube.amounts import Amounts, amounts_of, asked_by, at_largest
from infra.kube.documents import under
from infra.kube.pods import pods_of
from infra.kube.rayjob import HEAD_PRIORITY, rayjob
from infra.kube.shapes import SHAPES
from support.k8s import K8S, OVERLAYS, built
from support.kube_requests import request


def one(overlay: str, kind: str, name: str = "seldtune") -> dict[str, Any]:
    (found,) = [d for d in built(overlay) if (d["kind"], d["metadata"]["name"]) == (kind, name)]
    return found


def offered(overlay: str) -> list[str]:
    return [name for name, shape in SHAPES.items() if overlay != "dev" or not shape.trainers.size.gpus]


CASES = [(overlay, shape) for overlay in OVERLAYS for shape in offered(overlay)]


@pytest.mark.parametrize(("overlay", "shape"), CASES)
def test_each_shape_at_its_largest_fits_beside_what_is_always_there(overlay: str, shape: str) -> None:
    hard = one(overlay, "ResourceQuota")["spec"]["hard"]
    always = at_largest(pod for document in built(overlay) for pod in pods_of(document))
    assert always.cpu > 1
    asked = always + at_largest(pods_of(rayjob(request(overlay=overlay, shape=SHAPES[shape]))))
    assert not asked.lacking(amounts_of(hard, "requests.")), (str(asked), hard)


@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_at_its_largest_is_admitted_to_the_queue(shape: str) -> None:
    (group,) = one("kueue", "ClusterQueue")["spec"]["resourceGroups"]
    quotas = {
        flavor["name"]: amounts_of({each["name"]: each["nominalQuota"] for each in flavor["resources"]})
        for flavor in group["flavors"]
    }
    labels = {name: one("kueue", "ResourceFlavor", name)["spec"]["nodeLabels"] for name in quotas}
    asked = dict.fromkeys(quotas, Amounts())
    for pod in pods_of(rayjob(request(overlay="kueue", shape=SHAPES[shape]))):
        wanted = pod.spec.get("nodeSelector") or {}
        flavor = next(name for name in quotas if wanted.items() <= labels[name].items())
        asked[flavor] += asked_by(pod) * pod.most
    for name, amounts in asked.items():
        assert not amounts.lacking(quotas[name]), (shape, name, str(amounts))


def test_a_sweep_without_a_priority_lies_between_low_and_high() -> None:
    # Kueue takes a workload's priority from its class, and else from the PriorityClass of the head's pod.
    values = {name: one("kueue", "WorkloadPriorityClass", name)["value"] for name in ("low", "high")}
    none = one("kueue", "PriorityClass", HEAD_PRIORITY)["value"]
    assert values["low"] < none < values["high"]
    head, *_ = pods_of(rayjob(request(overlay="kueue")))
    assert head.spec["priorityClassName"] == HEAD_PRIORITY


def test_the_pages_sizes_are_those_of_the_shapes() -> None:
    page = (K8S / "README.md").read_text()
    for name, shape in SHAPES.items():
        (line,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[1] == f"{shape.head.cpus} CPU, {shape.head.memory_gib} GiB"
        size, group = shape.trainers.size, shape.trainers
        gpus = f"{size.gpus} GPU, " if size.gpus else ""
        assert cells[2] == f"{group.least}-{group.most} x {gpus}{size.cpus} CPU, {size.memory_gib} GiB"


def test_pods_are_those_that_kuberay_makes() -> None:
    job = rayjob(request(shape=SHAPES["gpu8"]))
    pods = {pod.name if pod.role == "worker" else pod.role: pod for pod in pods_of(job)}
    assert set(pods) == {"head", "trainers", "data", "drivers", "submitter"}
    assert [container.body["name"] for container in pods["head"].containers] == ["ray", "autoscaler"]
    assert [container.body["name"] for container in pods["trainers"].all_containers] == ["wait-gcs-ready", "ray"]
    assert pods["trainers"].most == 4
    assert str(asked_by(pods["head"])) == "8.5 CPU, 33 GiB"
    assert str(asked_by(pods["trainers"])) == "64 CPU, 480 GiB, 8 GPU"  # what waits before does not add to it
    labels = pods["data"].manifest["metadata"]["labels"]
    assert labels["ray.io/group"] == "data"
    assert labels["seldtune.dev/role"] == "data"
    # The templates are not touched.
    assert job == rayjob(request(shape=SHAPES["gpu8"]))


def test_pods_of_other_ways_to_submit() -> None:
    job = rayjob(request())
    for mode in ("HTTPMode", "InteractiveMode", "SidecarMode"):
        changed = copy.deepcopy(job)
        changed["spec"]["submissionMode"] = mode
        pods = list(pods_of(changed))
        assert "submitter" not in {pod.role for pod in pods}
        names = [container.body["name"] for container in pods[0].containers]
        assert names == ["ray", *(["ray-job-submitter"] if mode == "SidecarMode" else []), "autoscaler"]


def test_what_kuberay_mounts_by_itself_is_there() -> None:
    job = rayjob(request())
    template = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    template["containers"][0]["volumeMounts"], template["volumes"] = [], []
    head, *_ = pods_of(job)
    mounted = {(mount["name"], mount["mountPath"]) for mount in head.spec["containers"][0]["volumeMounts"]}
    assert mounted == {("shared-mem", "/dev/shm"), ("ray-logs", "/tmp/ray")}
    assert {volume["name"] for volume in head.spec["volumes"]} == {"shared-mem", "ray-logs"}


def test_workloads_of_kubernetes_own_bring_pods_about() -> None:
    kinds = {pod.role for document in built("gpu") for pod in pods_of(document)}
    assert {"Deployment", "StatefulSet", "Job", "CronJob", "DaemonSet", "head", "worker"} <= kinds
    for document in built("gpu"):
        assert under(document, "metadata.name")
