"""What the operator accepts and a sweep's owner regrets: leaked clusters, leaked secrets, pods that do not fit."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from data.errors import UserError
from data.files.yaml_files import parse_yaml
from infra.cluster.growth import GROWS_TO_VARIABLE
from infra.kube.documents import Violation, clusters, in_template, job_of, pod_templates, under
from infra.kube.growth import grows_to
from infra.kube.pods import begins_with
from infra.kube.quantities import quantity
from infra.kube.rules.kuberay import version_of
from infra.kube.rules.names import is_image
from infra.kube.rules.pod_spec import tiny_memory
from infra.provenance.secrets import MASK, Redaction, looks_secret

SUBMISSION_MODES = ("K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode")
SAFE_TO_EVICT = "cluster-autoscaler.kubernetes.io/safe-to-evict"
LONGEST_KEPT_S = 24 * 3600
"""A cluster that stays longer than a day after its sweep's end is taken for forgotten."""
_TAG_RAY = re.compile(r"ray(\d+\.\d+\.\d+)")
LEAST_MEMORY = 64 * 2**20
"""Bytes with which no Ray node, and nothing that imports Python's libraries, starts."""
_RAYS_OWN = re.compile(r"(?:^|/)ray(?:-ml|-llm)?$")
"""Ray's own images, whose tags begin with Ray's version: rayproject/ray:2.60.0-py311-gpu."""


def platform_rules(document: dict[str, Any]) -> Iterator[Violation]:
    """What this project asks of a RayJob, RayCluster or RayCronJob beyond the operator's own rules."""
    if document["kind"] == "RayCronJob":
        for found in platform_rules(job_of(document)):
            yield replace(found, path=in_template(found.path))
        return
    yield from _secrets(document)
    if document["kind"] == "RayJob":
        yield from _ends(document.get("spec") or {})
        yield from _settings(document)
    for path, cluster in clusters(document):
        if under(cluster, "authOptions.mode") != "token":
            fix = "write authOptions: {mode: token, secretName: ...}: whoever reaches an open dashboard runs code"
            yield Violation(f"{path}.authOptions", "no token", fix)
        elif not under(cluster, "authOptions.secretName") and not under(cluster, "authOptions.enableK8sTokenAuth"):
            yield Violation(f"{path}.authOptions.secretName", "missing", "name the Secret with the key auth_token")
        yield from _head(path, cluster)
        yield from _images(path, cluster, document)
        yield from _first(document)
        yield from _some_workers(path, cluster)
        yield from _growth(path, cluster)
    for path, template in pod_templates(document):
        if containers := under(template, "spec.containers"):
            yield from _resources(f"{path}.spec", containers[0])


def _ends(spec: dict[str, Any]) -> Iterator[Violation]:
    mode = spec.get("submissionMode")
    if mode is not None and mode not in SUBMISSION_MODES:
        yield Violation("spec.submissionMode", repr(mode), f"choose one of {', '.join(SUBMISSION_MODES)}")
    if "jobId" in spec and mode != "InteractiveMode":
        yield Violation("spec.jobId", f"{spec['jobId']}", "leave it out: a retried job would be taken for the first")
    own = under(spec, "submitterPodTemplate.spec.containers") or [{}]
    if mode != "InteractiveMode" and not str(spec.get("entrypoint") or "").strip() and not own[0].get("command"):
        yield Violation("spec.entrypoint", "nothing to run", "write the command, as `seldtune render` does")
    named = own[0].get("env") or own[0].get("envFrom")
    if re.search(r"\$[{A-Za-z_]", str(spec.get("entrypoint") or "")) and not named and "submitterPodTemplate" in spec:
        fix = "write it out: a shell of the submitter's reads it, which has no such variable"
        yield Violation("spec.entrypoint", "a variable", fix)
    deadline, wait_s = spec.get("activeDeadlineSeconds"), spec.get("preRunningDeadlineSeconds")
    if deadline is not None and wait_s is not None and deadline <= wait_s:
        fix = f"more than preRunningDeadlineSeconds ({wait_s}): both count from the job's beginning"
        yield Violation("spec.activeDeadlineSeconds", f"{deadline}", fix)
    if not spec.get("clusterSelector") and not {"onSuccess", "onFailure"} & (spec.get("deletionStrategy") or {}).keys():
        yield from _gone(spec)


