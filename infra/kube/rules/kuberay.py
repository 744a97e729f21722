"""What KubeRay's operator refuses after the API server has accepted it.

Read off KubeRay 1.7 (`ray-operator/controllers/ray/utils/validation.go`). None of it is in the schemas; a RayJob that
breaks one ends as `ValidationFailed`, and may hold a queue's quota for ever.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

from data.errors import UserError
from data.files.yaml_files import parse_yaml
from infra.kube.documents import Violation, clusters, in_template, job_of, pod_templates, under
from infra.kube.rules.names import (
    AS_LABEL,
    AS_SUBDOMAIN,
    AS_VALUE,
    is_dns_1035,
    is_label,
    is_label_key,
    is_label_value,
    is_subdomain,
)
from infra.kube.rules.schedule import schedule_rules

FT_ANNOTATION = "ray.io/ft-enabled"
STORAGE_ANNOTATION = "ray.io/external-storage-namespace"
SERVICES = ("ClusterIP", "NodePort", "LoadBalancer")
MANAGERS = ("ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue")
V2_VARIABLE = "RAY_enable_autoscaler_v2"
LONGEST_NAME = {"RayJob": 47, "RayCluster": 53, "RayCronJob": 36}


def version_of(text: Any) -> tuple[int, ...]:
    """A version's numbers; `(0,)` where there are none."""
    return tuple(int(number) for number in re.findall(r"\d+", str(text or ""))[:3]) or (0,)


def operator_rules(document: dict[str, Any]) -> Iterator[Violation]:
    """What a RayJob, RayCluster or RayCronJob would be refused for."""
    kind = document["kind"]
    yield from _name(document, kind)
    if kind == "RayJob":
        yield from _job(document)
    elif kind == "RayCronJob":
        yield from _cron(document)
    for path, cluster in clusters(document):
        yield from _auth(path, cluster, kind)
        yield from _groups(path, cluster)
        yield from _autoscaling(path, cluster)
        yield from _fault_tolerance(path, cluster, under(document, "metadata.annotations") or {})
        yield from _gates(path, cluster)
    templates = list(pod_templates(document))
    if kind == "RayJob" and "submitterPodTemplate" in document["spec"]:
        templates.append(("spec.submitterPodTemplate", document["spec"]["submitterPodTemplate"]))
    for path, template in templates:
        if not under(template, "spec.containers"):
            yield Violation(f"{path}.spec.containers", "no container", "describe one; of a node the first is Ray's")


def _name(document: dict[str, Any], kind: str) -> Iterator[Violation]:
    for key, value in (under(document, "metadata.labels") or {}).items():
        fits = is_label_key(str(key)) and is_label_value(str(value))
        if not fits and not str(key).startswith("kueue.x-k8s.io/"):  # Kueue's are looked at by its own rules
            yield Violation("metadata.labels", f"{key}: {value}", AS_VALUE)
    namespace = str(under(document, "metadata.namespace") or "")
    if namespace and not is_label(namespace):
        yield Violation("metadata.namespace", repr(namespace), AS_LABEL)
    name = str(under(document, "metadata.name") or "")
    longest = LONGEST_NAME[kind]
    begin = str(under(document, "metadata.generateName") or "")
    if not name and begin and kind != "RayCronJob":
        if not is_dns_1035(f"{begin}00000") or len(begin) + 5 > longest:
            fix = f"a-z, 0-9 and -, a letter first, {longest - 5} characters at most: five more are appended"
            yield Violation("metadata.generateName", repr(begin), fix)
    elif not name and not begin and document.get("metadata") != {}:
        yield Violation("metadata.name", "missing", "name it")
    for key in under(document, "metadata.annotations") or {}:
        if not is_label_key(str(key).lower()):
            yield Violation("metadata.annotations", repr(key), "use domain/name, as labels do")
    if len(name) > longest:
        yield Violation("metadata.name", f"{len(name)} characters", f"a {kind}'s may have {longest}: shorten it")
    elif name and not is_dns_1035(name):
        yield Violation("metadata.name", repr(name), "use a-z, 0-9 and -, a letter first, no - at the end")


