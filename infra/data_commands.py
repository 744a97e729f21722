"""The commands below `seldtune data`. Thin: each calls a Python function and prints what it returns."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from infra.output import JsonOption, print_json, say

data_app = typer.Typer(help="Make, take in, look at and check data.", no_args_is_help=True)


@data_app.command("synth")
def data_synth(
    name: Annotated[str, typer.Argument(help="Name of the data set: it goes to <root>/data/<name>.")] = "quickstart",
    out: Annotated[str | None, typer.Option(help="Another place for it: a folder or s3://bucket/path.")] = None,
    profile: Annotated[str, typer.Option(help="What scenes are like: easy or standard.")] = "easy",
    train_clips: Annotated[int, typer.Option(help="Clips to train on, a minute each.")] = 40,
    val_clips: Annotated[int, typer.Option(help="Clips to validate on, in other rooms.")] = 8,
    test_clips: Annotated[int, typer.Option(help="Clips to test on, in other rooms again.")] = 4,
    seed: Annotated[int, typer.Option(help="The same seed gives the same data, on any number of workers.")] = 0,
    video: Annotated[bool, typer.Option("--video/--no-video", help="Render panorama frames as well.")] = True,
    tree: Annotated[
        Path | None, typer.Option(help="Write wav, csv and mp4 files in the layout of STARSS23 here instead.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make synthetic scenes: rooms, moving and overlapping sources, ambisonic sound and panorama frames.

    Data that is there already is kept. Example: `seldtune data synth quickstart`
    """
    from data.synth import SynthSettings, synthesise, write_tree

    made = SynthSettings(
        profile=profile,
        train_clips=train_clips,
        val_clips=val_clips,
        test_clips=test_clips,
        seed=seed,
        with_video=video,
    )
    if tree is not None:
        folder = write_tree(made, str(tree))
        say({"tree": str(folder)}, f"written to {folder}", as_json=as_json)
        return
    from infra.ray_cluster import connect, ray_map
    from infra.settings import load_settings

    settings = load_settings(need=("s3",))
    settings.export()
    root = out or f"{settings.root}/data/{name}"

    def run(function: Any, tasks: Any) -> Any:
        connect(settings)
        return ray_map(function, tasks)

    store = synthesise(made, root, run=run)
    hours = {split: content.hours for split, content in store.manifest.splits.items()}
    document = {"root": root, "manifest": store.manifest.sha256, "hours": hours}
    listed = ", ".join(f"{split} {60 * value:.0f} min" for split, value in hours.items())
    say(document, f"{root}: {listed}; manifest {store.manifest.sha256[:12]}", as_json=as_json)


@data_app.command("verify")
def data_verify(
    root: Annotated[str, typer.Argument(help="A chunk store: a folder or s3://bucket/path.")],
    as_json: JsonOption = False,
) -> None:
    """Read every shard of a store, check its hash, and decode everything in it.

    Example: `seldtune data verify s3://seldtune/data/quickstart`
    """
    from data.store import open_store, verify
    from infra.settings import load_settings

    load_settings(need=("s3",) if root.startswith("s3://") else ()).export()
    store = open_store(root)
    rows = verify(store)
    document = {"root": root, "manifest": store.manifest.sha256, "rows": rows}
    say(document, f"{root}: {rows} rows are as the manifest says", as_json=as_json)


@data_app.command("inspect")
def data_inspect(
    root: Annotated[str, typer.Argument(help="A chunk store: a folder or s3://bucket/path.")],
    recording: Annotated[str | None, typer.Option(help="Recording to draw; the first if not given.")] = None,
    at: Annotated[float | None, typer.Option(help="Second to draw from; where it is busy if not given.")] = None,
    seconds: Annotated[float, typer.Option(help="How much of it to draw.")] = 20.0,
    out: Annotated[
        Path | None, typer.Option(help="The picture's file; <recording>.png in the working directory if not given.")
    ] = None,
    picture: Annotated[bool, typer.Option("--picture/--no-picture", help="Draw a recording.")] = True,
    rows: Annotated[int, typer.Option(min=0, help="Rows of each split whose sound levels are measured.")] = 24,
    every: Annotated[bool, typer.Option("--all", help="Measure the sound levels of all rows.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a store holds (clips, classes, overlap, directions, sound levels) and draw a recording of it.

    Example: `seldtune data inspect s3://seldtune/data/quickstart --recording fold3_room2_mix001 --at 12`
    """
    from infra.inspection import inspect_store, show
    from infra.settings import load_settings

    load_settings(need=("s3",) if root.startswith("s3://") else ()).export()
    document = inspect_store(
        root,
        sound_rows=None if every else rows,
        picture=picture,
        recording=recording,
        at_s=at,
        seconds=seconds,
        out=out,
    )
    if as_json:
        print_json(document)
    else:
        show(document)
