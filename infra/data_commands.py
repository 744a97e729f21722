"""The commands below `seldtune data`. Thin: each calls a Python function and prints what it returns."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from infra.output import JsonOption, say

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


@data_app.command("embed")
def data_embed(
    root: Annotated[str, typer.Argument(metavar="DATA", help="A chunk store: a folder or s3://bucket/path.")],
    encoder: Annotated[str, typer.Option(help="The network: resnet50 or i3d.")] = "resnet50",
    weights: Annotated[
        str | None, typer.Option(help="Its weights, a file or s3:// (`seldtune weights import`).")
    ] = None,
    random_weights: Annotated[
        int | None, typer.Option(metavar="SEED", help="Draw weights instead: good for tests alone.")
    ] = None,
    frame_rate_hz: Annotated[
        float | None, typer.Option(help="Pictures a second, as the trials' inputs have it.")
    ] = None,
    fixed: Annotated[
        list[str] | None, typer.Option("--set", help="A field of visual or inputs, e.g. visual.pool_columns=2.")
    ] = None,
    out: Annotated[str | None, typer.Option(help="Another place for them: a folder or s3://bucket/path.")] = None,
    precision: Annotated[str | None, typer.Option(help="fp32 or fp16 (the default where there is a GPU).")] = None,
    as_json: JsonOption = False,
) -> None:
    """Let a frozen visual network look once at every picture, under all channel swaps, for all trials.

    Example: `seldtune data embed s3://seldtune/data/quickstart --weights s3://seldtune/weights/resnet50.safetensors`
    """
    from infra.arguments import parse_assignments
    from infra.embed import EmbedRequest, embed_on_cluster
    from infra.settings import load_settings

    places = [place for place in (root, weights, out) if place is not None]
    settings = load_settings(need=("s3",) if any(place.startswith("s3://") for place in places) else ())
    settings.export()
    rate = {} if frame_rate_hz is None else {"inputs.frame_rate_hz": frame_rate_hz}
    document = embed_on_cluster(
        EmbedRequest(
            data=root,
            encoder=encoder,
            weights=weights,
            random_weights=random_weights,
            fixed={**parse_assignments(fixed or []), **rate},
            out=out,
            precision=precision,
        ),
        settings,
    )
    text = (
        f"{document['uri']}: {document['rows']} rows, {document['bytes'] / 1e6:.1f} MB, {document['vectors']} distinct "
        f"pictures or windows, {document['computed']} of them computed in {document['seconds']} s\n"
        f"use it with {' '.join(f'--set {shlex.quote(assignment)}' for assignment in document['use'])}"
    )
    say(document, text, as_json=as_json)