def _cron(document: dict[str, Any]) -> Iterator[Violation]:
    yield from schedule_rules(document.get("spec") or {})
    for found in operator_rules(job_of(document)):
        yield replace(found, path=in_template(found.path))


def _job(document: dict[str, Any]) -> Iterator[Violation]:
    spec = document.get("spec") or {}
    selector, ends = spec.get("clusterSelector") or None, bool(spec.get("shutdownAfterJobFinishes"))
    mode, backoff = spec.get("submissionMode"), spec.get("backoffLimit", 0)
    if spec.get("managedBy", MANAGERS[0]) not in MANAGERS:
        yield Violation("spec.managedBy", f"{spec['managedBy']}", f"one of {', '.join(MANAGERS)}, or leave it out")
    if selector is None and "rayClusterSpec" not in spec:
        yield Violation("spec.rayClusterSpec", "missing", "describe the job's cluster, or name one in clusterSelector")
    if selector and not selector.get("ray.io/cluster"):
        yield Violation("spec.clusterSelector", f"{selector}", "name the cluster: ray.io/cluster: NAME")
    if spec.get("suspend"):
        if not ends:
            yield Violation("spec.suspend", "true", "it needs shutdownAfterJobFinishes: true")
        if selector is not None:
            yield Violation("spec.suspend", "true", "it cannot be with clusterSelector")
    ttl = spec.get("ttlSecondsAfterFinished", 0)
    if ttl < 0:
        yield Violation("spec.ttlSecondsAfterFinished", f"{ttl}", "0 or more")
    if ttl > 0 and not ends:
        yield Violation("spec.ttlSecondsAfterFinished", f"{ttl}", "it needs shutdownAfterJobFinishes: true")
    if backoff < 0:
        yield Violation("spec.backoffLimit", f"{backoff}", "0 or more")
    if backoff > 0 and (selector is not None or mode == "InteractiveMode"):
        yield Violation("spec.backoffLimit", f"{backoff}", "0 with clusterSelector or InteractiveMode")
    if mode == "SidecarMode":
        for field in ("submitterPodTemplate", "submitterConfig", "clusterSelector"):
            if spec.get(field):
                yield Violation(f"spec.{field}", "set", "it cannot be with submissionMode: SidecarMode")
        restart = under(spec, "rayClusterSpec.headGroupSpec.template.spec.restartPolicy")
        if restart not in (None, "Never"):
            path = "spec.rayClusterSpec.headGroupSpec.template.spec.restartPolicy"
            yield Violation(path, f"{restart}", "Never, or leave it out, with submissionMode: SidecarMode")
    for field in ("activeDeadlineSeconds", "preRunningDeadlineSeconds"):
        if spec.get(field, 1) <= 0:
            yield Violation(f"spec.{field}", f"{spec[field]}", "above 0")
    if under(spec, "rayClusterSpec.upgradeStrategy.type") is not None:
        yield Violation("spec.rayClusterSpec.upgradeStrategy", "set", "leave it out: the cluster is the job's")
    if under(spec, "submitterConfig.backoffLimit") is not None and spec["submitterConfig"]["backoffLimit"] < 0:
        yield Violation("spec.submitterConfig.backoffLimit", f"{spec['submitterConfig']['backoffLimit']}", "0 or more")
    try:
        contents = parse_yaml(spec.get("runtimeEnvYAML", ""), octal=True)
        if any(content is not None and not isinstance(content, dict) for content in contents):
            yield Violation("spec.runtimeEnvYAML", f"{contents[0]!r}", "write a mapping: env_vars: {NAME: value}")
    except UserError as error:
        yield Violation("spec.runtimeEnvYAML", str(error), "write it as YAML")
    yield from _deletion(spec, ends)


