"""Manifests of sweeps: what `render` writes is clean, and every planted mistake is refused with its field's path.

KubeRay's strict schemas are not part of the project. The tests that need them take the folder SELDTUNE_KUBE_SCHEMAS, or
../shared/kube-schemas beside the checkout, and say so where it is absent; the rules are tested without.
"""

from __future__ import annotations

import copy
import dataclasses
import http.server
import json
import shlex
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from data.errors import UserError
from infra.cli import app
from infra.cluster.growth import GROWS_TO_VARIABLE, parse_grows_to
from infra.commands.options import SweepOptions
from infra.commands.render import default_image, ray_version
from infra.kube.check import check_document, check_text
from infra.kube.documents import as_yaml, pod_templates, read_documents
from infra.kube.growth import grows_to
from infra.kube.launch import launch, run_of
from infra.kube.operator_rules import QUEUE_LABEL
from infra.kube.quantities import quantity
from infra.kube.rayjob import OVERLAYS, JobRequest, job_name, rayjob
from infra.kube.recurring import recurring
from infra.kube.schemas import Schemas, schemas_from_folder
from infra.kube.shapes import SHAPES
from infra.sweep.room import cpus_left, trials_at_a_time
from support.divided_data import HELD
from support.forgotten_plugins import forgotten_plugins
from support.kube_schemas import SCHEMAS, needs_schemas
from trainables.training.resources import TrialResources


def request(**changes: Any) -> JobRequest:
    return dataclasses.replace(
        JobRequest(
            sweep="quickstart",
            arguments=["sweep", "quickstart", "--name", "quickstart"],
            budget_s=3600,
            overlay="gpu",
            shape=SHAPES["gpu"],
            image=default_image(cuda=True),
            ray_version=ray_version(),
        ),
        **changes,
    )


@pytest.fixture(scope="module")
def schemas() -> Schemas:
    return schemas_from_folder(str(SCHEMAS)) if SCHEMAS.is_dir() else {}


@needs_schemas
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("spot", [False, True])
def test_every_overlay_and_shape_is_clean(overlay: str, shape: str, spot: bool, schemas: Schemas) -> None:
    if overlay == "dev" and SHAPES[shape].trainers.size.gpus:
        with pytest.raises(UserError, match="has no GPUs"):
            rayjob(request(overlay=overlay, shape=SHAPES[shape]))
        return
    job = rayjob(request(overlay=overlay, shape=SHAPES[shape], spot=spot, priority="low"))
    assert check_document(job, schemas) == []
    for document in recurring(job, "0 2 * * *", "Europe/Berlin"):
        assert check_document(document, schemas) == []


# --- planted mistakes -------------------------------------------------------------------------------------------------

CLUSTER = "spec.rayClusterSpec"
HEAD = f"{CLUSTER}.headGroupSpec"
GROUP = f"{CLUSTER}.workerGroupSpecs[0]"
CONTAINER = "template.spec.containers[0]"
RULES = "spec.deletionStrategy.deletionRules"


def put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """A change of one field; a value of nothing takes it away."""

    def change(document: dict[str, Any]) -> None:
        *way, last = [int(key) if key.isdigit() else key for key in path.replace("[", ".").replace("]", "").split(".")]
        place: Any = document
        for key in way:
            place = place[key] if isinstance(key, int) else place.setdefault(key, {})
        if value is None:
            del place[last]
        else:
            place[last] = value

    return change


