"""What real parts answered to each planted mistake, and that the same is said here before anything is applied.

In the words that kube-apiserver 1.36.2 and its Pod Security admission had for the pods that KubeRay 1.7.0 asked for, no
more of them than is needed; the RayJobs themselves were taken (201). Fields are called as its validation calls them.
"""

from __future__ import annotations

import pytest

from infra.kube.check import check_document
from infra.kube.conformance.pods import BY_POD, BY_POD_SECURITY
from infra.kube.pods import pods_of
from infra.kube.rayjob import rayjob
from infra.kube.server.dry_run import ask
from infra.kube.server.named import named
from support.kube_requests import request
from support.kube_server import Cluster, refusal, standing

INVALID = {
    "half a GPU": ("spec.containers[0].resources.limits[nvidia.com/gpu]", "must be an integer"),
    "GPUs in thousandths": ("spec.containers[0].resources.limits[nvidia.com/gpu]", "must be an integer"),
    "more CPUs asked for than allowed": (
        "spec.containers[0].resources.requests",
        "must be less than or equal to cpu limit of 8",
    ),
    "a container in capitals": ("spec.containers[0].name", "a lowercase RFC 1123 label must consist of"),
    "a container with an underscore": ("spec.containers[0].name", "a lowercase RFC 1123 label must consist of"),
    "a variable with an equals sign": ("spec.containers[0].env[1].name", "environment variable names must not contain"),
    "a value from two places": (
        "spec.containers[0].env[1].valueFrom",
        "may not be specified when `value` is not empty",
    ),
    "a mount of no volume": ("spec.containers[0].volumeMounts[1].name", 'Not found: "cache"'),
    "a volume of two kinds": ("spec.volumes[1].configMap", "may not specify more than 1 volume type"),
    "a label of two words": ("metadata.labels", "a valid label must be an empty string or consist of"),
    "nodes of two words": ("spec.nodeSelector", "a valid label must be an empty string or consist of"),
    "a pull policy in small letters": ("spec.containers[0].imagePullPolicy", "Unsupported value"),
    "an unknown effect of taints": ("spec.tolerations[0].effect", "Unsupported value"),
    "a taint that exists with a value": ("spec.tolerations[0].operator", "must be empty when `operator` is 'Exists'"),
    "a long name for a port": ("spec.containers[0].ports[0].name", "must be no more than 15 characters"),
    "a port above all": ("spec.containers[0].ports[0].containerPort", "must be between 1 and 65535"),
    "a blank behind an image": ("spec.containers[0].image", "must not have leading or trailing whitespace"),
    "a Secret with an underscore": ("spec.containers[0].envFrom[1].secretRef", "a lowercase RFC 1123 subdomain"),
    "a group with an underscore": ("metadata.generateName", "a lowercase RFC 1123 subdomain"),
    "a group that begins with a dash": ("metadata.labels", "a valid label must be an empty string or consist of"),
    "a group of 70 characters": ("metadata.labels", "must be no more than 63 characters"),
    "a submitter that restarts": ("spec.template.spec.restartPolicy", 'Unsupported value: "Always"'),
}
FORBIDDEN = {
    "no capabilities dropped": 'unrestricted capabilities (container "ray" must set securityContext.capabilities.drop',
    "a capability added": 'unrestricted capabilities (container "ray" must not include "SYS_PTRACE"',
    "no profile of system calls": "seccompProfile (pod or container",
    "the operator's own autoscaler": 'container "autoscaler" must set securityContext',
    "an autoscaler without a context": 'container "autoscaler" must set securityContext',
    "the operator's own submitter": 'container "ray-job-submitter" must set securityContext',
    "a submitter that drops nothing": 'container "submitter" must set securityContext.capabilities.drop',
    "the operator's own sidecar": 'container "ray-job-submitter" must set securityContext',
    "a second container that says little": 'container "logs" must set securityContext.capabilities.drop',
    "a folder of the node": 'restricted volume types (volume "more" uses restricted volume type "hostPath")',
    "the node's network": "host namespaces (hostNetwork=true)",
}


@pytest.mark.parametrize("what", [*INVALID, *FORBIDDEN])
def test_what_was_refused_there_is_refused_here_before(what: str) -> None:
    change, path = {**BY_POD, **BY_POD_SECURITY}[what]
    job = rayjob(request())
    sound = [pod.manifest for pod in pods_of(job)]
    change(job)
    assert any(found.path.startswith(path) for found in check_document(job, None))

    # And by the server itself, where the user may make pods: its own words, at the template that they are of.
    cluster = Cluster()
    for one in named(job, "seldtune"):
        cluster.objects[one.place] = {"kind": one.kind}
    (unsound,) = [pod for pod in pods_of(job) if pod.manifest not in sound] or [None]
    assert unsound is not None
    if what in INVALID:
        field, message = INVALID[what]
        answer = refusal(422, "Invalid", "Pod is invalid", causes=[{"field": field, "message": message}])
    else:
        message = f'pods "x" is forbidden: violates PodSecurity "restricted:latest": {FORBIDDEN[what]}'
        answer = refusal(403, "Forbidden", message)
    cluster.posts[f"/pods {unsound.manifest['metadata']['generateName']}"] = answer
    with standing(cluster) as (server, _):
        (found,) = ask(server, job).refused
    assert found.got == message
    assert found.path.startswith(unsound.path)
