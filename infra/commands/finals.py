"""`seldtune finals`: the best of a sweep, with several seeds, on the test split."""

from __future__ import annotations

from typing import Annotated

import typer

from infra.commands.options import PluginOption
from infra.console.output import EXIT_INTERRUPTED, JsonOption, print_json


def finals(
    sweep: Annotated[str, typer.Argument(help="Name of a sweep that has ended.")],
    best: Annotated[int, typer.Option(help="Distinct configs to take, by validation.")] = 3,
    seeds: Annotated[int, typer.Option(help="Trainings of each.")] = 3,
    control: Annotated[
        list[str] | None,
        typer.Option(help="eyes or ears: train each finalist with them closed too; repeat for both."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the finals; <sweep>-finals if not given.")] = None,
    model: Annotated[str, typer.Option(help="Name in the registry for the best model.")] = "seld",
    data: Annotated[str | None, typer.Option(help="Chunk store; the one that the sweep was on if not given.")] = None,
    workers: Annotated[int, typer.Option(help="Ray Train workers of a training.")] = 1,
    cpus: Annotated[int | None, typer.Option(help="CPUs of a worker.")] = None,
    gpus: Annotated[float | None, typer.Option(help="GPUs of a worker.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Trainings at a time; as many as fit if not given.")] = None,
    data_memory: Annotated[
        str | None,
        typer.Option(envvar="SELDTUNE_DATA_MEMORY", help="For decoded data, e.g. 20GB; what does not fit is streamed."),
    ] = None,
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train the best configs of a sweep again with several seeds, read the test split once, and register the best.

    Every choice is made on validation. The same command goes on after a crash or Ctrl-C, and reads the test split
    again for nobody. Example: `seldtune finals quickstart --best 2`
    """
    from infra.api import finals as api

    found = api.finals(
        sweep,
        best=best,
        seeds=seeds,
        controls=control or (),
        name=name,
        model=model,
        data=data,
        workers=workers,
        cpus=cpus,
        gpus=gpus,
        concurrency=concurrency,
        data_memory=data_memory,
        plugins=plugin,
    )
    if found is None:
        raise typer.Exit(EXIT_INTERRUPTED)
    if as_json:
        print_json(found.as_json())
        return
    from rich.console import Console

    from infra.finals.report import terminal_table

    console = Console(highlight=False, width=max(Console().width, 140))
    console.print(terminal_table(found))
    for line in found.lines():
        typer.echo(line)
