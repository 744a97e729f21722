"""What KubeRay's operator, and Kueue's webhook, refuse after the API server has accepted it.

Read off KubeRay 1.7 (`ray-operator/controllers/ray/utils/validation.go`) and Kueue 0.19
(`pkg/controller/jobs/rayjob/rayjob_webhook.go`). None of it is in the schemas; a RayJob that breaks one ends as
`ValidationFailed`, and may hold a queue's quota for ever.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from data.errors import UserError
from data.files.yaml_files import parse_yaml
from infra.kube.cron import schedule_rules
from infra.kube.documents import Violation, clusters, in_template, job_of, pod_templates, under

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
FT_ANNOTATION = "ray.io/ft-enabled"
ELASTIC_ANNOTATION = "kueue.x-k8s.io/elastic-job"
LONGEST_NAME = {"RayJob": 47, "RayCluster": 53, "RayCronJob": 36}
MOST_QUEUED_GROUPS = 17

_DNS_1123 = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


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
    for path, template in pod_templates(document):
        if not under(template, "spec.containers"):
            yield Violation(f"{path}.spec.containers", "no container", "the first one is Ray's")


def _name(document: dict[str, Any], kind: str) -> Iterator[Violation]:
    namespace = str(under(document, "metadata.namespace") or "")
    if namespace and not _DNS_1123.fullmatch(namespace):
        fix = "use a-z, 0-9 and -, no - at an end, 63 characters or fewer"
        yield Violation("metadata.namespace", repr(namespace), fix)
    name = str(under(document, "metadata.name") or "")
    longest = LONGEST_NAME[kind]
    if name and not _DNS_1035.fullmatch(name):
        yield Violation("metadata.name", repr(name), "use a-z, 0-9 and -, a letter first, no - at the end")
    if len(name) > longest:
        yield Violation("metadata.name", f"{len(name)} characters", f"a {kind}'s may have {longest}: shorten it")


def _cron(document: dict[str, Any]) -> Iterator[Violation]:
    yield from schedule_rules(document.get("spec") or {})
    yield from map(in_template, operator_rules(job_of(document)))


def _job(document: dict[str, Any]) -> Iterator[Violation]:
    spec = document.get("spec") or {}
    selector, ends = spec.get("clusterSelector"), bool(spec.get("shutdownAfterJobFinishes"))
    mode, backoff = spec.get("submissionMode"), spec.get("backoffLimit", 0)
    if selector is None and "rayClusterSpec" not in spec:
        yield Violation("spec.rayClusterSpec", "missing", "describe the job's cluster, or name one in clusterSelector")
    if selector is not None and not selector.get("ray.io/cluster"):
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
            if field in spec:
                yield Violation(f"spec.{field}", "set", "it cannot be with submissionMode: SidecarMode")
        restart = under(spec, "rayClusterSpec.headGroupSpec.template.spec.restartPolicy")
        if restart not in (None, "Never"):
            path = "spec.rayClusterSpec.headGroupSpec.template.spec.restartPolicy"
            yield Violation(path, f"{restart}", "Never, or leave it out, with submissionMode: SidecarMode")
    if spec.get("activeDeadlineSeconds", 1) <= 0:
        yield Violation("spec.activeDeadlineSeconds", f"{spec['activeDeadlineSeconds']}", "above 0")
    try:
        parse_yaml(spec.get("runtimeEnvYAML", ""))
    except UserError as error:
        yield Violation("spec.runtimeEnvYAML", str(error), "write it as YAML")
    yield from _deletion(spec, ends)
    if QUEUE_LABEL in (under(document, "metadata.labels") or {}):
        yield from _queued(document, spec, ends)


def _deletion(spec: dict[str, Any], ends: bool) -> Iterator[Violation]:
    strategy = spec.get("deletionStrategy") or {}
    path, rules = "spec.deletionStrategy.deletionRules", strategy.get("deletionRules") or []
    for old in ("onSuccess", "onFailure"):
        if old in strategy:
            yield Violation(f"spec.deletionStrategy.{old}", "deprecated", "write deletionRules")
    if rules and ends:
        yield Violation(path, f"{len(rules)} rules", "they exclude shutdownAfterJobFinishes: leave one of them out")
    seen: dict[tuple[str, str], int] = {}
    for index, rule in enumerate(rules):
        policy, condition = str(rule.get("policy")), rule.get("condition") or {}
        state = str(condition.get("jobStatus") or condition.get("jobDeploymentStatus"))
        if (state, policy) in seen:
            yield Violation(f"{path}[{index}]", f"{policy} at {state} again", "one rule for each state and policy")
        seen[state, policy] = condition.get("ttlSeconds", 0)
        if policy == "DeleteWorkers" and under(spec, "rayClusterSpec.enableInTreeAutoscaling"):
            yield Violation(f"{path}[{index}].policy", policy, "not with autoscaling: use DeleteCluster")
        if policy in ("DeleteWorkers", "DeleteCluster") and "clusterSelector" in spec:
            yield Violation(f"{path}[{index}].policy", policy, "not with clusterSelector: the cluster is not the job's")
    order = ("DeleteWorkers", "DeleteCluster", "DeleteSelf")
    for state in {state for state, _ in seen}:
        times = [(policy, seen[state, policy]) for policy in order if (state, policy) in seen]
        for (first, sooner), (then, later) in pairwise(times):
            if sooner > later:
                got = f"{first} at {state} after {sooner} s, {then} after {later} s"
                yield Violation(path, got, f"{then} cannot come before {first}")


def _queued(document: dict[str, Any], spec: dict[str, Any], ends: bool) -> Iterator[Violation]:
    """Kueue's webhook, of a job in one of its queues."""
    if not ends:
        yield Violation("spec.shutdownAfterJobFinishes", "false", "true in a queue, with ttlSecondsAfterFinished")
    if "clusterSelector" in spec and "rayClusterSpec" in spec:
        yield Violation("spec.clusterSelector", "beside rayClusterSpec", "leave it out in a queue")
    groups = under(spec, "rayClusterSpec.workerGroupSpecs") or []
    path = "spec.rayClusterSpec.workerGroupSpecs"
    if len(groups) > MOST_QUEUED_GROUPS:
        yield Violation(path, f"{len(groups)} groups", f"Kueue takes {MOST_QUEUED_GROUPS}: join some")
    for index, group in enumerate(groups):
        if group.get("groupName") == "head":
            yield Violation(f"{path}[{index}].groupName", "head", "Kueue calls the head so: name it otherwise")
    annotations = under(document, "metadata.annotations") or {}
    if under(spec, "rayClusterSpec.enableInTreeAutoscaling") and annotations.get(ELASTIC_ANNOTATION) != "true":
        path = "spec.rayClusterSpec.enableInTreeAutoscaling"
        yield Violation(path, "true in a queue", f'it needs the annotation {ELASTIC_ANNOTATION}: "true"')