def _deletion(spec: dict[str, Any], ends: bool) -> Iterator[Violation]:
    strategy = spec.get("deletionStrategy") or {}
    path, rules = "spec.deletionStrategy.deletionRules", strategy.get("deletionRules") or []
    for old in ("onSuccess", "onFailure"):
        if old in strategy:
            fix = "write deletionRules: these do nothing where a deadline passes"
            yield Violation(f"spec.deletionStrategy.{old}", "deprecated", fix)
    if rules and ends:
        yield Violation(path, f"{len(rules)} rules", "they exclude shutdownAfterJobFinishes: leave one of them out")
    if "deletionStrategy" in spec and not strategy:
        yield Violation(path, "no rules", "write some, or leave the strategy out")
    seen: dict[tuple[str, str], int] = {}
    for index, rule in enumerate(rules):
        policy, condition = str(rule.get("policy")), rule.get("condition") or {}
        if ("jobStatus" in condition) == ("jobDeploymentStatus" in condition):
            got = "both states" if "jobStatus" in condition else "no state"
            yield Violation(f"{path}[{index}].condition", got, "either jobStatus or jobDeploymentStatus")
            continue
        state = str(condition.get("jobStatus") or condition.get("jobDeploymentStatus"))
        if (state, policy) in seen:
            yield Violation(f"{path}[{index}]", f"{policy} at {state} again", "one rule for each state and policy")
        seen[state, policy] = condition.get("ttlSeconds", 0)
        if seen[state, policy] < 0:
            yield Violation(f"{path}[{index}].condition.ttlSeconds", f"{seen[state, policy]}", "0 or more")
        if policy == "DeleteWorkers" and under(spec, "rayClusterSpec.enableInTreeAutoscaling"):
            yield Violation(f"{path}[{index}].policy", policy, "not with autoscaling: use DeleteCluster")
        if policy in ("DeleteWorkers", "DeleteCluster") and spec.get("clusterSelector"):
            yield Violation(f"{path}[{index}].policy", policy, "not with clusterSelector: the cluster is not the job's")
    order = ("DeleteWorkers", "DeleteCluster", "DeleteSelf")
    for state in {state for state, _ in seen}:
        times = [(policy, seen[state, policy]) for policy in order if (state, policy) in seen]
        for (first, sooner), (then, later) in pairwise(times):
            if sooner > later:
                got = f"{first} at {state} after {sooner} s, {then} after {later} s"
                yield Violation(path, got, f"{then} cannot come before {first}")


def _auth(path: str, cluster: dict[str, Any], kind: str) -> Iterator[Violation]:
    auth, version = cluster.get("authOptions") or {}, version_of(cluster.get("rayVersion"))
    if cluster.get("rayVersion") and not re.match(r"v?\d+(\.\d+)*", str(cluster["rayVersion"])):
        yield Violation(f"{path}.rayVersion", repr(cluster["rayVersion"]), "begin with the numbers: 2.60.0")
    if auth.get("secretName") and not is_subdomain(str(auth["secretName"])):
        yield Violation(f"{path}.authOptions.secretName", repr(auth["secretName"]), AS_SUBDOMAIN)
    if auth.get("mode") == "token" and version < (2, 52):
        yield Violation(f"{path}.rayVersion", f"{cluster.get('rayVersion')}", "tokens need Ray 2.52 or newer")
    if auth.get("enableK8sTokenAuth"):
        if kind != "RayCluster":
            yield Violation(f"{path}.authOptions.enableK8sTokenAuth", "true", f"a {kind} cannot: use secretName")
        elif auth.get("secretName") or version < (2, 55) or auth.get("mode") != "token":
            fix = "it needs mode: token, Ray 2.55 or newer, and no secretName"
            yield Violation(f"{path}.authOptions.enableK8sTokenAuth", "true", fix)


_PARAMS_FOR = {"CPU": "num-cpus", "GPU": "num-gpus", "memory": "memory"}