def _gone(spec: dict[str, Any]) -> Iterator[Violation]:
    """Each end of a job leads to a deletion of its cluster, within a day."""
    kept = f"within {LONGEST_KEPT_S} s"
    if spec.get("shutdownAfterJobFinishes"):
        if spec.get("ttlSecondsAfterFinished", 0) > LONGEST_KEPT_S:
            got = f"{spec['ttlSecondsAfterFinished']}: the cluster runs on for as long"
            yield Violation("spec.ttlSecondsAfterFinished", got, f"{LONGEST_KEPT_S} at most")
        return
    path, rules = "spec.deletionStrategy.deletionRules", under(spec, "deletionStrategy.deletionRules") or []
    for state, end in (("jobStatus: SUCCEEDED", "that succeeded"), ("jobDeploymentStatus: Failed", "that failed")):
        field, _, value = state.partition(": ")
        after_s = [
            condition.get("ttlSeconds", 0)
            for rule in rules
            if (condition := rule.get("condition") or {}).get(field) == value
            and rule.get("policy") in ("DeleteCluster", "DeleteSelf")
        ]
        if not after_s:
            fix = f"add DeleteCluster at it {kept}, or the cluster of a job {end} stays for ever"
            yield Violation(path, f"no rule for {state} deletes the cluster", fix)
        elif min(after_s) > LONGEST_KEPT_S:
            got = f"the cluster of a job {end} stays {min(after_s)} s"
            yield Violation(path, got, f"add DeleteCluster at {state} {kept}")


def _head(path: str, cluster: dict[str, Any]) -> Iterator[Violation]:
    head = cluster.get("headGroupSpec") or {}
    if cluster.get("enableInTreeAutoscaling") and under(head, "template.spec.automountServiceAccountToken") is False:
        where = f"{path}.headGroupSpec.template.spec.automountServiceAccountToken"
        yield Violation(where, "false", "true: the autoscaler beside the head asks the API server")
    cpus = (head.get("resources") or {}).get("CPU", (head.get("rayStartParams") or {}).get("num-cpus"))
    if str(cpus) != "0":
        where = f"{path}.headGroupSpec.rayStartParams.num-cpus"
        yield Violation(where, f"{cpus}", '"0": trials on the head would end the sweep with them')
    annotations = under(head, "template.metadata.annotations") or {}
    if annotations.get(SAFE_TO_EVICT) != "false":
        where = f"{path}.headGroupSpec.template.metadata.annotations"
        yield Violation(where, f"no {SAFE_TO_EVICT}", f'add {SAFE_TO_EVICT}: "false": moving the head ends the sweep')


def _growth(path: str, cluster: dict[str, Any]) -> Iterator[Violation]:
    if not cluster.get("enableInTreeAutoscaling"):
        return
    try:
        expected = grows_to(cluster)
    except UserError:
        return  # said of the limit itself
    containers = under(cluster, "headGroupSpec.template.spec.containers") or [{}]
    said = {entry.get("name"): entry.get("value") for entry in containers[0].get("env") or []}.get(GROWS_TO_VARIABLE)
    if said != expected:
        where = f"{path}.headGroupSpec.template.spec.containers[0].env"
        fix = f"{GROWS_TO_VARIABLE}: {expected}, its groups at their largest: sweeps count on it"
        yield Violation(where, f"{GROWS_TO_VARIABLE} is {said}" if said else f"no {GROWS_TO_VARIABLE}", fix)