def _auth(path: str, cluster: dict[str, Any], kind: str) -> Iterator[Violation]:
    auth, version = cluster.get("authOptions") or {}, version_of(cluster.get("rayVersion"))
    if auth.get("mode") == "token" and version < (2, 52):
        yield Violation(f"{path}.rayVersion", f"{cluster.get('rayVersion')}", "tokens need Ray 2.52 or newer")
    if auth.get("enableK8sTokenAuth"):
        if kind != "RayCluster":
            yield Violation(f"{path}.authOptions.enableK8sTokenAuth", "true", f"a {kind} cannot: use secretName")
        elif auth.get("secretName") or version < (2, 55):
            fix = "it needs Ray 2.55 or newer, and no secretName"
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
        if "labels" in params:
            yield Violation(f"{where}.rayStartParams.labels", "set", f"write {where}.labels")
        for key, value in (group.get("labels") or {}).items():
            if not _LABEL_KEY.fullmatch(str(key)) or not _LABEL_VALUE.fullmatch(str(value)):
                yield Violation(f"{where}.labels", f"{key}: {value}", "use Kubernetes' syntax of labels")
        least, most = group.get("minReplicas", 0), group.get("maxReplicas", 2**31 - 1)
        if least < 0 or most < 0 or least > most:
            yield Violation(f"{where}.minReplicas", f"{least}, at most {most}", "0 <= minReplicas <= maxReplicas")
        if group.get("idleTimeoutSeconds", 0) < 0:
            yield Violation(f"{where}.idleTimeoutSeconds", f"{group['idleTimeoutSeconds']}", "0 or more")
        if group.get("priority") and version_of(cluster.get("rayVersion")) < (2, 56):
            yield Violation(f"{where}.priority", f"{group['priority']}", "it needs Ray 2.56 or newer")


