"""Pod Security `restricted`, whole: what the namespace's admission lets in.

Read off `k8s.io/pod-security-admission/policy` as of Kubernetes 1.36, latest version. It looks at pods, not at RayJobs:
what it refuses is only seen in KubeRay's events.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from infra.kube.documents import Violation, under
from infra.kube.pods import Container, Pod

_VOLUMES = frozenset(
    (
        *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image"),
        *("persistentVolumeClaim", "projected", "secret"),
    )
)
_SYSCTLS = frozenset(
    (
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    )
)
_SELINUX = ("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")
_PROFILES = ("RuntimeDefault", "Localhost")
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
WHY = "the namespace is `restricted`"


def restricted_rules(pod: Pod) -> Iterator[Violation]:
    """What of a pod `restricted` would not let in."""
    spec, path = pod.spec, f"{pod.path}.spec"
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield Violation(f"{path}.{field}", "true", f"leave it out: {WHY}")
    for index, volume in enumerate(spec.get("volumes") or []):
        if other := sorted(volume.keys() - {"name"} - _VOLUMES):
            yield Violation(f"{path}.volumes[{index}]", other[0], f"use emptyDir, ephemeral or a claim: {WHY}")
    context = spec.get("securityContext") or {}
    for index, sysctl in enumerate(context.get("sysctls") or []):
        if sysctl.get("name") not in _SYSCTLS:
            where = f"{path}.securityContext.sysctls[{index}]"
            yield Violation(where, f"{sysctl.get('name')}", f"leave it out: {WHY}")
    for key, value in (pod.manifest["metadata"].get("annotations") or {}).items():
        fits = str(value) in ("", "runtime/default") or str(value).startswith("localhost/")
        if str(key).startswith(_APPARMOR) and not fits:
            yield Violation(f"{pod.path}.metadata.annotations", f"{key}: {value}", f"runtime/default: {WHY}")
    own_users = spec.get("hostUsers") is False  # root in there is nobody on the node: KEP-127
    yield from _shared(f"{path}.securityContext", context, own_users)
    for container in pod.all_containers:
        if container.made_by == container.path and container in pod.first:
            continue  # has what Ray's container has
        if container.made_by and not container.body.get("securityContext"):
            name = container.body.get("name")
            got = f"KubeRay's container {name} has no securityContext"
            yield Violation(container.path, got, f"{_where(container)}: {WHY}")
        else:
            yield from _container(container, context, own_users)


def _where(container: Container) -> str:
    if container.made_by == container.path:
        return f"write {container.path} with one (drop ALL, RuntimeDefault, not root, no escalation)"
    return f"use {container.made_by}"


def _shared(path: str, context: Mapping[str, Any], own_users: bool) -> Iterator[Violation]:
    """What is asked of a pod's context and of a container's alike."""
    if context.get("runAsUser") == 0 and not own_users:
        yield Violation(f"{path}.runAsUser", "0", f"another user, e.g. 1000: {WHY}")
    if context.get("runAsNonRoot") is False and not own_users:
        yield Violation(f"{path}.runAsNonRoot", "false", f"true: {WHY}")
    for field, known in (("seccompProfile", _PROFILES), ("appArmorProfile", _PROFILES)):
        profile = context.get(field)
        if profile is not None and profile.get("type") not in known:
            yield Violation(f"{path}.{field}.type", f"{profile.get('type')}", f"RuntimeDefault: {WHY}")
    selinux = context.get("seLinuxOptions") or {}
    if selinux.get("type", "") not in _SELINUX or selinux.get("user") or selinux.get("role"):
        yield Violation(f"{path}.seLinuxOptions", f"{dict(selinux)}", f"leave it out: {WHY}")
    if under(context, "windowsOptions.hostProcess"):
        yield Violation(f"{path}.windowsOptions.hostProcess", "true", f"leave it out: {WHY}")


def _container(container: Container, pod: Mapping[str, Any], own_users: bool) -> Iterator[Violation]:
    body, path = container.body, f"{container.path}.securityContext"
    context = body.get("securityContext") or {}
    yield from _shared(path, context, own_users)
    if context.get("runAsNonRoot") is None and not pod.get("runAsNonRoot") and not own_users:
        yield Violation(f"{path}.runAsNonRoot", "not set", f"true: {WHY}")
    if context.get("seccompProfile") is None and under(pod, "seccompProfile.type") not in _PROFILES:
        yield Violation(f"{path}.seccompProfile", "not set", f"{{type: RuntimeDefault}}: {WHY}")
    if context.get("allowPrivilegeEscalation") is not False:
        yield Violation(f"{path}.allowPrivilegeEscalation", "not false", f"write false: {WHY}")
    if context.get("privileged"):
        yield Violation(f"{path}.privileged", "true", f"leave it out: {WHY}")
    if context.get("procMount") not in (None, "Default"):
        yield Violation(f"{path}.procMount", f"{context['procMount']}", f"leave it out: {WHY}")
    capabilities = context.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or []):
        yield Violation(f"{path}.capabilities.drop", f"{capabilities.get('drop') or 'not set'}", f"[ALL]: {WHY}")
    if added := [name for name in capabilities.get("add") or [] if name != "NET_BIND_SERVICE"]:
        yield Violation(f"{path}.capabilities.add", ", ".join(added), f"leave it out: {WHY}")
    for index, port in enumerate(body.get("ports") or []):
        if port.get("hostPort"):
            yield Violation(f"{container.path}.ports[{index}].hostPort", f"{port['hostPort']}", f"leave it out: {WHY}")
    handlers = [(probe, body.get(probe)) for probe in _PROBES]
    handlers += [(f"lifecycle.{hook}", under(body, f"lifecycle.{hook}")) for hook in ("postStart", "preStop")]
    for field, handler in handlers:
        for kind in ("httpGet", "tcpSocket"):
            if host := under(handler, f"{kind}.host"):
                yield Violation(f"{container.path}.{field}.{kind}.host", f"{host}", f"leave it out: {WHY}")
