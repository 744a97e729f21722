"""`seldtune sweep`: run a sweep, or go on with one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from infra.commands.options import ModelNameOption, SweepOptions, with_sweep_options
from infra.console.output import EXIT_FAILED, EXIT_INTERRUPTED, JsonOption, print_json

if TYPE_CHECKING:
    from infra.sweep.conclude import Conclusion


@with_sweep_options
def sweep(
    options: SweepOptions,
    model: ModelNameOption = "seld",
    as_json: JsonOption = False,
) -> None:
    """Search a space: run trials, compare them, and register the best model as challenger.

    The same command goes on after a crash or Ctrl-C. On a terminal it shows one screen (SELDTUNE_NO_LIVE=1: lines).
    Example: `seldtune sweep quickstart --trials 10 --budget 10m`
    """
    from infra.api import sweeps as api
    from infra.api.services import settled

    settings = settled(None)
    from infra.watch.screen import live_screen, wants_live

    screen = live_screen if wants_live(as_json=as_json) else None
    conclusion = api.sweep(options.space, model=model, screen=screen, settings=settings, **options.besides_space())
    if conclusion is None:
        raise typer.Exit(EXIT_INTERRUPTED)
    if as_json:
        print_json(conclusion.as_json())
    else:
        _show_conclusion(conclusion)
    if conclusion.best is None:
        raise typer.Exit(EXIT_FAILED)


def _show_conclusion(conclusion: Conclusion) -> None:
    """What a sweep found, on one screen."""
    from rich.console import Console

    from infra.sweep.report import terminal_table

    console = Console(highlight=False, width=max(Console().width, 118))
    console.print(terminal_table(conclusion.rows, f"Sweep {conclusion.name} (validation, classes present)"))
    for line in conclusion.lines():
        typer.echo(line)