def _images(path: str, cluster: dict[str, Any], document: dict[str, Any]) -> Iterator[Violation]:
    versions = set()
    for where, template in pod_templates(document):
        containers = under(template, "spec.containers") or [{}]
        where, image = f"{where}.spec.containers[0].image", str(containers[0].get("image") or "")
        name, _, digest = image.partition("@")
        tag = name.rpartition("/")[2].partition(":")[2]
        if image.strip() and not is_image(image.strip()):
            yield Violation(where, repr(image), "write registry/name:version, the name without capitals")
        elif not digest and tag in ("", "latest"):
            yield Violation(where, image or "no image", "name a version or a digest: nodes keep different ones of this")
        found = ray_of_image(image)
        versions |= {found} - {None}
        if found and version_of(found) != version_of(cluster.get("rayVersion")):
            yield Violation(where, image, f"its Ray is not {path}.rayVersion {cluster.get('rayVersion')}: align them")
    if len(versions) > 1:
        yield Violation(path, f"images of Ray {', '.join(sorted(map(str, versions)))}", "one Ray for all nodes")


def _first(document: dict[str, Any]) -> Iterator[Violation]:
    """KubeRay starts Ray in the first container of a pod, whatever it is."""
    pods = [(where, under(template, "spec.containers") or []) for where, template in pod_templates(document)]
    images = [[container.get("image") for container in containers] for _, containers in pods]
    firsts = [one[0] for one in images if one]
    for (where, _), own in zip(pods, images, strict=True):
        if own and firsts.count(own[0]) == 1 and any(image in firsts for image in own[1:]):
            yield Violation(f"{where}.spec.containers[0]", f"{own[0]} comes first", "put Ray's container first")


def _settings(document: dict[str, Any]) -> Iterator[Violation]:
    """Where its data is, a sweep knows from its environment alone."""
    if not str(under(document, "spec.entrypoint") or "").startswith("seldtune "):
        return
    for where, template in pod_templates(document):
        container = (under(template, "spec.containers") or [{}])[0]
        named = {entry.get("name") for entry in container.get("env") or []}
        if not container.get("envFrom") and "SELDTUNE_ROOT" not in named:
            fix = "envFrom ConfigMap seldtune-settings and the Secrets, as `seldtune render` writes it"
            yield Violation(f"{where}.spec.containers[0].envFrom", "no settings", fix)


def _some_workers(path: str, cluster: dict[str, Any]) -> Iterator[Violation]:
    """A cluster that nobody makes larger has to begin with workers: its head runs no trial."""
    groups = cluster.get("workerGroupSpecs") or []
    if cluster.get("enableInTreeAutoscaling") or any(begins_with(g) and not g.get("suspend") for g in groups):
        return
    fix = "enableInTreeAutoscaling: true, or replicas of a group that is not suspended"
    yield Violation(f"{path}.workerGroupSpecs", "no worker, and nobody who asks for one", fix)


def ray_of_image(image: str) -> str | None:
    """The Ray that an image's tag names, of this project's images or of Ray's own; nothing where it names none."""
    repository, _, tag = image.partition("@")[0].rpartition(":")
    if "/" in tag:
        return None
    found = _TAG_RAY.search(tag) or (re.match(r"(\d+\.\d+\.\d+)", tag) if _RAYS_OWN.search(repository) else None)
    return found[1] if found else None