def _autoscaling(path: str, cluster: dict[str, Any]) -> Iterator[Violation]:
    on, options = bool(cluster.get("enableInTreeAutoscaling")), cluster.get("autoscalerOptions") or {}
    version = version_of(cluster.get("rayVersion"))
    second = options.get("version") == "v2" or ("version" not in options and version >= (2, 47))
    for index, group in enumerate(cluster.get("workerGroupSpecs") or []):
        where = f"{path}.workerGroupSpecs[{index}]"
        for field in ("idleTimeoutSeconds", "priority"):
            if group.get(field) and not (on and second):
                yield Violation(f"{where}.{field}", f"{group[field]}", "it needs autoscaling, version v2")
        if on and second and group.get("suspend"):
            yield Violation(f"{where}.suspend", "true", "not with autoscaling")
    for entry in options.get("env") or []:
        if entry.get("name") == "KUBERAY_GEN_AUTOSCALER_START_CMD":
            yield Violation(f"{path}.autoscalerOptions.env", f"{entry['name']}", "it is the operator's: leave it out")
    document = {"kind": "RayCluster", "spec": cluster}
    for where, template in pod_templates(document):
        where = where.replace("spec", path, 1)
        restart = under(template, "spec.restartPolicy")
        if on and second and restart not in (None, "Never"):
            yield Violation(f"{where}.spec.restartPolicy", f"{restart}", "Never with autoscaling, or leave it out")
        for name in (entry.get("name") for entry in _environment(template)):
            if name == "RAY_enable_autoscaler_v2" and (not on or "version" in options):
                fix = "say it once, in autoscalerOptions.version, with enableInTreeAutoscaling"
                yield Violation(f"{where}.spec.containers[0].env", name, fix)


def _environment(template: dict[str, Any]) -> list[dict[str, Any]]:
    containers = under(template, "spec.containers") or [{}]
    return containers[0].get("env") or []


def _fault_tolerance(path: str, cluster: dict[str, Any], annotations: dict[str, Any]) -> Iterator[Violation]:
    options = cluster.get("gcsFaultToleranceOptions")
    if options is None:
        return
    if FT_ANNOTATION in annotations:
        fix = f"leave it out: {path}.gcsFaultToleranceOptions says it"
        yield Violation("metadata.annotations", f"{FT_ANNOTATION}: {annotations[FT_ANNOTATION]}", fix)
    where, backend = f"{path}.gcsFaultToleranceOptions", options.get("backend", "redis")
    if backend == "redis" and "storage" in options:
        yield Violation(f"{where}.storage", "with redis", "only with backend: rocksdb")
    if backend == "rocksdb":
        for field in sorted(field for field in options if field.startswith("redis")):
            yield Violation(f"{where}.{field}", "with rocksdb", "only with backend: redis")
        storage = options.get("storage") or {}
        if "claimName" in storage and {"size", "storageClassName", "accessModes"} & storage.keys():
            yield Violation(f"{where}.storage.claimName", "beside a new claim's fields", "either a claim or its size")
    head = under(cluster, "headGroupSpec.template") or {}
    for name in (entry.get("name") for entry in _environment(head)):
        if name in ("RAY_REDIS_ADDRESS", "REDIS_PASSWORD"):
            yield Violation(f"{path}.headGroupSpec.template.spec.containers[0].env", name, f"say it in {where}")
    if "redis-password" in (under(cluster, "headGroupSpec.rayStartParams") or {}):
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
