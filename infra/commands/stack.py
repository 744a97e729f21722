"""`seldtune up`, `down`, `status`: the embedded stack."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from data.errors import UserError
from infra.console.output import JsonOption, print_json

if TYPE_CHECKING:
    from infra.stack.embedded import StackStatus

WATCH_EVERY_S = 3.0


def up(as_json: JsonOption = False) -> None:
    """Start the embedded stack: S3, MLflow and Ray, as far as the environment does not give them.

    Running it again starts only what is missing. Example: `seldtune up`
    """
    from infra.stack import embedded

    _show(embedded.up(), as_json=as_json)


def status(
    sweep: Annotated[str | None, typer.Argument(help="A sweep, to see how it stands.")] = None,
    watched: Annotated[bool, typer.Option("--watch", help="Go on showing the sweep until it ends.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what runs where, with URLs and memory; or how a sweep stands, whoever runs it.

    Example: `seldtune status quickstart --watch`
    """
    if sweep is None:
        if watched:
            raise UserError("--watch shows a sweep: name it, e.g. `seldtune status quickstart --watch`")
        from infra.api import sweeps as api

        _show(api.status(), as_json=as_json)
    else:
        _show_sweep(sweep, watched=watched, as_json=as_json)


def _show_sweep(name: str, *, watched: bool, as_json: bool) -> None:
    from rich.console import Console

    from infra.api import sweeps as api
    from infra.watch.screen import render, watch

    reader = api.reader(name)
    if as_json:
        print_json(reader.look().as_json())
    elif watched:
        watch(reader.look, WATCH_EVERY_S)
    else:
        Console(highlight=False).print(render(reader.look()))


def down(
    purge: Annotated[bool, typer.Option("--purge", help="Delete the stack's folder and all data as well.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before deleting.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Stop the embedded stack and keep its data; a service of the environment is left alone.

    Example: `seldtune down`
    """
    from infra.api import services as api
    from infra.stack.home import find_home

    home = find_home()
    if purge and home.is_dir() and not yes:
        if not sys.stdin.isatty():
            raise UserError(f"--purge would delete {home} with all data in it: say --yes as well")
        typer.confirm(f"Delete {home} with all runs, models and data in it?", abort=True, err=True)
    ended = api.down(purge=purge)
    if as_json:
        print_json(ended.as_json())
    else:
        ran = f"{ended.processes_ended} processes ended" if ended.processes_ended else ""
        typer.echo(ran or f"nothing was running in {ended.home}")
        if ended.deleted:
            typer.echo(f"{ended.home} deleted")


def _show(state: StackStatus, *, as_json: bool) -> None:
    """`status` as a table for people, or as JSON."""
    if as_json:
        print_json(state.as_json())
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("service", "state", "url"):
        table.add_column(heading, overflow="fold")
    table.add_column("pid", justify="right")
    table.add_column("MiB", justify="right")
    table.add_column("from")
    for one in state.services:
        memory = "" if one.memory_bytes is None else f"{one.memory_bytes / 2**20:.0f}"
        table.add_row(one.service, one.state, one.url or "", str(one.pid or ""), memory, one.source)
    console = Console(highlight=False)
    console.print(table)
    # Plain lines: a path broken at the screen's edge could not be copied.
    typer.echo(f"root     {state.root}")
    if state.ray_address:
        typer.echo(f"Ray      ray.init(address={state.ray_address!r})")
    if state.ray_token_file:
        typer.echo(f"token    {state.ray_token_file} holds what the Ray dashboard asks for")
    if state.home:
        typer.echo(f"home     {state.home}")
        typer.echo(f"logs     {state.home}/logs")
    if any(one.state == "stopped" for one in state.services):
        typer.echo("Not everything runs here: `seldtune up` starts what is missing.")
