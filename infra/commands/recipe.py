"""`seldtune recipe`: published recipes, from the data to the table."""

from __future__ import annotations

from typing import Annotated

import typer

from infra.commands.options import PluginOption
from infra.commands.table1 import WeightsOption, show_systems
from infra.console.output import JsonOption

recipe_app = typer.Typer(help="Published recipes, from the data to the table.", no_args_is_help=True)


@recipe_app.command("paper")
def recipe_paper(
    data: Annotated[str, typer.Option(help="The target, a chunk store: it is fine-tuned and scored on.")],
    synthetic: Annotated[
        str | None, typer.Option(help="Chunk store that the audio encoder learns on; scenes are made if not given.")
    ] = None,
    added_share: Annotated[float, typer.Option(help="Share of the fine-tuning's windows that is synthetic.")] = 0.0,
    name: Annotated[str, typer.Option(help="Of all that it makes; what is there is continued.")] = "paper",
    only: Annotated[list[str] | None, typer.Option(help="A preset; repeat for several. The paper's if not given.")] = (
        None
    ),
    size: Annotated[str, typer.Option(help="paper, or small: minutes on a laptop.")] = "paper",
    faithful: Annotated[bool, typer.Option("--faithful/--fixed", help="As the authors' code, or as the paper.")] = True,
    resnet_weights: WeightsOption = None,
    i3d_weights: WeightsOption = None,
    seeds: Annotated[int, typer.Option(help="Trainings of each system.")] = 1,
    cpus: Annotated[int | None, typer.Option(help="CPUs of a trial.")] = None,
    gpus: Annotated[float | None, typer.Option(help="GPUs of a trial.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Trials at a time; as many as fit if not given.")] = None,
    fix: Annotated[
        list[str] | None, typer.Option("--set", help="A field of both trainings, e.g. training.epochs=4.")
    ] = None,
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """The paper's recipe: synthetic scenes, an audio encoder that learns on them, every row of Table 1 from it.

    Every result says which data trained it. The same command goes on after a crash or Ctrl-C, in whatever stage.
    Example: `seldtune recipe paper --data s3://bucket/data/starss23 --resnet-weights s3://bucket/resnet50.safetensors`
    """
    from infra.api import finals as api
    from search_spaces.presets import Pretrained

    rows = api.recipe(
        data,
        synthetic=synthetic,
        added_share=added_share,
        name=name,
        only=only,
        size=size,
        faithful=faithful,
        pretrained=Pretrained(resnet=resnet_weights, i3d=i3d_weights),
        seeds=seeds,
        cpus=cpus,
        gpus=gpus,
        concurrency=concurrency,
        fixed=fix,
        plugins=plugin,
    )
    show_systems(rows, f"{name} ({size} size, test split)", as_json)