def _groups(path: str, cluster: dict[str, Any]) -> Iterator[Violation]:
    groups = [(f"{path}.headGroupSpec", cluster.get("headGroupSpec") or {})]
    groups += [
        (f"{path}.workerGroupSpecs[{i}]", group) for i, group in enumerate(cluster.get("workerGroupSpecs") or [])
    ]
    for where, group in groups:
        params = group.get("rayStartParams") or {}
        if group.get("resources"):
            for name in sorted({*_PARAMS_FOR.values(), "resources"} & params.keys()):
                yield Violation(f"{where}.rayStartParams.{name}", "beside resources", "say it in one of the two")
        for name, value in params.items():
            if not isinstance(value, str):
                yield Violation(
                    f"{where}.rayStartParams.{name}", f"{value!r} is no text", f'write it as text: "{value}"'
                )
        for name in ("num-cpus", "num-gpus", "memory"):
            if name in params and not re.fullmatch(r"\d+(\.\d+)?", str(params[name])):
                yield Violation(f"{where}.rayStartParams.{name}", repr(params[name]), 'a number as text: "4"')
        if group.get("serviceType", "ClusterIP") not in SERVICES:
            yield Violation(f"{where}.serviceType", repr(group["serviceType"]), f"one of {', '.join(SERVICES)}")
        if "labels" in params:
            yield Violation(f"{where}.rayStartParams.labels", "set", f"write {where}.labels")
        for key, value in (group.get("labels") or {}).items():
            if not is_label_key(str(key)) or not is_label_value(str(value)):
                yield Violation(f"{where}.labels", f"{key}: {value}", AS_VALUE)
        least, most = group.get("minReplicas", 0), group.get("maxReplicas", 2**31 - 1)
        if least < 0 or most < 0 or least > most:
            yield Violation(f"{where}.minReplicas", f"{least}, at most {most}", "0 <= minReplicas <= maxReplicas")
        if group.get("replicas", 0) < 0:
            yield Violation(f"{where}.replicas", f"{group['replicas']}", "0 or more")
        if group.get("idleTimeoutSeconds", 0) < 0:
            yield Violation(f"{where}.idleTimeoutSeconds", f"{group['idleTimeoutSeconds']}", "0 or more")
        if group.get("priority") and version_of(cluster.get("rayVersion")) < (2, 56):
            yield Violation(f"{where}.priority", f"{group['priority']}", "it needs Ray 2.56 or newer")


def _autoscaling(path: str, cluster: dict[str, Any]) -> Iterator[Violation]:
    on, options = bool(cluster.get("enableInTreeAutoscaling")), cluster.get("autoscalerOptions") or {}
    head = f"{path}.headGroupSpec.template"
    told = {entry.get("name"): entry.get("value") for entry in _environment(under(cluster, "headGroupSpec.template"))}
    by_variable = told.get(V2_VARIABLE) in ("1", "true")
    for index, group in enumerate(cluster.get("workerGroupSpecs") or []):
        where = f"{path}.workerGroupSpecs[{index}]"
        for field in ("idleTimeoutSeconds", "priority"):
            second = by_variable or (on and options.get("version") == "v2")
            if not second and (group.get(field) or (field == "idleTimeoutSeconds" and field in group)):
                fix = "it needs enableInTreeAutoscaling, and autoscalerOptions.version: v2"
                yield Violation(f"{where}.{field}", f"{group[field]}", fix)
        if on and group.get("suspend"):
            yield Violation(f"{where}.suspend", "true", "not with autoscaling")
    for field, known in (("version", ("v1", "v2")), ("upscalingMode", ("Default", "Aggressive", "Conservative"))):
        if options.get(field, known[0]) not in known:
            yield Violation(f"{path}.autoscalerOptions.{field}", f"{options[field]}", f"one of {', '.join(known)}")
    if options.get("idleTimeoutSeconds", 0) < 0:
        where = f"{path}.autoscalerOptions.idleTimeoutSeconds"
        yield Violation(where, f"{options['idleTimeoutSeconds']}", "0 or more")
    for entry in options.get("env") or []:
        if entry.get("name") == "KUBERAY_GEN_AUTOSCALER_START_CMD":
            yield Violation(f"{path}.autoscalerOptions.env", f"{entry['name']}", "it is the operator's: leave it out")
    if (V2_VARIABLE in told and on and "version" in options) or (by_variable and not on):
        fix = "say it once, in autoscalerOptions.version, with enableInTreeAutoscaling"
        yield Violation(f"{head}.spec.containers[0].env", V2_VARIABLE, fix)
    # Ray's own default is version 2 from 2.47 on, whose nodes must not come back by themselves.
    second = options.get("version") == "v2" or (
        "version" not in options and version_of(cluster.get("rayVersion")) >= (2, 47)
    )
    for where, template in pod_templates({"kind": "RayCluster", "spec": cluster}):
        restart = under(template, "spec.restartPolicy")
        if on and second and restart not in (None, "Never"):
            where = where.replace("spec", path, 1)
            yield Violation(f"{where}.spec.restartPolicy", f"{restart}", "Never with autoscaling, or leave it out")


