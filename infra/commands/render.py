"""`seldtune render`: the Kubernetes manifests of a sweep, checked."""

from __future__ import annotations

import dataclasses
import functools
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data.errors import UserError
from infra.commands.options import ModelNameOption, SweepOptions, with_sweep_options
from infra.console.output import EXIT_REFUSED
from infra.kube.shapes import SHAPES, find_shape, require_room

if TYPE_CHECKING:
    from infra.kube.schemas import Schemas

logger = logging.getLogger(f"seldtune.{__name__}")


@functools.partial(with_sweep_options, space="")
def render(
    options: SweepOptions,
    overlay: Annotated[str, typer.Option(help="Where it runs: dev (no GPUs), gpu, or kueue (in a queue).")] = "gpu",
    shape: Annotated[
        str | None, typer.Option(help=f"Pods of its cluster: {', '.join(SHAPES)}; gpu where trials take any.")
    ] = None,
    image: Annotated[
        str | None, typer.Option(envvar="SELDTUNE_IMAGE", help="One image for all pods, by version or digest.")
    ] = None,
    namespace: Annotated[str, typer.Option(help="Namespace.")] = "seldtune",
    queue: Annotated[str, typer.Option(help="LocalQueue, in overlay kueue.")] = "seldtune",
    priority: Annotated[str | None, typer.Option(help="WorkloadPriorityClass, in overlay kueue.")] = None,
    spot: Annotated[bool, typer.Option("--spot", help="Trainers may be spot nodes.")] = False,
    restarts: Annotated[int, typer.Option(min=0, help="Times it goes on with a new cluster after losing one.")] = 3,
    wait: Annotated[str, typer.Option(help="How long it may wait for its first nodes: 90m, 6h.")] = "6h",
    schedule: Annotated[
        str | None, typer.Option(help="Run it again and again: a CronJob, e.g. '0 2 * * *'.", metavar="CRON")
    ] = None,
    time_zone: Annotated[str | None, typer.Option(help="Of the schedule, e.g. Europe/Berlin.")] = None,
    model: ModelNameOption = "seld",
    schemas: Annotated[
        str | None, typer.Option(help="Folder of KubeRay's CRDs to check with; your cluster's if not given.")
    ] = None,
    check: Annotated[str | None, typer.Option(help="Check this file instead of writing one.", metavar="FILE")] = None,
    out: Annotated[str | None, typer.Option(help="File to write; the terminal if not given.")] = None,
) -> None:
    """Write the RayJob of a sweep, or check one. What KubeRay would refuse is refused here, with the field's path.

    Example: `seldtune render fusion --data s3://bucket/data/mine --gpus 1 --budget 12h | kubectl apply -f -`
    """
    if (check is None) == (not options.space):
        raise UserError("name one search space to render, or one file with --check")
    from data.files.yaml_files import read_text
    from infra.kube.check import check_text
    from infra.kube.documents import as_yaml
    from infra.kube.rayjob import JobRequest, rayjob
    from infra.kube.recurring import recurring

    if check is not None:
        if not Path(check).is_file():
            raise UserError(f"--check {check!r}: there is no such file")
        try:
            text = read_text(check)
        except UserError as error:
            raise UserError(f"--check {check!r}: {error}") from error
        count, lines = check_text(text, check, _schemas(schemas))
        _refuse(lines)
        typer.echo(f"{check}: {count} of Ray's documents, nothing wrong with them" if count else _nothing(check))
        return

    from infra.console.arguments import parse_duration_s, parse_model

    request = options.request()
    resources = request.resources()
    chosen = find_shape(shape or ("gpu" if resources.gpus_per_worker and overlay != "dev" else "cpu"))
    require_room(chosen, resources.workers, resources.cpus_per_worker, resources.gpus_per_worker)
    name, budget_s = request.sweep_name(), request.budget().wall_s
    if Path(options.space).suffix:
        raise UserError(
            f"{options.space} is a file, which the image does not have: build it in, or use `seldtune submit`"
        )
    if options.plugin:
        raise UserError(
            f"plugin {options.plugin[0]} is a file, which the image does not have: install it there as a package that "
            "offers an entry point of the group seldtune.parts, or use `seldtune submit`"
        )
    words = ["sweep", *dataclasses.replace(options, name=name).arguments()]
    job = rayjob(
        JobRequest(
            sweep=name,
            arguments=[*words, *([] if model == "seld" else ["--model", parse_model(model)])],
            budget_s=budget_s,
            overlay=overlay,
            shape=chosen,
            image=image or default_image(cuda=chosen.trainers.size.gpus > 0),
            ray_version=ray_version(),
            namespace=namespace,
            queue=queue,
            priority=priority,
            spot=spot,
            restarts=restarts,
            wait_s=parse_duration_s(wait),
        )
    )
    documents = [job] if schedule is None else recurring(job, schedule, time_zone)
    text = as_yaml(*documents)
    _refuse(check_text(text, name, _schemas(schemas))[1])
    if out is None:
        typer.echo(text, nl=False)
    else:
        Path(out).write_text(text)
        typer.echo(f"{out}: `kubectl apply -f {out}` starts it", err=True)


def ray_version() -> str:
    """Of the Ray that this project is installed with."""
    from importlib.metadata import version

    return version("ray")


def default_image(*, cuda: bool) -> str:
    """The image of this version of the project."""
    from importlib.metadata import version

    return f"ghcr.io/seldtune/seldtune:{version('seldtune')}-ray{ray_version()}{'-cuda' if cuda else ''}"


def _nothing(name: str) -> str:
    return f"{name}: holds nothing of Ray's, so there was nothing to check"


def _schemas(folder: str | None) -> Schemas | None:
    from infra.kube.schemas import schemas_from_cluster, schemas_from_folder

    if folder is not None:
        return schemas_from_folder(folder)
    found = schemas_from_cluster()
    if found is None:
        logger.warning(
            "no schemas: kubectl finds no cluster with KubeRay, so fields are not checked, only the operator's rules; "
            "give KubeRay's config/crd/bases with --schemas"
        )
    return found


def _refuse(lines: list[str]) -> None:
    if lines:
        for line in lines:
            typer.echo(f"refused: {line}", err=True)
        raise typer.Exit(EXIT_REFUSED)
