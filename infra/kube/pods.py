"""The pods that a document brings about, as KubeRay makes them: what admission, quotas and nodes judge.

The API server takes a RayJob whose pods it will refuse; nothing says so before hours have been waited. Read off KubeRay
1.7 (`ray-operator/controllers/ray/common/pod.go` and `job.go`, `rayjob_controller.go`): a head with the autoscaler
beside it, groups with a container that waits for the head, the pod that submits.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from infra.kube.documents import clusters, in_template, job_of, under

AUTOSCALER, WAIT, SUBMITTER = "autoscaler", "wait-gcs-ready", "ray-job-submitter"
_WORKLOADS = {
    "CronJob": "spec.jobTemplate.spec.template",
    "DaemonSet": "spec.template",
    "Deployment": "spec.template",
    "Job": "spec.template",
    "StatefulSet": "spec.template",
}
"""Where Kubernetes' own kinds have their pod's template."""
_SUFFIX = "-00000"
"""In place of the five letters that KubeRay and the API server append to a name."""


@dataclass(frozen=True)
class Container:
    """A container of a pod.

    Attributes:
        path: where the document describes it.
        body: all that will be asked of it.
        made_by: for a container of KubeRay's own making, which field of the document changes it; nothing otherwise.
    """

    path: str
    body: dict[str, Any]
    made_by: str = ""


@dataclass(frozen=True)
class Pod:
    """A pod, and how many of it there are when the document's cluster is at its largest.

    Attributes:
        path: of its template in the document.
        role: head, worker, submitter, or the kind of a workload of Kubernetes' own.
        name: of the group, or of the document.
        manifest: what the API server is asked for.
        containers: those of `manifest`, with their paths; the first is Ray's.
        first: containers that run before the others.
        most: pods at the largest.
    """

    path: str
    role: str
    name: str
    manifest: dict[str, Any]
    containers: tuple[Container, ...]
    first: tuple[Container, ...] = ()
    most: int = 1

    @property
    def spec(self) -> dict[str, Any]:
        """The pod's own spec."""
        return self.manifest["spec"]

    @property
    def all_containers(self) -> tuple[Container, ...]:
        """Those that run before the others, and the others."""
        return (*self.first, *self.containers)


def pods_of(document: dict[str, Any]) -> Iterator[Pod]:
    """Every kind of pod that a document brings about; templates without a container bring none about."""
    kind = document["kind"]
    if kind == "RayCronJob":
        for pod in pods_of(job_of(document)):
            yield replace(
                pod,
                path=in_template(pod.path),
                first=tuple(replace(one, path=in_template(one.path)) for one in pod.first),
                containers=tuple(replace(one, path=in_template(one.path)) for one in pod.containers),
            )
    elif kind in _WORKLOADS:
        if under(document, f"{_WORKLOADS[kind]}.spec.containers"):
            most = under(document, "spec.replicas") or 1
            yield _pod(document, kind, _WORKLOADS[kind], under(document, _WORKLOADS[kind]), most=most)
    else:
        for path, cluster in clusters(document):
            yield from _nodes(document, path, cluster)
        if kind == "RayJob" and document["spec"].get("submissionMode", "K8sJobMode") == "K8sJobMode":
            yield from _submitter(document)


def _pod(
    document: dict[str, Any], role: str, path: str, template: dict[str, Any], *, name: str = "", most: int = 1
) -> Pod:
    """A pod of a template as it is written."""
    meta, owner = document.get("metadata") or {}, _owner(document)
    spec = copy.deepcopy(template.get("spec") or {})
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **copy.deepcopy(template.get("metadata") or {}),
            "generateName": f"{'-'.join(filter(None, (owner, name)))[:50]}-{role}-".lower(),
            **({"namespace": meta["namespace"]} if "namespace" in meta else {}),
        },
        "spec": spec,
    }
    return Pod(
        path=path,
        role=role,
        name=name or owner,
        manifest=manifest,
        containers=_described(f"{path}.spec.containers", spec.get("containers")),
        first=_described(f"{path}.spec.initContainers", spec.get("initContainers")),
        most=most,
    )


def _described(path: str, bodies: list[dict[str, Any]] | None) -> tuple[Container, ...]:
    return tuple(Container(f"{path}[{index}]", body) for index, body in enumerate(bodies or []))


def _owner(document: dict[str, Any]) -> str:
    """Name of the RayCluster that pods are of, or of the workload."""
    meta = document.get("metadata") or {}
    name = str(meta.get("name") or meta.get("generateName") or "pod")
    return f"{name}{_SUFFIX}" if document["kind"] == "RayJob" else name


