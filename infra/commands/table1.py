"""`seldtune table1`: the paper's table on a store of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from infra.commands.options import FaithfulOption, PluginOption
from infra.console.output import EXIT_INTERRUPTED, JsonOption, print_json

if TYPE_CHECKING:
    from infra.finals.table1 import SystemScores

WeightsOption = Annotated[str | None, typer.Option(help="URI of pre-trained weights; random ones if not given.")]


def table1(
    data: Annotated[str, typer.Option(help="Chunk store: a folder or s3://bucket/path.")],
    name: Annotated[str, typer.Option(help="Name of the table; an existing one is continued.")] = "table1",
    only: Annotated[list[str] | None, typer.Option(help="A preset; repeat for several. All if not given.")] = None,
    size: Annotated[str, typer.Option(help="paper, or small: minutes on a laptop.")] = "paper",
    faithful: FaithfulOption = False,
    audio_weights: WeightsOption = None,
    resnet_weights: WeightsOption = None,
    i3d_weights: WeightsOption = None,
    detector_weights: WeightsOption = None,
    boxes: Annotated[str | None, typer.Option(help="Folder of csv with boxes, in place of a detector.")] = None,
    seeds: Annotated[int, typer.Option(help="Trainings of each system.")] = 1,
    cpus: Annotated[int | None, typer.Option(help="CPUs of a trial.")] = None,
    gpus: Annotated[float | None, typer.Option(help="GPUs of a trial.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Trials at a time; as many as fit if not given.")] = None,
    fix: Annotated[
        list[str] | None, typer.Option("--set", help="A field that every system takes, e.g. training.epochs=4.")
    ] = None,
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train the published systems on a store and score them on its test split, in the form of the paper's Table 1.

    The same command goes on after a crash or Ctrl-C.
    Example: `seldtune table1 --data s3://seldtune/data/quickstart --size small`
    """
    from infra.api import finals as api
    from search_spaces.presets import Pretrained

    pretrained = Pretrained(
        audio=audio_weights, resnet=resnet_weights, i3d=i3d_weights, detector=detector_weights, boxes=boxes
    )
    rows = api.table1(
        data,
        name=name,
        only=only,
        size=size,
        faithful=faithful,
        pretrained=pretrained,
        seeds=seeds,
        cpus=cpus,
        gpus=gpus,
        concurrency=concurrency,
        fixed=fix,
        plugins=plugin,
    )
    show_systems(rows, f"{name} ({size} size, test split)", as_json)


def show_systems(rows: list[SystemScores] | None, title: str, as_json: bool) -> None:
    """Print a table of systems and what they were trained on; of an interrupted one, exit as such."""
    if rows is None:
        raise typer.Exit(EXIT_INTERRUPTED)
    if as_json:
        print_json([row.as_json() for row in rows])
        return
    from rich.console import Console

    from infra.finals.table1 import terminal_table

    console = Console(highlight=False, width=max(Console().width, 130))
    console.print(terminal_table(rows, title))
    for line in rows[0].trained_on if rows else ():
        typer.echo(line)
