"""Manifests of sweeps: what `render` writes is clean, and every planted mistake is refused with its field's path.

KubeRay's strict schemas are not part of the project. The tests that need them take the folder SELDTUNE_KUBE_SCHEMAS, or
../shared/kube-schemas beside the checkout, and say so where it is absent; the rules are tested without.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from data.errors import UserError
from infra.cli import app
from infra.cluster.growth import GROWS_TO_VARIABLE, parse_grows_to
from infra.commands.kubernetes import default_image
from infra.commands.options import SweepOptions
from infra.kube.check import check_document
from infra.kube.documents import as_yaml, pod_templates, read_documents
from infra.kube.growth import grows_to
from infra.kube.rayjob import OVERLAYS, job_name, rayjob
from infra.kube.recurring import recurring
from infra.kube.review import review
from infra.kube.schemas import Schemas, schemas_from_folder
from infra.kube.shapes import SHAPES
from infra.sweep.room import cpus_left, trials_at_a_time
from support.divided_data import HELD
from support.forgotten_plugins import forgotten_plugins
from support.kube_requests import render, request
from support.kube_schemas import needs_schemas
from trainables.training.resources import TrialResources


@needs_schemas
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("spot", [False, True])
def test_every_overlay_and_shape_is_clean(overlay: str, shape: str, spot: bool, schemas: Schemas) -> None:
    if overlay == "dev" and SHAPES[shape].trainers.size.gpus:
        with pytest.raises(UserError, match="has no GPUs"):
            rayjob(request(overlay=overlay, shape=SHAPES[shape]))
        return
    job = rayjob(
        request(overlay=overlay, shape=SHAPES[shape], spot=spot, priority="low" if overlay == "kueue" else None)
    )
    assert check_document(job, schemas) == []
    for document in recurring(job, "0 2 * * *", "Europe/Berlin"):
        assert check_document(document, schemas) == []


# --- the command ------------------------------------------------------------------------------------------------------


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
        least_gain=0.002, retries="2,diverged=0", workers=2, cpus=3, gpus=0.5, concurrency=4, data_memory="2GB",
        sampler="gp", stopper="median", by="depth", against=["latency"], warm_start=["a", "b"], seed=7,
        fix=["training.epochs=4", "fusion.name=gru"], plugin=["parts.py"],
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


def test_what_the_sweep_would_refuse_is_refused_before(tmp_path: Path) -> None:
    assert "training.epochz" in render("quickstart", "--overlay", "dev", "--set", "training.epochz=3")
    assert "has to be positive" in render("quickstart", "--overlay", "dev", "--set", "training.epochs=0")
    mine = tmp_path / "mine.yaml"
    text = render("quickstart", "--overlay", "dev")
    for wrong, said in (
        ("--nmae quickstart", "No such option"),
        ("--name", "requires an argument"),
        ("--trials many", "--trials"),
        ("--name quickstart --budget 10d", "is more than activeDeadlineSeconds"),
        ("--name quickstart --budget tenhours", "tenhours"),
        ("--name quickstart --set a='b", "No closing quotation"),
        ("--help", "leave --help out"),
    ):
        mine.write_text(text.replace("--name quickstart", wrong))
        assert mine.read_text() != text
        told = render("--check", str(mine), code=2)
        assert "spec.entrypoint: " in told
        assert said in told
    for wrong, said in (
        ("seldtune swep quickstart", "did you mean sweep"),
        ("seldtune sweep quikstart", "quickstart?"),
    ):
        mine.write_text(text.replace("seldtune sweep quickstart", wrong))
        assert said in render("--check", str(mine), code=2)
    # A shell runs it: what has its signs, and a line that goes on in the next, are not read as words.
    for fine in ("sweep quickstart --name quickstart 2>&1 | tee /tmp/log", "sweep quickstart \\\n--name quickstart"):
        job = yaml.safe_load(text)
        job["spec"]["entrypoint"] = f"seldtune {fine}"
        mine.write_text(as_yaml(job, {"apiVersion": "v1", "kind": "Foo", "spec": ["a"]}))
        assert "nothing wrong with them" in render("--check", str(mine))


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
    assert "holds no RayJob" in render("--check", str(mine))
    assert "no such file" in render("--check", str(tmp_path / "none.yaml"))
    mine.write_bytes(b"\x7fELF\xff")
    assert "mine.yaml': is no text in UTF-8: byte 4 is 0xff" in render("--check", str(mine))
    assert "one search space" in render()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("jobs.json", "", r"jobs\.json' is no JSON: Expecting value"),
        ("jobs.yaml", "a: [", r"jobs\.yaml' is no YAML"),
    ],
)
def test_a_broken_schema_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        schemas_from_folder(str(tmp_path))


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
    found = review(as_yaml(config, cron), "mine", offline=True)
    assert found.count == 1
    assert "data[rayjob.yaml].spec.rayClusterSpec.authOptions: no token" in found.refused[0]
    assert "may have 36" in render("quickstart", "--name", "n" * 40, "--schedule", "0 2 * * *")


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


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--model", "a/b", "--model 'a/b'"),
        ("--budget", "infh", "'infh' is not a duration"),
        ("--gpus", "nan", "gpus_per_worker = nan"),
        ("--seed", "-1", "seed = -1"),
        ("--name", "é", "--name 'é'"),
    ],
)
def test_what_no_sweep_takes_is_not_rendered(option: str, value: str, said: str) -> None:
    rendered = CliRunner().invoke(app, ["render", "quickstart", option, value])
    assert isinstance(rendered.exception, UserError)
    assert said in str(rendered.exception)
    assert not rendered.stdout


def test_names_of_jobs() -> None:
    assert job_name("fusion-v2") == "sweep-fusion-v2"
    # What Kubernetes does not take is changed, and never to the name of another sweep.
    names = [job_name(sweep) for sweep in ("night-1", "night_1", "Night_1", "night.1")]
    assert names[0] == "sweep-night-1"
    assert all(re.fullmatch(r"sweep-night-1-[0-9a-f]{4}", name) for name in names[1:])
    assert len(set(names)) == 4
    with pytest.raises(UserError, match="47"):
        job_name("x" * 42)


def test_resources_for_ray_are_valid_json() -> None:
    job = rayjob(request(shape=SHAPES["gpu8"]))
    drivers = next(g for g in job["spec"]["rayClusterSpec"]["workerGroupSpecs"] if g["groupName"] == "drivers")
    (text,) = shlex.split(drivers["rayStartParams"]["resources"])
    assert json.loads(text) == {"trial_driver": 64}
    assert yaml.safe_load(as_yaml(job)) == job
