"""The command line: `seldtune COMMAND`. Thin: each command calls a Python function and prints what it returns.

Modules that take long to import are imported inside the commands, so that `seldtune --help` is quick.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from data.errors import GateError, UserError

if TYPE_CHECKING:
    from infra.stack import StackStatus

log = logging.getLogger(__name__)

EXIT_FAILED, EXIT_REFUSED, EXIT_GATE = 1, 2, 3
OWN_LOGGERS = ("data", "trainables", "search_spaces", "infra")

app = typer.Typer(
    name="seldtune",
    help="Hyperparameter search for audio-visual sound event localisation and detection on Ray.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else on stdout.")]


@app.callback()
def configure(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more on stderr.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show an error's traceback (or SELDTUNE_DEBUG=1).")] = False,
) -> None:
    """Options of every command; they stand before its name."""
    if debug:
        os.environ["SELDTUNE_DEBUG"] = "1"
    set_up_logging(verbose=verbose)


def set_up_logging(*, verbose: bool) -> None:
    """Log to stderr: our own modules from INFO on (DEBUG when verbose), others from WARNING on (INFO)."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)-7s %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
        force=True,
    )
    for name in OWN_LOGGERS:
        logging.getLogger(name).setLevel(logging.DEBUG if verbose else logging.INFO)


def print_json(document: object) -> None:
    """The one JSON document of a `--json` call."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


@app.command()
def up(as_json: JsonOption = False) -> None:
    """Start the embedded stack: S3, MLflow and Ray, as far as the environment does not give them.

    Running it again starts only what is missing. Example: `seldtune up`
    """
    from infra import stack

    _show(stack.up(), as_json=as_json)


@app.command()
def status(as_json: JsonOption = False) -> None:
    """Show what runs where, with URLs and memory.

    Example: `seldtune status --json`
    """
    from infra import stack

    _show(stack.status(), as_json=as_json)


@app.command()
def down(
    purge: Annotated[bool, typer.Option("--purge", help="Delete the stack's folder and all data as well.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before deleting.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Stop the embedded stack and keep its data; a service of the environment is left alone.

    Example: `seldtune down`
    """
    from infra import stack
    from infra.home import find_home

    home = find_home()
    if purge and home.is_dir() and not yes:
        if not sys.stdin.isatty():
            raise UserError(f"--purge would delete {home} with all data in it: say --yes as well")
        typer.confirm(f"Delete {home} with all runs, models and data in it?", abort=True, err=True)
    ended = stack.down()
    deleted = stack.purge() if purge else None
    if as_json:
        print_json({"processes_ended": ended, "home": str(home), "deleted": deleted is not None})
    else:
        typer.echo(f"{ended} processes ended" if ended else "nothing was running")
        if deleted:
            typer.echo(f"{home} deleted")


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


def main() -> None:
    """Console script. Exit codes: 0 done, 1 failed, 2 refused as asked wrongly, 3 refused by a gate."""
    try:
        app()
    except UserError as error:
        sys.exit(_report(error, EXIT_REFUSED))
    except GateError as error:
        sys.exit(_report(error, EXIT_GATE))
    except Exception as error:
        code = _report(error, EXIT_FAILED)
        if not _debugging():
            sys.stderr.write("(`seldtune --debug ...` or SELDTUNE_DEBUG=1 shows the traceback)\n")
        sys.exit(code)


def _debugging() -> bool:
    return os.environ.get("SELDTUNE_DEBUG", "") not in ("", "0")


def _report(error: Exception, code: int) -> int:
    """Print an error to stderr: one line for what users can mend, the traceback before it when debugging."""
    if _debugging():
        log.error("traceback", exc_info=error)
    text = str(error) or type(error).__name__
    if code != EXIT_FAILED:
        text = " ".join(text.split())
    elif not isinstance(error, RuntimeError):
        text = f"{type(error).__name__}: {text}"
    sys.stderr.write(f"error: {text}\n")
    return code


if __name__ == "__main__":
    main()
