"""Fields that are slips of the pen: nearly one that there is, where no schema and no cluster says so.

Those of KubeRay 1.7 and Kubernetes 1.36. What is unlike all of them is left to a cluster: it may be a newer one's.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from infra.kube.documents import Violation, clusters, in_template, job_of, pod_templates


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_JOB = _names(
    """activeDeadlineSeconds backoffLimit clusterSelector deletionStrategy entrypoint entrypointNumCpus
    entrypointNumGpus entrypointResources jobId managedBy metadata preRunningDeadlineSeconds rayClusterSpec
    runtimeEnvYAML shutdownAfterJobFinishes submissionMode submitterConfig submitterPodTemplate suspend
    ttlSecondsAfterFinished"""
)
_CLUSTER = _names(
    """authOptions autoscalerOptions enableInTreeAutoscaling gcsFaultToleranceOptions headGroupSpec
    headServiceAnnotations historyServerOptions managedBy networkPolicy rayVersion suspend tlsOptions upgradeStrategy
    workerGroupSpecs"""
)
_GROUP = _names(
    """enableIngress groupName headService idleTimeoutSeconds ingressOptions labels maxReplicas minReplicas numOfHosts
    priority rayStartParams replicas resources scaleStrategy serviceType suspend template"""
)
_POD = _names(
    """activeDeadlineSeconds affinity automountServiceAccountToken containers dnsConfig dnsPolicy enableServiceLinks
    ephemeralContainers hostAliases hostIPC hostNetwork hostPID hostUsers hostname hostnameOverride imagePullSecrets
    initContainers nodeName nodeSelector os overhead preemptionPolicy priority priorityClassName readinessGates
    resourceClaims resources restartPolicy runtimeClassName schedulerName schedulingGates schedulingGroup
    securityContext serviceAccount serviceAccountName setHostnameAsFQDN shareProcessNamespace subdomain
    terminationGracePeriodSeconds tolerations topologySpreadConstraints volumes"""
)
_CONTAINER = _names(
    """args command env envFrom image imagePullPolicy lifecycle livenessProbe name ports readinessProbe resizePolicy
    resources restartPolicy restartPolicyRules securityContext startupProbe stdin stdinOnce terminationMessagePath
    terminationMessagePolicy tty volumeDevices volumeMounts workingDir"""
)
_CONTEXT = _names(
    """allowPrivilegeEscalation appArmorProfile capabilities fsGroup fsGroupChangePolicy privileged procMount
    readOnlyRootFilesystem runAsGroup runAsNonRoot runAsUser seLinuxChangePolicy seLinuxOptions seccompProfile
    supplementalGroups supplementalGroupsPolicy sysctls windowsOptions"""
)
_AUTOSCALER = _names(
    """args command env envFrom idleTimeoutSeconds image imagePullPolicy resources securityContext upscalingMode version
    volumeMounts"""
)
_ENTRY = _names("name value valueFrom")
_AUTH = _names("enableK8sTokenAuth mode secretName")
_TOP = _names("apiVersion kind metadata spec status")


def misspelt(document: dict[str, Any]) -> Iterator[Violation]:
    """Fields of a RayJob, RayCluster or RayCronJob that are nearly others."""
    if document["kind"] == "RayCronJob":
        for found in misspelt(job_of(document)):
            yield Violation(in_template(found.path), found.got, found.fix)
        return
    yield from _near("", document, _TOP)
    if document["kind"] == "RayJob":
        yield from _near("spec", document["spec"], _JOB)
    for path, cluster in clusters(document):
        yield from _near(path, cluster, _CLUSTER)
        yield from _near(f"{path}.authOptions", cluster.get("authOptions") or {}, _AUTH)
        yield from _near(f"{path}.autoscalerOptions", cluster.get("autoscalerOptions") or {}, _AUTOSCALER)
        yield from _near(f"{path}.headGroupSpec", cluster.get("headGroupSpec") or {}, _GROUP)
        for index, group in enumerate(cluster.get("workerGroupSpecs") or []):
            yield from _near(f"{path}.workerGroupSpecs[{index}]", group, _GROUP)
    templates = [*pod_templates(document), ("spec.submitterPodTemplate", document["spec"].get("submitterPodTemplate"))]
    for path, template in templates:
        spec = (template or {}).get("spec") or {}
        yield from _near(f"{path}.spec", spec, _POD)
        yield from _near(f"{path}.spec.securityContext", spec.get("securityContext") or {}, _CONTEXT)
        for kind in ("containers", "initContainers"):
            for index, container in enumerate(spec.get(kind) or []):
                where = f"{path}.spec.{kind}[{index}]"
                yield from _near(where, container, _CONTAINER)
                yield from _near(f"{where}.securityContext", container.get("securityContext") or {}, _CONTEXT)
                for number, entry in enumerate(container.get("env") or []):
                    yield from _near(f"{where}.env[{number}]", entry, _ENTRY)


def _near(path: str, holder: Mapping[str, Any], known: frozenset[str]) -> Iterator[Violation]:
    # Shortest first: of several names begun, the one that adds least is meant, in every process the same.
    lower = {name.lower(): name for name in sorted(known, key=lambda name: (len(name), name))}
    for field in map(str, holder):
        near = difflib.get_close_matches(field.lower(), lower, n=1, cutoff=0.8)
        begun = [name for name in lower if len(field) >= 5 and name.startswith(field.lower())]
        if field not in known and (near or begun):
            yield Violation(
                f"{path}.{field}".lstrip("."), "no such field", f"did you mean {lower[(near or begun)[0]]}?"
            )