def all_of(*changes: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        for each in changes:
            each(document)

    return change


def rule(policy: str, seconds: int, **condition: str) -> dict[str, Any]:
    return {"policy": policy, "condition": {**condition, "ttlSeconds": seconds}}


def late_rule(document: dict[str, Any]) -> None:
    document["spec"]["deletionStrategy"]["deletionRules"][0]["condition"]["ttlSeconds"] = 10**6


def second_rule(document: dict[str, Any]) -> None:
    rules = document["spec"]["deletionStrategy"]["deletionRules"]
    rules.append(rule("DeleteCluster", 5, jobStatus="SUCCEEDED"))


def many_groups(document: dict[str, Any]) -> None:
    groups = document["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    groups += [{**copy.deepcopy(groups[0]), "groupName": f"more-{index}"} for index in range(17)]


QUEUED = all_of(
    put("metadata.labels", {QUEUE_LABEL: "seldtune"}),
    put("spec.deletionStrategy", None),
    put("spec.shutdownAfterJobFinishes", True),
    put(f"{CLUSTER}.enableInTreeAutoscaling", False),
)
REDIS = {"redisAddress": "redis:6379"}

SCHEMA_MISTAKES = {
    "an unknown field": (put("spec.shutdownAfterFinish", True), "spec.shutdownAfterFinish"),
    "an unknown field in a pod": (put(f"{HEAD}.{CONTAINER}.imagePullPolice", "Always"), f"{HEAD}.{CONTAINER}"),
    "a text for a number": (put("spec.backoffLimit", "3"), "spec.backoffLimit"),
    "a number for a text": (put(f"{CLUSTER}.rayVersion", 2.6), f"{CLUSTER}.rayVersion"),
    "an unknown policy": (put(f"{RULES}[0].policy", "DeleteAll"), f"{RULES}[0].policy"),
    "an unknown auth mode": (
        put(f"{CLUSTER}.authOptions.mode", "basic"),
        f"{CLUSTER}.authOptions.mode",
    ),
    "a negative time": (put(f"{RULES}[0].condition.ttlSeconds", -1), f"{RULES}[0].condition.ttlSeconds"),
    "no name for a container": (put(f"{HEAD}.{CONTAINER}.name", None), f"{HEAD}.{CONTAINER}"),
}
RULE_MISTAKES: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "a name of 49 characters": (put("metadata.name", "n" * 49), "metadata.name"),
    "a name in capitals": (put("metadata.name", "Sweep_1"), "metadata.name"),
    "suspended without an end": (put("spec.suspend", True), "spec.suspend"),
    "a time to live without an end": (put("spec.ttlSecondsAfterFinished", 60), "spec.ttlSecondsAfterFinished"),
    "deletion rules beside the old way": (put("spec.shutdownAfterJobFinishes", True), RULES),
    "the deprecated strategy": (
        put("spec.deletionStrategy.onSuccess", {"policy": "DeleteSelf"}),
        "spec.deletionStrategy.onSuccess",
    ),
    "a rule twice": (second_rule, f"{RULES}[4]"),
    "a cluster gone after its job": (late_rule, RULES),
    "workers deleted under the autoscaler": (
        put(f"{RULES}[0]", rule("DeleteWorkers", 0, jobStatus="SUCCEEDED")),
        f"{RULES}[0].policy",
    ),
    "a deadline and no rule for it": (
        put(RULES, [rule("DeleteCluster", 0, jobStatus="SUCCEEDED")]),
        RULES,
    ),
    "a negative backoff": (put("spec.backoffLimit", -1), "spec.backoffLimit"),
    "retries of an interactive job": (put("spec.submissionMode", "InteractiveMode"), "spec.backoffLimit"),
    "a sidecar with a pod of its own": (put("spec.submissionMode", "SidecarMode"), "spec.submitterPodTemplate"),
    "an unknown submission mode": (put("spec.submissionMode", "K8sMode"), "spec.submissionMode"),
    "no deadline at all": (put("spec.activeDeadlineSeconds", 0), "spec.activeDeadlineSeconds"),
    "a deadline before the wait is over": (
        put("spec.preRunningDeadlineSeconds", 10**6),
        "spec.activeDeadlineSeconds",
    ),
    "no cluster": (put(CLUSTER, None), CLUSTER),
    "a selector of nothing": (put("spec.clusterSelector", {"ray.io/cluster": ""}), "spec.clusterSelector"),
    "a fixed job id": (put("spec.jobId", "mine"), "spec.jobId"),
    "an environment that is no YAML": (put("spec.runtimeEnvYAML", "a: [1"), "spec.runtimeEnvYAML"),
    "a secret in the environment": (
        put("spec.runtimeEnvYAML", "env_vars: {AWS_SECRET_ACCESS_KEY: wJalrXUtnFEMIK7MDENG}"),
        "spec.runtimeEnvYAML.env_vars.AWS_SECRET_ACCESS_KEY",
    ),
    "pip at every start": (put("spec.runtimeEnvYAML", "pip: [torch]"), "spec.runtimeEnvYAML.pip"),
    "a secret in the entrypoint": (
        put("spec.entrypoint", "env AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMIK7 seldtune sweep quickstart"),
        "spec.entrypoint",
    ),
    "a secret in the metadata": (put("spec.metadata", {"api_token": "0123456789abcdef"}), "spec.metadata.api_token"),
    "a secret written out in a pod": (
        put(f"{HEAD}.{CONTAINER}.env", [{"name": "MLFLOW_TRACKING_PASSWORD", "value": "correcthorse"}]),
        f"{HEAD}.{CONTAINER}.env[0].value",
    ),
    "no token": (put(f"{CLUSTER}.authOptions", None), f"{CLUSTER}.authOptions"),
    "a token without its secret": (
        put(f"{CLUSTER}.authOptions.secretName", None),
        f"{CLUSTER}.authOptions.secretName",
    ),
    "a token on an old Ray": (
        all_of(
            put(f"{CLUSTER}.rayVersion", "2.51.0"),
            put(f"{HEAD}.{CONTAINER}.image", "seldtune:1-ray2.51.0"),
            put(f"{GROUP}.{CONTAINER}.image", "seldtune:1-ray2.51.0"),
        ),
        f"{CLUSTER}.rayVersion",
    ),
    "Kubernetes' tokens for a job": (
        put(f"{CLUSTER}.authOptions.enableK8sTokenAuth", True),
        f"{CLUSTER}.authOptions.enableK8sTokenAuth",
    ),
    "an image of another Ray": (
        put(f"{GROUP}.{CONTAINER}.image", "seldtune:0.1.0-ray2.59.0"),
        f"{GROUP}.{CONTAINER}.image",
    ),
    "the latest image": (put(f"{HEAD}.{CONTAINER}.image", "seldtune:latest"), f"{HEAD}.{CONTAINER}.image"),
    "no container": (put(f"{HEAD}.template.spec.containers", []), f"{HEAD}.template.spec.containers"),
    "resources said twice": (
        all_of(put(f"{GROUP}.resources", {"CPU": "4"}), put(f"{GROUP}.rayStartParams", {"num-cpus": "4"})),
        f"{GROUP}.rayStartParams.num-cpus",
    ),
    "labels as a parameter": (put(f"{GROUP}.rayStartParams", {"labels": "a=b"}), f"{GROUP}.rayStartParams.labels"),
    "a label that is none": (put(f"{GROUP}.labels", {"market": "spot or not"}), f"{GROUP}.labels"),
    "more at least than at most": (put(f"{GROUP}.minReplicas", 99), f"{GROUP}.minReplicas"),
    "a priority without the autoscaler": (
        all_of(put(f"{GROUP}.priority", 5), put(f"{CLUSTER}.enableInTreeAutoscaling", False)),
        f"{GROUP}.priority",
    ),
    "pods that restart under the autoscaler": (
        put(f"{GROUP}.template.spec.restartPolicy", "Always"),
        f"{GROUP}.template.spec.restartPolicy",
    ),
    "the operator's own variable": (
        put(f"{CLUSTER}.autoscalerOptions.env", [{"name": "KUBERAY_GEN_AUTOSCALER_START_CMD", "value": "x"}]),
        f"{CLUSTER}.autoscalerOptions.env",
    ),
    "a gate that is off": (
        put(f"{CLUSTER}.networkPolicy", {"mode": "DenyAll"}),
        f"{CLUSTER}.networkPolicy",
    ),
    "rocksdb's storage for redis": (
        put(f"{CLUSTER}.gcsFaultToleranceOptions", {**REDIS, "storage": {"size": "1Gi"}}),
        f"{CLUSTER}.gcsFaultToleranceOptions.storage",
    ),
    "redis said twice": (
        all_of(
            put(f"{CLUSTER}.gcsFaultToleranceOptions", REDIS),
            put(f"{HEAD}.{CONTAINER}.env", [{"name": "RAY_REDIS_ADDRESS", "value": "redis:6379"}]),
        ),
        f"{HEAD}.{CONTAINER}.env",
    ),
    "deletion rules in a queue": (
        all_of(QUEUED, put(RULES, [rule("DeleteSelf", 0, jobDeploymentStatus="Failed")])),
        RULES,
    ),
    "no end in a queue": (all_of(QUEUED, put("spec.shutdownAfterJobFinishes", False)), "spec.shutdownAfterJobFinishes"),
    "the autoscaler in a queue": (
        all_of(QUEUED, put(f"{CLUSTER}.enableInTreeAutoscaling", True)),
        f"{CLUSTER}.enableInTreeAutoscaling",
    ),
    "too many groups for a queue": (all_of(QUEUED, many_groups), f"{CLUSTER}.workerGroupSpecs"),
    "a group called head in a queue": (all_of(QUEUED, put(f"{GROUP}.groupName", "head")), f"{GROUP}.groupName"),
    "fewer GPUs asked for than allowed": (
        put(f"{GROUP}.{CONTAINER}.resources.requests", {"cpu": "8", "memory": "48Gi", "nvidia.com/gpu": "0"}),
        f"{GROUP}.{CONTAINER}.resources.requests.nvidia.com/gpu",
    ),
    "less memory asked for than allowed": (
        put(f"{GROUP}.{CONTAINER}.resources.requests.memory", "1Gi"),
        f"{GROUP}.{CONTAINER}.resources.requests.memory",
    ),
    "half a CPU": (
        put(f"{GROUP}.{CONTAINER}.resources.limits.cpu", "7500m"),
        f"{GROUP}.{CONTAINER}.resources.limits.cpu",
    ),
    "a quantity that is none": (
        put(f"{GROUP}.{CONTAINER}.resources.limits.memory", "48GB"),
        f"{GROUP}.{CONTAINER}.resources.limits.memory",
    ),
    "no limits": (put(f"{GROUP}.{CONTAINER}.resources", {}), f"{GROUP}.{CONTAINER}.resources.limits"),
    "no shared memory": (put(f"{GROUP}.{CONTAINER}.volumeMounts", []), f"{GROUP}.{CONTAINER}.volumeMounts"),
    "root": (
        all_of(
            put(f"{HEAD}.{CONTAINER}.securityContext", {"allowPrivilegeEscalation": False}),
            put(f"{HEAD}.template.spec.securityContext", {}),
        ),
        f"{HEAD}.{CONTAINER}.securityContext.runAsNonRoot",
    ),
    "privileges": (
        put(f"{HEAD}.{CONTAINER}.securityContext.privileged", True),
        f"{HEAD}.{CONTAINER}.securityContext.allowPrivilegeEscalation",
    ),
    "trials on the head": (put(f"{HEAD}.rayStartParams.num-cpus", "4"), f"{HEAD}.rayStartParams.num-cpus"),
    "an init container that is root": (
        put(
            f"{HEAD}.template.spec.initContainers", [{"name": "i", "image": "i:1", "securityContext": {"runAsUser": 0}}]
        ),
        f"{HEAD}.template.spec.initContainers[0].securityContext.runAsNonRoot",
    ),
    "a pod that submits as root": (
        put("spec.submitterPodTemplate.spec.containers[0].securityContext.runAsNonRoot", False),
        "spec.submitterPodTemplate.spec.containers[0].securityContext.runAsNonRoot",
    ),
    "a cluster that does not say how far it grows": (put(f"{HEAD}.{CONTAINER}.env", None), f"{HEAD}.{CONTAINER}.env"),
    "a cluster that grows further than it says": (put(f"{GROUP}.maxReplicas", 99), f"{HEAD}.{CONTAINER}.env"),
    "fault tolerance by annotation": (
        all_of(
            put(f"{CLUSTER}.gcsFaultToleranceOptions", REDIS),
            put("metadata.annotations", {"ray.io/ft-enabled": "true"}),
        ),
        "metadata.annotations",
    ),
    "a head that may be moved": (
        put(f"{HEAD}.template.metadata.annotations", None),
        f"{HEAD}.template.metadata.annotations",
    ),
}


@needs_schemas
@pytest.mark.parametrize("mistake", SCHEMA_MISTAKES)
def test_what_the_schemas_refuse_is_refused(mistake: str, schemas: Schemas) -> None:
    assert_refused(*SCHEMA_MISTAKES[mistake], schemas)


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
        ({"schedule": "*/0 * * * *"}, "spec.schedule"),
        ({"schedule": "TZ=Europe/Berlin 0 2 * * *"}, "spec.schedule"),
        ({"timeZone": "Berlin"}, "spec.timeZone"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(kind: str, change: dict[str, str], path: str) -> None:
    template = rayjob(request())["spec"]
    for schedule in ("0 2 * * *", "*/15,40 0-6/2 1 jan-Mar MON,fri", "@daily", "@every 6h"):
        spec = {"schedule": schedule, "timeZone": "Europe/Berlin", "jobTemplate": template}
        document = {"apiVersion": "ray.io/v1", "kind": kind, "metadata": {"name": "n"}, "spec": spec}
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


def test_a_wrong_type_is_said_without_schemas_too() -> None:
    job = rayjob(request())
    job["spec"]["backoffLimit"] = "3"
    (found,) = check_document(job, {})
    assert "of a wrong type" in found.got


def test_a_secret_of_the_environment_is_found_wherever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "planted-in-the-environment")
    job = rayjob(
        request(arguments=["sweep", "quickstart", "--set", "visual.weights=https://planted-in-the-environment"])
    )
    (found,) = check_document(job, {})
    assert found.path == "spec.entrypoint"
    assert "planted" not in str(found)


def test_a_file_is_read_as_the_api_server_does() -> None:
    with pytest.raises(UserError, match=r"mine.yaml: 'kind' is there twice, again in line 3"):
        read_documents("apiVersion: v1\nkind: A\nkind: B\n", "mine.yaml")
    with pytest.raises(UserError, match="is not YAML"):
        read_documents("a: [1", "mine.yaml")
    with pytest.raises(UserError, match="apiVersion and kind"):
        read_documents("- 1", "mine.yaml")
    (document,) = read_documents("apiVersion: v1\nkind: A\nat: 2026-01-01\nnone: null\n", "mine.yaml")
    assert document == {"apiVersion": "v1", "kind": "A", "at": "2026-01-01"}


def test_quantities() -> None:
    assert quantity("500m") * 2 == quantity(1) == quantity("1e0")
    assert quantity("16Gi") == 16 * 2**30
    assert quantity("1.5k") == 1500
    for wrong in ("16GB", "", "-1", "1 Gi"):
        with pytest.raises(UserError):
            quantity(wrong)


# --- the command ------------------------------------------------------------------------------------------------------


def render(*arguments: str, code: int = 0) -> str:
    schemas = ("--schemas", str(SCHEMAS)) if SCHEMAS.is_dir() else ()
    result = CliRunner().invoke(app, ["render", *arguments, *schemas])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        assert isinstance(result.exception, UserError), result.exception
        return str(result.exception)
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


def test_the_job_is_the_same_command() -> None:
    asked = [
        "--data",
        "s3://b/d",
        "--budget",
        "2h",
        "--gpus",
        "1",
        "--set",
        "training.epochs=4",
        "--against",
        "latency",
    ]
    (job,) = read_documents(render("fusion", *asked, "--model", "mine", "--spot", "--namespace", "team"), "out")
    words = shlex.split(job["spec"]["entrypoint"])
    assert words[:3] == ["seldtune", "sweep", "fusion"]
    result = CliRunner().invoke(app, [*words[1:], "--help"])
    assert result.exit_code == 0
    for first, second in zip(asked[::2], asked[1::2], strict=True):
        assert second.removesuffix("h") in words[words.index(first) + 1]
    assert words[-2:] == ["--model", "mine"]
    assert job["metadata"]["namespace"] == "team"
    # The budget, the wait for nodes, and an hour for start and end.
    assert job["spec"]["activeDeadlineSeconds"] == 2 * 3600 + job["spec"]["preRunningDeadlineSeconds"] + 3600
    assert job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["labels"] == {"ray.io/market-type": "spot"}


def test_every_option_comes_back_from_the_command_line() -> None:
    options = SweepOptions(
        space="fusion", name="n", data="s3://b/d", trials=3, budget="1h", gpu_hours=2.5, cpu_hours=4.0,
        retries="2,diverged=0", workers=2, cpus=3, gpus=0.5, concurrency=4, data_memory="2GB", sampler="gp",
        stopper="median", against=["latency"], warm_start=["a", "b"], seed=7,
        fix=["training.epochs=4", "fusion.name=gru"],
    )  # fmt: skip
    assert all(getattr(options, f.name) != f.default for f in dataclasses.fields(options))
    seen: list[SweepOptions] = []
    import typer

    from infra.commands.options import with_sweep_options

    def keep(given: SweepOptions) -> None:
        seen.append(given)

    keeper = typer.Typer()
    keeper.command()(with_sweep_options(keep))
    assert CliRunner().invoke(keeper, options.arguments()).exit_code == 0
    assert seen == [options]


def test_what_cannot_be_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    out = tmp_path / "job.yaml"
    assert "--shape 'huge' is not known" in render("fusion", "--shape", "huge", "--out", str(out))
    assert "--overlay 'prod' is not known" in render("fusion", "--overlay", "prod", "--out", str(out))
    assert "a shorter --name" in render("fusion", "--name", "n" * 60, "--out", str(out))
    assert "leaves nothing to do" in render("fusion", "--trials", "0", "--out", str(out))
    assert "at most 8 trainers of 8 CPU and 1 GPU" in render("fusion", "--gpus", "2", "--out", str(out))
    assert "a trial takes 9 x (4 CPU, 1 GPU)" in render("fusion", "--workers", "9", "--out", str(out))
    assert "at most 2 trainers of 2 CPU" in render("quickstart", "--cpus", "3", "--out", str(out))
    assert "spec.schedule: 'nightly'" in render("fusion", "--schedule", "nightly", "--out", str(out), code=2)
    assert "headGroupSpec.template.spec.containers[0].image" in render(
        "fusion", "--image", "mine:latest", "--out", str(out), code=2
    )
    assert not out.exists()
    render("fusion", "--out", str(out))
    assert read_documents(out.read_text(), "out")[0]["kind"] == "RayJob"


def test_a_plugin_has_to_be_in_the_image() -> None:
    example = Path(__file__).parents[2] / "examples" / "parts.py"
    with forgotten_plugins():
        said = render("fusion", "--data", "s3://b/d", "--plugin", str(example))
    assert "parts.py is a file, which the image does not have: install it there as a package" in said
    assert "seldtune.parts" in said


def test_a_users_file_is_checked(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(render("quickstart", "--overlay", "dev"))
    assert "1 of Ray's documents, nothing wrong" in render("--check", str(mine))
    mine.write_text(mine.read_text().replace("backoffLimit: 3", "backoffLimit: -3"))
    said = render("--check", str(mine), code=2)
    assert "refused: RayJob sweep-quickstart: spec.backoffLimit: -3; 0 or more" in said
    mine.write_text("apiVersion: v1\nkind: Service\n")
    assert "holds nothing of Ray's" in render("--check", str(mine))
    assert "no such file" in render("--check", str(tmp_path / "none.yaml"))
    assert "one search space" in render()


def test_trials_without_gpus_get_pods_without(tmp_path: Path) -> None:
    for space, gpus, image in (("quickstart", 0, default_image(cuda=False)), ("fusion", 8, default_image(cuda=True))):
        (job,) = read_documents(render(space), "out")
        head, *_ = [template for _, template in pod_templates(job)]
        container = head["spec"]["containers"][0]
        assert container["image"] == image
        (entry,) = container["env"]
        assert entry["name"] == GROWS_TO_VARIABLE
        assert parse_grows_to(entry["value"])["GPU"] == gpus


# --- again and again --------------------------------------------------------------------------------------------------


def test_a_recurring_sweep_checks_what_it_will_create() -> None:
    text = render("quickstart", "--overlay", "dev", "--schedule", "0 2 * * *", "--time-zone", "Europe/Berlin")
    config, cron = read_documents(text, "out")
    assert cron["spec"]["schedule"] == "0 2 * * *"
    config["data"]["rayjob.yaml"] = config["data"]["rayjob.yaml"].replace("mode: token", "mode: disabled")
    count, lines = check_text(as_yaml(config, cron), "mine", {})
    assert count == 1
    assert "data[rayjob.yaml].spec.rayClusterSpec.authOptions: no token" in lines[0]
    assert "may have 36" in render("quickstart", "--name", "n" * 40, "--schedule", "0 2 * * *")


AT = time.gmtime(1_800_000_000)


def test_a_run_is_a_sweep_of_its_own() -> None:
    template = rayjob(request())
    run = run_of(template, AT)
    assert run["metadata"]["name"] == "sweep-quickstart-2701150800"
    assert run["spec"]["entrypoint"] == "seldtune sweep quickstart --name quickstart-2701150800"
    assert template == rayjob(request())


class ApiServer(http.server.BaseHTTPRequestHandler):
    """The two calls of the Kubernetes API that are made: a stand-in, for there is no cluster here."""

    jobs: list[dict[str, Any]]

    def do_GET(self) -> None:
        assert self.headers["Authorization"] == "Bearer account-token"
        assert "labelSelector=seldtune.dev%2Fsweep%3Dsweep-quickstart" in self.path
        self._answer(200, {"items": self.jobs})

    def do_POST(self) -> None:
        job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if any(other["metadata"]["name"] == job["metadata"]["name"] for other in self.jobs):
            self._answer(409, {"reason": "AlreadyExists"})
        elif job["spec"]["backoffLimit"] < 0:
            self._answer(422, {"message": "backoffLimit is invalid"})
        else:
            self.jobs.append(job)
            self._answer(201, job)

    def _answer(self, code: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def api_server() -> Iterator[str]:
    ApiServer.jobs = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), ApiServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_run_is_created_unless_one_runs(api_server: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("account-token\n")
    template = rayjob(request())
    assert "sweep-quickstart-2701150800 is created" in launch(template, api_server, tmp_path, AT)
    later = time.gmtime(1_800_086_400)
    assert "still runs" in launch(template, api_server, tmp_path, later)
    ApiServer.jobs[0]["status"] = {"jobDeploymentStatus": "Complete"}
    assert "is there already" in launch(template, api_server, tmp_path, AT)
    assert "is created" in launch(template, api_server, tmp_path, later)
    assert len(ApiServer.jobs) == 2
    ApiServer.jobs[1]["status"] = {"jobDeploymentStatus": "Failed"}
    template["spec"]["backoffLimit"] = -1
    with pytest.raises(OSError, match="backoffLimit is invalid"):
        launch(template, api_server, tmp_path, time.gmtime(1_800_172_800))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_cluster_says_how_far_it_grows(shape: str) -> None:
    pods = SHAPES[shape]
    cluster = rayjob(request(shape=pods))["spec"]["rayClusterSpec"]
    groups = [group for group in (pods.trainers, pods.data) if group]
    assert parse_grows_to(grows_to(cluster)) == {
        "CPU": sum(group.most * group.size.cpus for group in groups),  # the drivers' are not for trials
        "GPU": sum(group.most * group.size.gpus for group in groups),
    }
    queued = rayjob(request(shape=pods, overlay="kueue"))["spec"]["rayClusterSpec"]
    assert "env" not in queued["headGroupSpec"]["template"]["spec"]["containers"][0]
    with pytest.raises(UserError, match="CPU=80,GPU=8"):
        parse_grows_to("80")


def test_a_sweep_counts_on_what_its_cluster_grows_to(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = TrialResources(cpus_per_worker=4, gpus_per_worker=1)
    monkeypatch.setattr("ray.cluster_resources", lambda: {"memory": 16e9})  # a head and nothing else yet
    monkeypatch.delenv(GROWS_TO_VARIABLE, raising=False)
    with pytest.raises(UserError, match="0 CPU and 0 GPU in all"):
        trials_at_a_time(None, trial, HELD)
    monkeypatch.setenv(GROWS_TO_VARIABLE, "CPU=80,GPU=8")
    assert trials_at_a_time(None, trial, HELD) == 8
    assert trials_at_a_time(3, trial, HELD) == 3
    assert cpus_left(trial, 8) == 48
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 100.0, "GPU": 10.0})
    assert trials_at_a_time(None, trial, HELD) == 10


def test_names_of_jobs() -> None:
    assert job_name("Fusion_v2") == "sweep-fusion-v2"
    with pytest.raises(UserError, match="47"):
        job_name("x" * 42)


def test_resources_for_ray_are_valid_json() -> None:
    job = rayjob(request(shape=SHAPES["gpu8"]))
    drivers = next(g for g in job["spec"]["rayClusterSpec"]["workerGroupSpecs"] if g["groupName"] == "drivers")
    (text,) = shlex.split(drivers["rayStartParams"]["resources"])
    assert json.loads(text) == {"trial_driver": 64}
    assert yaml.safe_load(as_yaml(job)) == job
