"""`seldtune render` and `doctor`: the Kubernetes manifests of a sweep, and the cluster that they are for."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import pkgutil
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from data.errors import UserError
from infra.commands.options import ModelNameOption, SweepOptions, with_sweep_options
from infra.console.output import EXIT_REFUSED
from infra.kube.shapes import SHAPES, find_shape, require_room

if TYPE_CHECKING:
    from infra.kube.review import Review


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
    token_secret: Annotated[
        str | None, typer.Option(help="Secret with Ray's token; seldtune-ray-token if not given.", metavar="NAME")
    ] = None,
    context: Annotated[
        str | None, typer.Option(help="kubectl's context whose cluster is asked; the current one if not given.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no cluster.")] = False,
    schemas: Annotated[
        str | None, typer.Option(help="Folder of KubeRay's CRDs to check with, in a cluster's place.")
    ] = None,
    check: Annotated[str | None, typer.Option(help="Check this file instead of writing one.", metavar="FILE")] = None,
    out: Annotated[str | None, typer.Option(help="File to write; the terminal if not given.")] = None,
) -> None:
    """Write the RayJob of a sweep, or check one. What would be refused later is refused here, with the field's path.

    Judged by rules, and by the cluster that kubectl reaches: a strict dry run as its user changes nothing.

    Example: `seldtune render fusion --data s3://bucket/data/mine --gpus 1 --budget 12h | kubectl apply -f -`
    """
    if (check is None) == (not options.space):
        raise UserError("name one search space to render, or one file with --check")
    from data.files.yaml_files import read_text
    from infra.kube.documents import as_yaml
    from infra.kube.rayjob import TOKEN_SECRET, JobRequest, rayjob
    from infra.kube.recurring import recurring
    from infra.kube.review import documents_of, review

    if check is not None:
        if not Path(check).is_file():
            raise UserError(f"--check {check!r}: there is no such file")
        try:
            text = read_text(check)
        except UserError as error:
            raise UserError(f"--check {check!r}: {error}") from error
        found = review(text, check, schemas=schemas, context=context, offline=offline)
        if not found.refused:
            found.refused += [line for job in documents_of(check, "RayJob") for line in _entrypoint_faults(job)]
        _told(found)
        fine = f"{check}: {found.count} of Ray's documents, nothing wrong with them"
        typer.echo(f"{fine} (judged by {found.by or 'rules alone'})" if found.count else _nothing(check))
        return

    from infra.console.arguments import parse_duration_s, parse_model

    request = options.request()
    resources = request.resources()
    chosen = find_shape(shape or ("gpu" if resources.gpus_per_worker and overlay != "dev" else "cpu"))
    require_room(chosen, resources.workers, resources.cpus_per_worker, resources.gpus_per_worker)
    name, budget_s = request.sweep_name(), request.budget().wall_s
    draws = request.draw()
    if draws.refusals:
        raise UserError(f"{len(draws.refusals)} of {len(draws.points)} configs cannot be made: {draws.refusals[0]}")
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
            token_secret=token_secret or TOKEN_SECRET,
        )
    )
    documents = [job] if schedule is None else recurring(job, schedule, time_zone)
    text = as_yaml(*documents)
    _told(review(text, name, schemas=schemas, context=context, offline=offline))
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
    return f"{name}: holds no RayJob, RayCluster or RayCronJob, so there was nothing to check"


def _entrypoint_faults(document: dict[str, Any]) -> Iterator[str]:
    """What the command line would refuse of a RayJob's sweep, once its cluster stands and is paid for.

    KubeRay runs the entrypoint in a shell; what has a shell's own signs is left to it.
    """
    from infra.commands.sweep import sweep
    from infra.console.arguments import parse_duration_s

    title = f"RayJob {document['metadata'].get('name')}: spec.entrypoint"
    text = str(document["spec"].get("entrypoint") or "").replace("\\\n", " ")
    try:
        words = shlex.split(text)
    except ValueError as error:
        yield f"{title}: {error}; close it: a shell runs this line"
        return
    if words[:1] != ["seldtune"] or re.search(r"[|&;<>$`#]", text):
        return
    if words[1:2] != ["sweep"]:
        if difflib.get_close_matches("".join(words[1:2]), ["sweep"], cutoff=0.7):
            yield f"{title}: no command {words[1]!r}; did you mean sweep?"
        return
    command = typer.Typer(add_completion=False)
    command.command()(sweep)
    try:
        if {"-h", "--help"} & set(words):
            raise UserError("it prints its help and ends; leave --help out")
        asked = typer.main.get_command(command).make_context("seldtune sweep", words[2:]).params
        space = str(asked["space"]).replace("-", "_")
        if space not in _spaces() and (meant := difflib.get_close_matches(space, _spaces(), 1, 0.8)):
            raise UserError(f"no search space {asked['space']!r}; did you mean {meant[0]}?")
        budget_s, deadline_s = asked.get("budget"), document["spec"].get("activeDeadlineSeconds")
        if budget_s and deadline_s and parse_duration_s(budget_s) > deadline_s:
            raise UserError(f"--budget {budget_s} is more than activeDeadlineSeconds: {deadline_s}; render it anew")
    except UserError as error:
        yield f"{title}: {error}"
    except Exception as error:
        if not hasattr(error, "format_message"):  # click's own, of typer's copy or the installed one, by its version
            raise
        yield f"{title}: {error.format_message()}; see `seldtune sweep --help`"


def _spaces() -> set[str]:
    """Names of modules of search spaces, which are those of the spaces; none of them is imported."""
    import search_spaces

    return {module.name for module in pkgutil.iter_modules(search_spaces.__path__)}


def _told(found: Review) -> None:
    """Say what was found; with anything refused, the command ends here."""
    for line in found.said:
        typer.echo(f"note: {line}", err=True)
    for line in found.refused:
        typer.echo(f"refused: {line}", err=True)
    if found.refused:
        raise typer.Exit(EXIT_REFUSED)


def doctor(
    files: Annotated[
        list[str] | None, typer.Argument(help="Files of `render`, whose pods are compared with what is there.")
    ] = None,
    cluster: Annotated[bool, typer.Option("--cluster", help="Look at the cluster that kubectl reaches.")] = False,
    context: Annotated[str | None, typer.Option(help="kubectl's context; the current one if not given.")] = None,
    namespace: Annotated[str | None, typer.Option(help="Of sweeps; the files', or seldtune.")] = None,
) -> None:
    """Say what a cluster has of what sweeps need, and the fix of what it lacks. Reads only.

    Versions of KubeRay and Kueue, your rights, Secrets by name, quotas and queues, nodes for each pod. Exit code 2
    where something is to be mended; what you may not see is said, and is no fault.

    Example: `seldtune render fusion --gpus 1 --out fusion.yaml && seldtune doctor --cluster fusion.yaml`
    """
    if not cluster:
        raise UserError("say what to look at: `seldtune doctor --cluster [FILE...]`")
    from infra.kube.documents import under
    from infra.kube.review import documents_of
    from infra.kube.server.api import UnreachableError, kubectls_server
    from infra.kube.server.doctor import examine, worst

    documents = [document for file in files or [] for document in documents_of(file)]
    place = namespace or next((under(one, "metadata.namespace") for one in documents), None) or "seldtune"
    findings = []
    try:
        with kubectls_server(context) as server:
            typer.echo(f"{server.name}, namespace {place}")
            for finding in examine(server, documents, place):
                findings.append(finding)
                typer.echo(finding)
    except UnreachableError as error:
        raise UserError(f"no cluster to look at: {error}") from error
    if not any(finding.state == "ok" for finding in findings):
        raise UserError("nothing could be seen of it: see the reasons above")
    if worst(findings):
        raise typer.Exit(EXIT_REFUSED)
