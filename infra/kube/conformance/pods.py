"""Mistakes to plant in a RayJob that `render` wrote, by who refuses its pods: the API server takes the job itself."""

from __future__ import annotations

import copy
from typing import Any

from infra.kube.conformance.plant import CLUSTER, CONTAINER, GROUP, HEAD, Mistakes, all_of, put

SUBMITTER = "spec.submitterPodTemplate"
_CONTEXT = f"{HEAD}.{CONTAINER}.securityContext"


def _sidecar(document: dict[str, Any]) -> None:
    context = {"runAsNonRoot": True, "runAsUser": 1000, "allowPrivilegeEscalation": False}
    containers = document["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"]
    containers.append({"name": "logs", "image": "fluent/fluent-bit:3", "securityContext": context})


def _volume(**kind: Any) -> Any:
    def change(document: dict[str, Any]) -> None:
        volumes = document["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["volumes"]
        volumes.append({"name": "more", **kind})

    return change


def _as_first(document: dict[str, Any]) -> None:
    groups = document["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    groups.append(copy.deepcopy(groups[0]))


def _variable(**entry: Any) -> Any:
    def change(document: dict[str, Any]) -> None:
        container = document["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
        container["env"].append(entry)

    return change


BY_POD_SECURITY: Mistakes = {
    "no capabilities dropped": (put(f"{_CONTEXT}.capabilities", None), f"{_CONTEXT}.capabilities.drop"),
    "a capability added": (put(f"{_CONTEXT}.capabilities.add", ["SYS_PTRACE"]), f"{_CONTEXT}.capabilities.add"),
    "no profile of system calls": (put(f"{_CONTEXT}.seccompProfile", None), f"{_CONTEXT}.seccompProfile"),
    "a profile that allows all": (
        put(f"{_CONTEXT}.seccompProfile", {"type": "Unconfined"}),
        f"{_CONTEXT}.seccompProfile.type",
    ),
    "root": (
        all_of(
            put(_CONTEXT, {"allowPrivilegeEscalation": False}),
            put(f"{HEAD}.template.spec.securityContext", {}),
        ),
        f"{_CONTEXT}.runAsNonRoot",
    ),
    "root by number": (put(f"{_CONTEXT}.runAsUser", 0), f"{_CONTEXT}.runAsUser"),
    "a pod that may be root": (
        put(f"{HEAD}.template.spec.securityContext.runAsNonRoot", False),
        f"{HEAD}.template.spec.securityContext.runAsNonRoot",
    ),
    "escalation": (put(f"{_CONTEXT}.allowPrivilegeEscalation", None), f"{_CONTEXT}.allowPrivilegeEscalation"),
    "privileges": (put(f"{_CONTEXT}.privileged", True), f"{_CONTEXT}.privileged"),
    "another view of processes": (put(f"{_CONTEXT}.procMount", "Unmasked"), f"{_CONTEXT}.procMount"),
    "a label of SELinux": (put(f"{_CONTEXT}.seLinuxOptions", {"type": "spc_t"}), f"{_CONTEXT}.seLinuxOptions"),
    "no AppArmor": (
        put(f"{_CONTEXT}.appArmorProfile", {"type": "Unconfined"}),
        f"{_CONTEXT}.appArmorProfile.type",
    ),
    "the node's network": (put(f"{HEAD}.template.spec.hostNetwork", True), f"{HEAD}.template.spec.hostNetwork"),
    "the node's processes": (put(f"{HEAD}.template.spec.hostPID", True), f"{HEAD}.template.spec.hostPID"),
    "a port of the node": (
        put(f"{HEAD}.{CONTAINER}.ports", [{"containerPort": 8265, "hostPort": 8265}]),
        f"{HEAD}.{CONTAINER}.ports[0].hostPort",
    ),
    "a folder of the node": (_volume(hostPath={"path": "/nvme"}), f"{HEAD}.template.spec.volumes[2]"),
    "a share by NFS": (_volume(nfs={"server": "nas", "path": "/"}), f"{HEAD}.template.spec.volumes[2]"),
    "a setting of the kernel": (
        put(f"{HEAD}.template.spec.securityContext.sysctls", [{"name": "net.core.somaxconn", "value": "1024"}]),
        f"{HEAD}.template.spec.securityContext.sysctls[0]",
    ),
    "a probe of another host": (
        put(f"{HEAD}.{CONTAINER}.readinessProbe", {"httpGet": {"host": "10.0.0.1", "port": 80}}),
        f"{HEAD}.{CONTAINER}.readinessProbe.httpGet.host",
    ),
    "a second container that says little": (_sidecar, f"{HEAD}.template.spec.containers[1].securityContext"),
    "an init container that is root": (
        put(
            f"{HEAD}.template.spec.initContainers", [{"name": "i", "image": "i:1", "securityContext": {"runAsUser": 0}}]
        ),
        f"{HEAD}.template.spec.initContainers[0].securityContext.runAsUser",
    ),
    "the operator's own autoscaler": (put(f"{CLUSTER}.autoscalerOptions", None), f"{CLUSTER}.autoscalerOptions"),
    "an autoscaler without a context": (
        put(f"{CLUSTER}.autoscalerOptions.securityContext", None),
        f"{CLUSTER}.autoscalerOptions",
    ),
    "the operator's own submitter": (put(SUBMITTER, None), SUBMITTER),
    "a submitter that drops nothing": (
        put(f"{SUBMITTER}.spec.containers[0].securityContext.capabilities", None),
        f"{SUBMITTER}.spec.containers[0].securityContext.capabilities.drop",
    ),
    "a submitter as root": (
        put(f"{SUBMITTER}.spec.containers[0].securityContext.runAsNonRoot", False),
        f"{SUBMITTER}.spec.containers[0].securityContext.runAsNonRoot",
    ),
    "the operator's own sidecar": (
        all_of(put("spec.submissionMode", "SidecarMode"), put(SUBMITTER, None)),
        "spec.submissionMode",
    ),
}
"""Admission of a `restricted` namespace refuses them."""

BY_POD: Mistakes = {
    "half a GPU": (
        put(f"{GROUP}.{CONTAINER}.resources", {"limits": {"cpu": "8", "memory": "48Gi", "nvidia.com/gpu": "0.5"}}),
        f"{GROUP}.{CONTAINER}.resources.limits.nvidia.com/gpu",
    ),
    "GPUs in thousandths": (
        put(f"{GROUP}.{CONTAINER}.resources", {"limits": {"cpu": "8", "memory": "48Gi", "nvidia.com/gpu": "500m"}}),
        f"{GROUP}.{CONTAINER}.resources.limits.nvidia.com/gpu",
    ),
    "fewer GPUs asked for than allowed": (
        put(f"{GROUP}.{CONTAINER}.resources.requests", {"cpu": "8", "memory": "48Gi", "nvidia.com/gpu": "0"}),
        f"{GROUP}.{CONTAINER}.resources.requests.nvidia.com/gpu",
    ),
    "a resource of nobody's": (
        put(f"{GROUP}.{CONTAINER}.resources.limits", {"cpu": "8", "memory": "48Gi", "gpu": "1"}),
        f"{GROUP}.{CONTAINER}.resources.limits.gpu",
    ),
    "more CPUs asked for than allowed": (
        put(f"{GROUP}.{CONTAINER}.resources.requests.cpu", "16"),
        f"{GROUP}.{CONTAINER}.resources.requests.cpu",
    ),
    "a quantity that is none": (
        put(f"{GROUP}.{CONTAINER}.resources.limits.memory", "48GB"),
        f"{GROUP}.{CONTAINER}.resources.limits.memory",
    ),
    "shared memory of no quantity": (
        put(f"{HEAD}.template.spec.volumes[0].emptyDir.sizeLimit", "16GB"),
        f"{HEAD}.template.spec.volumes[0].emptyDir.sizeLimit",
    ),
    "a container in capitals": (put(f"{HEAD}.{CONTAINER}.name", "Ray"), f"{HEAD}.{CONTAINER}.name"),
    "a container with an underscore": (put(f"{HEAD}.{CONTAINER}.name", "ray_head"), f"{HEAD}.{CONTAINER}.name"),
    "a container called as KubeRay's": (
        put(f"{HEAD}.{CONTAINER}.name", "autoscaler"),
        f"{CLUSTER}.autoscalerOptions.name",
    ),
    "a variable with an equals sign": (_variable(name="A=B", value="x"), f"{HEAD}.{CONTAINER}.env[1].name"),
    "a value from two places": (
        _variable(name="A", value="x", valueFrom={"fieldRef": {"fieldPath": "metadata.name"}}),
        f"{HEAD}.{CONTAINER}.env[1].valueFrom",
    ),
    "a value from nowhere": (_variable(name="A", valueFrom={}), f"{HEAD}.{CONTAINER}.env[1].valueFrom"),
    "a Secret with an underscore": (
        put(f"{HEAD}.{CONTAINER}.envFrom[1].secretRef.name", "My_Secret"),
        f"{HEAD}.{CONTAINER}.envFrom[1].secretRef.name",
    ),
    "a mount of no volume": (
        put(f"{HEAD}.{CONTAINER}.volumeMounts[1].name", "cache"),
        f"{HEAD}.{CONTAINER}.volumeMounts[1].name",
    ),
    "two mounts at one place": (
        put(f"{HEAD}.{CONTAINER}.volumeMounts[1].mountPath", "/dev/shm"),
        f"{HEAD}.{CONTAINER}.volumeMounts[1].mountPath",
    ),
    "a volume of two kinds": (
        put(f"{HEAD}.template.spec.volumes[1].configMap", {"name": "x"}),
        f"{HEAD}.template.spec.volumes[1]",
    ),
    "a volume twice": (put(f"{HEAD}.template.spec.volumes[1].name", "shm"), f"{HEAD}.template.spec.volumes[1].name"),
    "a label of two words": (
        put(f"{HEAD}.template.metadata.labels.team", "a b"),
        f"{HEAD}.template.metadata.labels.team",
    ),
    "nodes of two words": (
        put(f"{HEAD}.template.spec.nodeSelector", {"nodes": "a b"}),
        f"{HEAD}.template.spec.nodeSelector.nodes",
    ),
    "a pull policy in small letters": (
        put(f"{HEAD}.{CONTAINER}.imagePullPolicy", "always"),
        f"{HEAD}.{CONTAINER}.imagePullPolicy",
    ),
    "an unknown effect of taints": (
        put(f"{HEAD}.template.spec.tolerations", [{"key": "a", "operator": "Exists", "effect": "NoScheduling"}]),
        f"{HEAD}.template.spec.tolerations[0].effect",
    ),
    "a taint that exists with a value": (
        put(f"{HEAD}.template.spec.tolerations", [{"key": "a", "operator": "Exists", "value": "b"}]),
        f"{HEAD}.template.spec.tolerations[0].value",
    ),
    "a long name for a port": (
        put(f"{HEAD}.{CONTAINER}.ports", [{"name": "a-very-long-port-name", "containerPort": 9000}]),
        f"{HEAD}.{CONTAINER}.ports[0].name",
    ),
    "a port above all": (
        put(f"{HEAD}.{CONTAINER}.ports", [{"name": "x", "containerPort": 70000}]),
        f"{HEAD}.{CONTAINER}.ports[0].containerPort",
    ),
    "a blank behind an image": (
        put(f"{HEAD}.{CONTAINER}.image", "ghcr.io/seldtune/seldtune:1 "),
        f"{HEAD}.{CONTAINER}.image",
    ),
    "a group with an underscore": (put(f"{GROUP}.groupName", "my_trainers"), f"{GROUP}.groupName"),
    "a group that begins with a dash": (put(f"{GROUP}.groupName", "-trainers"), f"{GROUP}.groupName"),
    "a group of 70 characters": (put(f"{GROUP}.groupName", "t" * 70), f"{GROUP}.groupName"),
    "a submitter that restarts": (put(f"{SUBMITTER}.spec.restartPolicy", "Always"), f"{SUBMITTER}.spec.restartPolicy"),
}
"""The API server refuses the pods."""

BY_SILENCE: Mistakes = {
    "memory in small letters": (
        put(f"{HEAD}.template.spec.volumes[0].emptyDir.medium", "memory"),
        f"{HEAD}.template.spec.volumes[0].emptyDir.medium",
    ),
    "two groups of one name": (_as_first, f"{CLUSTER}.workerGroupSpecs[2].groupName"),
    "no container": (put(f"{HEAD}.template.spec.containers", []), f"{HEAD}.template.spec.containers"),
    "a submitter without a container": (put(f"{SUBMITTER}.spec.containers", []), f"{SUBMITTER}.spec.containers"),
    "a submitter's negative limit": (
        put("spec.submitterConfig", {"backoffLimit": -1}),
        "spec.submitterConfig.backoffLimit",
    ),
}
"""Nobody refuses them: KubeRay, or the node, cannot go on, and waits."""
