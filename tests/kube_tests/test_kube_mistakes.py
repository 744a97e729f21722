"""Every planted mistake is refused with its field's path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from data.errors import UserError
from infra.kube.check import check_document
from infra.kube.conformance.details import BY_DETAIL
from infra.kube.conformance.documents import BY_KUBERAY, BY_KUEUE, BY_SCHEMA, BY_SERVER, BY_US
from infra.kube.conformance.plant import Change, put
from infra.kube.conformance.pods import BY_POD, BY_POD_SECURITY, BY_SILENCE
from infra.kube.documents import as_yaml, read_documents
from infra.kube.quantities import quantity
from infra.kube.rayjob import RESTRICTED, rayjob
from infra.kube.recurring import recurring
from infra.kube.rules.kueue import QUEUE_LABEL
from infra.kube.schemas import Schemas
from support.kube_requests import request
from support.kube_schemas import needs_schemas

RULE_MISTAKES = {
    **BY_SERVER,
    **BY_KUBERAY,
    **BY_KUEUE,
    **BY_US,
    **BY_POD,
    **BY_DETAIL,
    **BY_POD_SECURITY,
    **BY_SILENCE,
}


@needs_schemas
@pytest.mark.parametrize("mistake", BY_SCHEMA)
def test_what_the_schemas_refuse_is_refused(mistake: str, schemas: Schemas) -> None:
    assert_refused(*BY_SCHEMA[mistake], schemas)


@pytest.mark.parametrize("mistake", RULE_MISTAKES)
def test_what_the_rules_refuse_is_refused(mistake: str) -> None:
    # Without schemas: the rules find it by themselves.
    assert_refused(*RULE_MISTAKES[mistake], {})


def assert_refused(plant: Callable[[dict[str, Any]], None], path: str, schemas: Schemas) -> None:
    job = rayjob(request())
    assert not check_document(job, schemas)
    plant(job)
    found = check_document(job, schemas)
    assert any(violation.path.startswith(path) for violation in found), [str(violation) for violation in found]
    assert all(violation.got and violation.fix for violation in found)


@pytest.mark.parametrize("kind", ["RayCronJob", "CronJob"])
@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"schedule": "every night at two please"}, "spec.schedule"),
        ({"schedule": "0 2 * *"}, "spec.schedule"),
        ({"schedule": "60 2 * * *"}, "spec.schedule"),
        ({"schedule": "0 2 * * 7"}, "spec.schedule"),
        ({"schedule": "0 2-25 * * *"}, "spec.schedule"),
        ({"schedule": "30-10 2 * * *"}, "spec.schedule"),
        ({"schedule": "*/0 * * * *"}, "spec.schedule"),
        ({"schedule": "TZ=Europe/Berlin 0 2 * * *"}, "spec.schedule"),
        ({"timeZone": "Berlin"}, "spec.timeZone"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(kind: str, change: dict[str, str], path: str) -> None:
    template = rayjob(request())["spec"]
    for schedule in ("0 2 * * *", "*/15,40 0-6/2 1 jan-Mar MON,fri", "@daily", "@every 6h"):
        spec = {"schedule": schedule, "timeZone": "Europe/Berlin", "jobTemplate": template}
        version = "batch/v1" if kind == "CronJob" else "ray.io/v1"
        document = {"apiVersion": version, "kind": kind, "metadata": {"name": "n"}, "spec": spec}
        assert check_document(document, {}) == []
    assert [found.path for found in check_document({**document, "spec": spec | change}, {})] == [path]


@needs_schemas
def test_what_a_ray_cron_job_creates_is_checked_too(schemas: Schemas) -> None:
    job = rayjob(request())
    spec = {"schedule": "0 2 * * *", "jobTemplate": job["spec"]}
    cron = {"apiVersion": "ray.io/v1", "kind": "RayCronJob", "metadata": {"name": "n"}, "spec": spec}
    assert check_document(cron, schemas) == []
    for mistake, (plant, path) in RULE_MISTAKES.items():
        job = rayjob(request())
        plant(job)
        if path.startswith("spec") and QUEUE_LABEL not in job["metadata"]["labels"]:
            found = check_document({**cron, "spec": {**spec, "jobTemplate": job["spec"]}}, {})
            assert any(one.path.startswith(f"spec.jobTemplate{path[4:]}") for one in found), mistake
    cron["spec"] = {"schedule": "0 2 * * *"}
    assert [found.path for found in check_document(cron, {})] == ["spec.jobTemplate"]


@pytest.mark.parametrize(
    ("path", "value", "got"),
    [
        ("spec.backoffLimit", "3", "'3'"),
        ("spec.backoffLimit", 10_000_000_000, "10000000000"),
        ("spec.rayClusterSpec.workerGroupSpecs[0].maxReplicas", float("inf"), "inf"),
        ("spec.rayClusterSpec.headGroupSpec.template.spec.containers", {"name": "ray"}, "fields (name)"),
        ("spec.rayClusterSpec.headGroupSpec.template.spec.volumes", "tmp", "'tmp'"),
        ("spec.rayClusterSpec.headGroupSpec.rayStartParams.num-cpus", 0, "0 is no text"),
        ("spec.rayClusterSpec.enableInTreeAutoscaling", "true", "'true'"),
        ("metadata.labels", ["a"], "a list of 1"),
        ("metadata.labels", {"a": 5}, "5 is no text"),
    ],
)
def test_a_wrong_type_is_said_without_schemas_too(path: str, value: object, got: str) -> None:
    job = rayjob(request())
    put(path, value)(job)
    (found,) = check_document(job, {})
    assert found.path.startswith(path)
    assert found.got == got
    assert found.fix.startswith("write ")


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (put("spec.concurrencyPolicy", "forbid"), "spec.concurrencyPolicy"),
        (put("spec.startingDeadlineSeconds", -1), "spec.startingDeadlineSeconds"),
        (put("spec.jobTemplate.spec.backoffLimit", -1), "spec.jobTemplate.spec.backoffLimit"),
        (put("apiVersion", "batch/v1beta1"), "apiVersion"),
        (put("metadata.name", "night_1"), "metadata.name"),
        (put("kind", "Cronjob"), "kind"),
    ],
)
def test_what_is_wrong_with_a_cron_job_is_told(change: Change, path: str) -> None:
    _, cron = recurring(rayjob(request()), "0 2 * * *", None)
    assert check_document(cron, {}) == []
    change(cron)
    assert [found.path for found in check_document(cron, {})] == [path]
    # Somebody else's is let alone, but for what no cluster takes.
    stranger = {"containers": [{"name": "a", "image": "busybox:1"}], "restartPolicy": "Never"}
    spec = {"schedule": "@daily", "jobTemplate": {"spec": {"template": {"spec": stranger}}}}
    document = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "theirs"}, "spec": spec}
    assert check_document(document, {}) == []


@pytest.mark.parametrize(
    ("kind", "path", "fix"),
    [
        ("Rayjob", "kind", "write RayJob"),
        ("RayJbo", "kind", "write RayJob"),
        ("Raycluster", "kind", "write RayCluster"),
    ],
)
def test_a_kind_that_is_nearly_one_is_told(kind: str, path: str, fix: str) -> None:
    (found,) = check_document({**rayjob(request()), "kind": kind}, {})
    assert (found.path, found.fix) == (path, fix)


def test_fields_that_are_nearly_others_are_told_without_schemas() -> None:
    for path, meant in (
        ("spec.entrypont", "entrypoint"),
        ("spec.rayClusterSpec.workerGroupSpecs[0].minReplica", "minReplicas"),
        ("spec.rayClusterSpec.headGroupSpec.template.spec.containers[0].envFron", "envFrom"),
        ("spec.submitterPodTemplate.spec.restartPolcy", "restartPolicy"),
        ("specs", "spec"),
        ("spec.rayClusterSpec.autoscalerOptions.idleTimeout", "idleTimeoutSeconds"),
        ("spec.rayClusterSpec.headGroupSpec.template.spec.containers[0].env[0].valuefrom", "valueFrom"),
        ("spec.rayClusterSpec.headGroupSpec.template.spec.securityContext.runAsNonroot", "runAsNonRoot"),
    ):
        job = rayjob(request())
        put(path, "x")(job)
        (found,) = check_document(job, {})
        assert (found.path, found.fix) == (path, f"did you mean {meant}?")
    job = rayjob(request())
    job["spec"]["aFieldOfNextYear"] = 1
    assert check_document(job, {}) == []


def test_legitimate_edits_are_not_refused() -> None:
    edits = {
        "a sidecar": ("containers", [{"name": "logs", "image": "fluent/fluent-bit:3", "securityContext": RESTRICTED}]),
        "what stays beside": (
            "initContainers",
            [
                {
                    "name": "proxy",
                    "image": "envoy:1",
                    "restartPolicy": "Always",
                    "securityContext": RESTRICTED,
                    "readinessProbe": {"httpGet": {"path": "/", "port": 9000}, "periodSeconds": 5},
                }
            ],
        ),
        "volumes": (
            "volumes",
            [
                {"name": "keys", "secret": {"secretName": "s", "defaultMode": 0o440, "optional": True}},
                {"name": "space", "ephemeral": {"volumeClaimTemplate": {"spec": CLAIM}}},
                {"name": "who", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
                {
                    "name": "labels",
                    "downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]},
                },
            ],
        ),
        "a spread": (
            "topologySpreadConstraints",
            [{"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway"}],
        ),
    }
    for what, (field, value) in edits.items():
        job = rayjob(request())
        spec = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
        spec[field] = [*spec.get(field, []), *value]
        assert check_document(job, {}) == [], what
    job = rayjob(request())
    container = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    container["env"] += [
        {"name": "TOKENIZERS_PARALLELISM", "value": "false"},
        {"name": "SSH_AUTH_SOCK", "value": "/tmp/agent"},
        {"name": "MAX_TOKENS", "value": "512"},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
    ]
    container["lifecycle"] = {"preStop": {"sleep": {"seconds": 5}}}
    assert check_document(job, {}) == []


LABELS = {"fieldPath": "metadata.labels"}
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}}


def test_a_secret_of_the_environment_is_found_wherever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "planted-in-the-environment")
    job = rayjob(
        request(arguments=["sweep", "quickstart", "--set", "visual.weights=https://planted-in-the-environment"])
    )
    (found,) = check_document(job, {})
    assert found.path == "spec.entrypoint"
    assert "planted" not in str(found)


def test_a_file_is_read_as_the_api_server_does() -> None:
    with pytest.raises(UserError, match=r"mine.yaml: kind is given twice, again in line 3"):
        read_documents("apiVersion: v1\nkind: A\nkind: B\n", "mine.yaml")
    with pytest.raises(UserError, match="is no YAML"):
        read_documents("a: [1", "mine.yaml")
    with pytest.raises(UserError, match="apiVersion and kind"):
        read_documents("- 1", "mine.yaml")
    with pytest.raises(UserError, match=r"mine.yaml: is nested more than .* deep, or holds itself"):
        read_documents("apiVersion: v1\nkind: A\nspec: &spec {spec: *spec}", "mine.yaml")
    (document,) = read_documents("apiVersion: v1\nkind: A\nat: 2026-01-01\nnone: null\n", "mine.yaml")
    assert document == {"apiVersion": "v1", "kind": "A", "at": "2026-01-01"}
    # A file's mode is octal, as kubectl reads it; a list is what it holds; others' settings are theirs.
    (document,) = read_documents("apiVersion: v1\nkind: A\nmode: 0440\n", "mine.yaml")
    assert document["mode"] == 288
    job = rayjob(request())
    (document,) = read_documents(as_yaml({"apiVersion": "v1", "kind": "List", "items": [job]}), "mine.yaml")
    assert document == job
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"settings.yaml": "lr: 1"}}
    assert check_document(config, {}) == []
    assert [found.path for found in check_document({**config, "data": {"settings.yaml": 5}}, {})] == [
        "data.settings.yaml"
    ]


def test_quantities() -> None:
    assert quantity("500m") * 2 == quantity(1) == quantity("1e0")
    assert quantity("16Gi") == 16 * 2**30
    assert quantity("1.5k") == 1500
    for wrong in ("16GB", "", "-1", "1 Gi"):
        with pytest.raises(UserError):
            quantity(wrong)