def _nodes(document: dict[str, Any], path: str, cluster: dict[str, Any]) -> Iterator[Pod]:
    """Head and groups."""
    head = cluster.get("headGroupSpec") or {}
    if under(head, "template.spec.containers"):
        yield _head(document, path, cluster, head)
    for index, group in enumerate(cluster.get("workerGroupSpecs") or []):
        if under(group, "template.spec.containers"):
            # Without the autoscaler nobody asks for more than there are at first.
            grown = group.get("maxReplicas", 1) if cluster.get("enableInTreeAutoscaling") else begins_with(group)
            most = grown * group.get("numOfHosts", 1)
            where, name = f"{path}.workerGroupSpecs[{index}].template", str(group.get("groupName") or "")
            pod = _pod(document, "worker", where, group["template"], name=name, most=most)
            _ray(document, pod, group, name)
            (container, *_), ray = pod.containers, pod.containers[0].body
            wait = {
                "name": WAIT,
                "image": ray.get("image"),
                **{field: copy.deepcopy(ray[field]) for field in _SHARED if field in ray},
                "resources": _fixed("200m", "256Mi"),
            }
            pod.spec["initContainers"] = [*(pod.spec.get("initContainers") or []), wait]
            yield replace(pod, first=(*pod.first, Container(container.path, wait, made_by=container.path)))


def begins_with(group: dict[str, Any]) -> int:
    """Pods that a group begins with: KubeRay keeps them within its least and most."""
    least = group.get("minReplicas", 0)
    return int(min(max(group.get("replicas", least), least), group.get("maxReplicas", 2**31 - 1)))


_SHARED = ("imagePullPolicy", "securityContext", "env", "volumeMounts")
"""What the container that waits has from Ray's."""


def _head(document: dict[str, Any], path: str, cluster: dict[str, Any], head: dict[str, Any]) -> Pod:
    pod = _pod(document, "head", f"{path}.headGroupSpec.template", head["template"])
    _ray(document, pod, head, "headgroup")
    image, made = pod.containers[0].body.get("image"), []
    if under(document, "spec.submissionMode") == "SidecarMode":
        sidecar = _own_submitter(image)
        made.append(
            Container("spec.submissionMode", sidecar, made_by="submissionMode: K8sJobMode, whose pod has fields")
        )
        pod.spec["restartPolicy"] = "Never"
    if cluster.get("enableInTreeAutoscaling"):
        where, options = f"{path}.autoscalerOptions", cluster.get("autoscalerOptions") or {}
        fields = ("image", "imagePullPolicy", "env", "envFrom", "volumeMounts", "securityContext", "command", "args")
        container = {
            "name": AUTOSCALER,
            "image": image,
            **{field: copy.deepcopy(options[field]) for field in fields if field in options},
            "resources": options.get("resources") or _fixed("500m", "512Mi"),
        }
        made.append(Container(where, container, made_by=where))
        _scratch(pod, pod.containers[0].body, "ray-logs", "/tmp/ray", {})
        _scratch(pod, container, "ray-logs", "/tmp/ray", {})
        if options.get("version") == "v2":
            pod.spec["restartPolicy"] = "Never"
    pod.spec["containers"] += [container.body for container in made]
    return replace(pod, containers=(*pod.containers, *made))


def _ray(document: dict[str, Any], pod: Pod, group: dict[str, Any], name: str) -> None:
    """What every node gets: labels, shared memory, a port for metrics."""
    labels = {**(pod.manifest["metadata"].get("labels") or {}), **(group.get("labels") or {})}
    pod.manifest["metadata"]["labels"] = labels | {
        "ray.io/is-ray-node": "yes",
        "ray.io/cluster": _owner(document),
        "ray.io/node-type": pod.role,
        "ray.io/group": name,
    }
    ray = pod.containers[0].body
    if "plasma-directory" not in (group.get("rayStartParams") or {}):
        _scratch(pod, ray, "shared-mem", "/dev/shm", {"medium": "Memory"})
    if not any(port.get("name") == "metrics" or port.get("containerPort") == 8080 for port in ray.get("ports") or []):
        ray["ports"] = [*(ray.get("ports") or []), {"name": "metrics", "containerPort": 8080}]


def _scratch(pod: Pod, container: dict[str, Any], name: str, mount: str, kind: dict[str, Any]) -> None:
    """An emptyDir at this place of a container, unless something is mounted there."""
    mounts = container.get("volumeMounts") or []
    if any(one.get("mountPath") == mount for one in mounts):
        return
    container["volumeMounts"] = [*mounts, {"name": name, "mountPath": mount}]
    volumes = pod.spec.get("volumes") or []
    if not any(volume.get("name") == name for volume in volumes):
        pod.spec["volumes"] = [*volumes, {"name": name, "emptyDir": dict(kind)}]


def _submitter(document: dict[str, Any]) -> Iterator[Pod]:
    """The pod of the Job that submits: the template of the document, or KubeRay's."""
    path, template = "spec.submitterPodTemplate", document["spec"].get("submitterPodTemplate")
    if template is not None:
        if under(template, "spec.containers"):
            yield _pod(document, "submitter", path, template)
        return
    head = under(document, "spec.rayClusterSpec.headGroupSpec.template.spec.containers")
    container = _own_submitter(head[0].get("image") if head else None)
    pod = _pod(document, "submitter", path, {"spec": {"restartPolicy": "Never", "containers": [container]}})
    yield replace(pod, containers=(Container(path, pod.containers[0].body, made_by=path),))


def _own_submitter(image: Any) -> dict[str, Any]:
    resources = {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "200Mi"}}
    return {"name": SUBMITTER, "image": image, "resources": resources}


def _fixed(cpu: str, memory: str) -> dict[str, Any]:
    return {kind: {"cpu": cpu, "memory": memory} for kind in ("limits", "requests")}
