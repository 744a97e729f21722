"""`seldtune submit`: a sweep as a job on a running Ray cluster."""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data.errors import UserError
from infra.commands.options import ModelNameOption, SweepOptions, with_sweep_options
from infra.console.arguments import parse_assignments, parse_bytes, parse_duration_s, parse_model, parse_name
from infra.console.output import EXIT_FAILED, EXIT_INTERRUPTED, JsonOption, print_json

if TYPE_CHECKING:
    from infra.cluster.job_api import Cluster, JobClient
    from infra.cluster.jobs import Job
    from infra.stack.settings import Settings

DEFAULT_MODEL = "seld"


@functools.partial(with_sweep_options, space="")
def submit(
    options: SweepOptions,
    model: ModelNameOption = DEFAULT_MODEL,
    address: Annotated[
        str | None, typer.Option(help="Dashboard of the cluster, http://HEAD:8265 (or RAY_API_SERVER_ADDRESS).")
    ] = None,
    code: Annotated[
        bool, typer.Option("--code", help="Send this project's code; else the cluster's image has it installed.")
    ] = False,
    max_upload: Annotated[str, typer.Option(help="Refuse to send more than this.")] = "20MB",
    detach: Annotated[bool, typer.Option("--detach", help="Do not follow the log.")] = False,
    status: Annotated[str | None, typer.Option(help="Show how the job of this sweep stands.", metavar="NAME")] = None,
    follow: Annotated[str | None, typer.Option(help="Follow the log of this sweep again.", metavar="NAME")] = None,
    stop: Annotated[
        str | None, typer.Option(help="Stop this sweep, so that it can go on later.", metavar="NAME")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a sweep as a job on a running Ray cluster, and follow its log; Ctrl-C leaves it running.

    The same command follows it again while it runs, and goes on with it once it has ended.
    Example: `seldtune submit fusion --gpus 1 --address http://127.0.0.1:8265`
    """
    asked = [name for name in (status, follow, stop) if name is not None]
    if len(asked) + bool(options.space) != 1:
        raise UserError("name one search space to submit, or one sweep with --status, --follow or --stop")
    parse_model(model)
    from infra.stack.settings import load_settings

    settings = load_settings(need=())
    from infra.cluster.job_api import find_cluster, open_client
    from infra.cluster.jobs import jobs_of, last_job
    from infra.cluster.jobs import stop as stop_job

    cluster = find_cluster(address, settings)
    if cluster.embedded:
        settings.export()
    name = _name(options, settings, cluster) if options.space else ""
    client = open_client(cluster)
    if status is not None:
        last_job(client, status)
        _show(client, jobs_of(client, status), as_json=as_json)
    elif stop is not None:
        _show(client, [stop_job(client, last_job(client, stop))], as_json=as_json)
    elif follow is not None:
        _follow(client, follow, last_job(client, follow), as_json=as_json)
    else:
        sent = dataclasses.replace(options, name=name)
        job = _submit(client, sent, model, cluster, settings, code=code, limit_bytes=parse_bytes(max_upload))
        if detach:
            _show(client, [job], as_json=as_json)
        else:
            _follow(client, name, job, as_json=as_json)


def _root(settings: Settings, cluster: Cluster) -> str | None:
    """Where the job keeps everything; nothing: where the cluster's own environment says."""
    return settings.root if cluster.embedded or os.environ.get("SELDTUNE_ROOT") else None


def _name(options: SweepOptions, settings: Settings, cluster: Cluster) -> str:
    """The sweep's name, once what can be refused at once is; the rest is left to the sweep.

    Imports neither torch nor the sweep: a laptop is not to wait for what it does not use.
    """
    from data.storage import is_remote
    from search_spaces.registry import space_name

    if options.plugin:
        from data.registry.plugins import load_plugins

        load_plugins(options.plugin)
    of_space = space_name(options.space)
    name = parse_name(options.name or of_space)
    if options.budget is not None:
        parse_duration_s(options.budget)
    if options.data_memory is not None:
        parse_bytes(options.data_memory)
    parse_assignments(options.fix or [])
    for named, uri in (("SELDTUNE_ROOT", _root(settings, cluster)), ("--data", options.data)):
        if uri is not None and not is_remote(uri):
            raise UserError(
                f"{named} is {uri}, a folder that the cluster's nodes do not share: give s3://bucket/prefix"
            )
    return name


def _submit(
    client: JobClient,
    options: SweepOptions,
    model: str,
    cluster: Cluster,
    settings: Settings,
    *,
    code: bool,
    limit_bytes: int,
) -> Job:
    """The job of the sweep that the options name, new or not."""
    from infra.cluster.job_api import check_versions, versions_here, versions_of
    from infra.cluster.jobs import entrypoint, refuse_secrets, runtime_env
    from infra.cluster.jobs import submit as submit_job
    from infra.cluster.upload import stage
    from infra.provenance.checkout import commit_text

    check_versions(versions_of(client), versions_here(), cluster.url)
    root, name = _root(settings, cluster), str(options.name)
    with_secrets = {**os.environ, **settings.environment()}
    files = [*([options.space] if Path(options.space).suffix else []), *(options.plugin or [])]
    plugin = [Path(file).name for file in options.plugin or []]
    sent = dataclasses.replace(options, space=Path(options.space).name, plugin=plugin)
    arguments = ["sweep", *sent.arguments(), *([] if model == DEFAULT_MODEL else ["--model", model])]
    refuse_secrets([*arguments, root or ""], with_secrets)
    command = entrypoint(arguments)
    with tempfile.TemporaryDirectory(prefix="seldtune-submit-") as scratch:
        size = stage(Path(scratch), files=files, code=code, limit_bytes=limit_bytes, environment=with_secrets)
        environment = runtime_env(scratch if size else None, root, commit_text() if code else None)
        job, new = submit_job(client, name, command, environment)
    if new:
        typer.echo(f"sweep {name} is job {job.id} on {cluster.url}", err=True)
    else:
        typer.echo(f"sweep {name} is job {job.id} on {cluster.url} already", err=True)
        if job.entrypoint != command:
            typer.echo(f"it was submitted as: {job.entrypoint}", err=True)
    return job


def _follow(client: JobClient, name: str, job: Job, *, as_json: bool) -> None:
    """Show the log until the job ends; exit as the sweep did."""
    from infra.cluster.jobs import STOPPED, SUCCEEDED, Follower

    out = sys.stderr if as_json else sys.stdout

    def write(text: str) -> None:
        out.write(text)
        out.flush()

    try:
        job = Follower(client, job.id, write).follow()
    except KeyboardInterrupt:
        typer.echo(
            f"\njob {job.id} goes on; `seldtune submit --follow {name}` follows it again, `--status {name}` shows how "
            f"it stands, `--stop {name}` ends it (the cluster: --address {client.get_address()})",
            err=True,
        )
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if as_json:
        print_json({"address": client.get_address(), "jobs": [job.as_json()]})
    else:
        typer.echo(f"job {job.id} {job.state.lower()}", err=True)
    if job.state == STOPPED:
        raise typer.Exit(EXIT_INTERRUPTED)
    if job.state != SUCCEEDED:
        if "No module named infra" in job.message:
            typer.echo("the cluster has not got this project installed: --code sends it", err=True)
        raise typer.Exit(job.exit_code or EXIT_FAILED)


def _show(client: JobClient, jobs: list[Job], *, as_json: bool) -> None:
    """How jobs stand, the last one with its last words."""
    if as_json:
        print_json({"address": client.get_address(), "jobs": [job.as_json() for job in jobs]})
        return
    for job in jobs:
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job.started)) if job.started else "not yet"
        took = f", {(job.ended or time.time()) - job.started:.0f} s" if job.started else ""
        typer.echo(f"{job.id}  {job.state.lower()}, started {started}{took}")
    if message := " ".join(jobs[-1].message.split()):
        typer.echo(message)
