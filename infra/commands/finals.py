"""`seldtune finals`: the best of a sweep, with several seeds, on the test split."""

from __future__ import annotations

from typing import Annotated

import typer

from infra.commands.options import (
    CpusOption,
    DataMemoryOption,
    GpusOption,
    ModelNameOption,
    PluginOption,
    SearchedDataOption,
    TrainingsAtATimeOption,
    TrainingWorkersOption,
)
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
    model: ModelNameOption = "seld",
    data: SearchedDataOption = None,
    workers: TrainingWorkersOption = 1,
    cpus: CpusOption = None,
    gpus: GpusOption = None,
    concurrency: TrainingsAtATimeOption = None,
    data_memory: DataMemoryOption = None,
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