def _environment(template: dict[str, Any] | None) -> list[dict[str, Any]]:
    containers = under(template, "spec.containers") or [{}]
    return containers[0].get("env") or []


def _fault_tolerance(path: str, cluster: dict[str, Any], annotations: dict[str, Any]) -> Iterator[Violation]:
    options, head = cluster.get("gcsFaultToleranceOptions"), under(cluster, "headGroupSpec.template")
    told, params = [entry.get("name") for entry in _environment(head)], under(cluster, "headGroupSpec.rayStartParams")
    where = f"{path}.gcsFaultToleranceOptions"
    container, given = f"{path}.headGroupSpec.template.spec.containers[0].env", params or {}
    if "REDIS_USERNAME" in told or given.get("redis-username"):
        yield Violation(container, "a user name of Redis", f"say it in {where}.redisUsername")
    if options is None:
        if "RAY_REDIS_ADDRESS" in told and str(annotations.get(FT_ANNOTATION)).lower() != "true":
            yield Violation(container, "RAY_REDIS_ADDRESS", f"say it in {where}.redisAddress")
        return
    for annotation in (FT_ANNOTATION, STORAGE_ANNOTATION):
        if annotations.get(annotation):
            got = f"{annotation}: {annotations[annotation]}"
            yield Violation("metadata.annotations", got, f"leave it out: {where} says it")
    backend = options.get("backend", "redis")
    if backend == "redis" and "storage" in options:
        yield Violation(f"{where}.storage", "with redis", "only with backend: rocksdb")
    if backend == "rocksdb":
        for field in sorted(field for field in options if field.startswith("redis")):
            yield Violation(f"{where}.{field}", "with rocksdb", "only with backend: redis")
        storage = options.get("storage") or {}
        if "claimName" in storage and {"size", "storageClassName", "accessModes"} & storage.keys():
            yield Violation(f"{where}.storage.claimName", "beside a new claim's fields", "either a claim or its size")
    for name in ("RAY_REDIS_ADDRESS", "REDIS_PASSWORD"):
        if name in told:
            yield Violation(container, name, f"say it in {where}")
    if given.get("redis-password"):
        where_params = f"{path}.headGroupSpec.rayStartParams.redis-password"
        yield Violation(where_params, "set", f"say it in {where}.redisPassword.valueFrom")


def _gates(path: str, cluster: dict[str, Any]) -> Iterator[Violation]:
    """Fields that wait for a feature gate of the operator, all of them alpha and off."""
    gates = {
        "networkPolicy": ("RayClusterNetworkPolicy", "use NetworkPolicies"),
        "tlsOptions": ("RayClusterMTLS", "leave it out"),
        "historyServerOptions": ("RayClusterHistoryServer", "leave it out"),
    }
    for field, (gate, fix) in gates.items():
        if field in cluster:
            yield Violation(f"{path}.{field}", f"needs the feature gate {gate}, which is off", fix)
    if under(cluster, "gcsFaultToleranceOptions.backend") == "rocksdb":
        got = "needs the feature gate GCSFaultToleranceEmbeddedStorage, which is off"
        yield Violation(
            f"{path}.gcsFaultToleranceOptions.backend", got, "use redis, or nothing: sweeps resume by themselves"
        )