def _resources(path: str, container: dict[str, Any]) -> Iterator[Violation]:
    """Of Ray's container: KubeRay tells Ray its limits, Kubernetes places it by its requests."""
    where = f"{path}.containers[0].resources"
    limits, requests = under(container, "resources.limits") or {}, under(container, "resources.requests") or {}
    try:
        for amount in (*limits.values(), *requests.values()):
            quantity(amount)
    except UserError:
        return  # said of the pod
    if "memory" not in limits or "cpu" not in limits:
        yield Violation(f"{where}.limits", "no cpu or memory", "KubeRay tells Ray the limits: set both")
    asked = requests.get("memory", limits.get("memory", 0))
    if quantity(asked) < quantity(limits.get("memory", 0)):
        got = f"{asked}, and the limit {limits.get('memory', 0)}"
        yield Violation(f"{where}.requests.memory", got, "make them equal: Ray counts on the limit")
    if quantity(limits.get("cpu", 1)).denominator != 1:
        yield Violation(f"{where}.limits.cpu", f"{limits['cpu']}", "whole CPUs: Ray rounds up and gives away too many")
    yield from tiny_memory(where, under(container, "resources") or {}, LEAST_MEMORY)


def _secrets(document: dict[str, Any]) -> Iterator[Violation]:
    """Values that look like secrets, where everybody who may read the document reads them."""
    here = Redaction()
    for path, value in _texts(document):
        last = path.rpartition(".")[2]
        if last == "runtimeEnvYAML":
            yield from _runtime_env(path, value)
        elif last == "entrypoint" and (named := _assigned_secrets(value)):
            yield Violation(path, ", ".join(named), "secrets come from the pod's environment: envFrom a secretRef")
        if here.text(value) != value:
            yield Violation(path, f"{here.text(value)!r}", f"{MASK} is a secret of this environment: leave it out")
    for path, entry in _entries(document):
        name, written = str(entry.get("name") or ""), str(entry.get("value") or "")
        if _written_out(name, written):
            yield Violation(f"{path}.value", f"{name} is written out", "valueFrom: {secretKeyRef: ...}")
    for key, value in (under(document, "spec.metadata") or {}).items():
        if _written_out(str(key), str(value)):
            yield Violation(f"spec.metadata.{key}", "written out", "leave it out: everybody reads a job's metadata")


def _runtime_env(path: str, text: str) -> Iterator[Violation]:
    try:
        contents = parse_yaml(text, octal=True)
    except UserError:
        return  # the operator's rules say so
    content = contents[0] if contents else None
    if not isinstance(content, dict):
        return
    for name, value in (content.get("env_vars") or {}).items():
        if _written_out(str(name), str(value)):
            yield Violation(f"{path}.env_vars.{name}", "written out", "envFrom a secretRef in the pod templates")
    for name in ("pip", "uv", "conda"):
        if name in content:
            yield Violation(f"{path}.{name}", "installs on every start", "put it into the image")


_PLAIN_VALUE = re.compile(r"(?i)true|false|none|[-+]?\d+(\.\d+)?|/.*")
_NO_SECRET = re.compile(
    r"(?i)TOKENIZER|TOKEN_COUNT|MAX_TOKENS|AUTHOR|(SORT|PARTITION|PRIMARY)_KEY|TRACKING_AUTH$"
    r"|_(ENABLED|AUDIENCE|NAME|PROVIDER|HEADER|STORE|COUNT)$"
)


def _written_out(name: str, value: str) -> bool:
    """Whether a variable's value is a secret and not a switch, a number or a path."""
    if not value or _NO_SECRET.search(name) or _PLAIN_VALUE.fullmatch(value):
        return False
    return looks_secret(name, value)


def _assigned_secrets(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError:
        words = command.split()
    pairs = [word.partition("=") for word in words if "=" in word]
    return [name for name, _, value in pairs if value and not value.startswith("$") and looks_secret(name, value)]


def _texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Path and content of every text in a document."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, f"{path}[{index}]")
    elif isinstance(value, str):
        yield path, value


def _entries(value: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Path and content of every entry of a list `env`."""
    if isinstance(value, dict):
        for key, item in value.items():
            where = f"{path}.{key}" if path else str(key)
            if key == "env" and isinstance(item, list):
                yield from ((f"{where}[{i}]", entry) for i, entry in enumerate(item) if isinstance(entry, dict))
            else:
                yield from _entries(item, where)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _entries(item, f"{path}[{index}]")
