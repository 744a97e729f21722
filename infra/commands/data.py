"""The commands below `seldtune data`. Thin: each calls a Python function and prints what it returns."""

from __future__ import annotations

import shlex
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Literal

import typer

from infra.commands.options import AmbisonicsOption, ClassesOption, PluginOption
from infra.console.output import JsonOption, print_json, say

ReplaceOption = Annotated[
    bool, typer.Option("--replace", help="Let other data that lies there go, unless a sweep is running on it.")
]

data_app = typer.Typer(help="Make, take in, look at and check data.", no_args_is_help=True)


@data_app.command("synth")
def data_synth(
    name: Annotated[str, typer.Argument(help="Name of the data set: it goes to <root>/data/<name>.")] = "quickstart",
    out: Annotated[str | None, typer.Option(help="Another place for it: a folder or s3://bucket/path.")] = None,
    profile: Annotated[
        str | None, typer.Option(help="What scenes are like: easy (default), ambiguous, standard or hard.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML file with any of these, and `scene:` with its fields.")
    ] = None,
    fix: Annotated[
        list[str] | None, typer.Option("--set", help="A field of scenes, e.g. polyphony=3 or speed_m_s=0.5,1.5.")
    ] = None,
    events: Annotated[str | None, typer.Option(help="Folder <class>/*.wav of sounds to place in rooms.")] = None,
    train_clips: Annotated[int | None, typer.Option(help="Clips to train on (default 40).")] = None,
    val_clips: Annotated[int | None, typer.Option(help="Clips to validate on, in other rooms (default 8).")] = None,
    test_clips: Annotated[int | None, typer.Option(help="Clips to test on, in other rooms again (default 12).")] = None,
    clip_s: Annotated[float | None, typer.Option(help="Seconds of a clip (default 60).")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same data, whoever renders it.")] = None,
    video: Annotated[
        bool | None, typer.Option("--video/--no-video", help="Render panorama frames as well (default).")
    ] = None,
    replace: ReplaceOption = False,
    tree: Annotated[
        Path | None, typer.Option(help="Write wav, csv and mp4 files in the layout of STARSS23 here instead.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make synthetic scenes: rooms, moving and overlapping sources, ambisonic sound and panorama frames.

    Data that is there already is kept, and an interrupted run goes on.
    Example: `seldtune data synth crowd --profile standard --set polyphony=4 --set snr_db=5,10`
    """
    from infra.api import datasets as api
    from infra.api.datasets import SceneOptions

    options: SceneOptions = {
        "config": config,
        "profile": profile,
        "scene": fix,
        "events": events,
        "train_clips": train_clips,
        "val_clips": val_clips,
        "test_clips": test_clips,
        "clip_s": clip_s,
        "seed": seed,
        "video": video,
    }
    if tree is not None:
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as processes:
            folder = api.synthesise_tree(tree, run=processes.map, **options)
        say({"tree": str(folder)}, f"written to {folder}", as_json=as_json)
        return
    store = api.synthesise(name, out=out, replace=replace, **options)
    root = store.root
    hours = {split: content.hours for split, content in store.manifest.splits.items()}
    document = {"root": root, "manifest": store.manifest.sha256, "hours": hours}
    listed = ", ".join(
        f"{split} {f'{60 * value:.0f} min' if value >= 1 / 60 else f'{3600 * value:.0f} s'}"
        for split, value in hours.items()
    )
    say(document, f"{root}: {listed}; manifest {store.manifest.sha256[:12]}", as_json=as_json)


@data_app.command("ingest")
def data_ingest(
    tree: Annotated[
        str,
        typer.Argument(
            help="Folder or s3://bucket/path as the reader reads it; starss23: with foa_dev, metadata_dev, video_dev."
        ),
    ],
    out: Annotated[str | None, typer.Option(help="Where the store goes; <root>/data/<reader> if not given.")] = None,
    val_rooms: Annotated[
        str | None,
        typer.Option(help="Training rooms to hold out, e.g. room21,room6; else those that lack few classes."),
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Exit with 0 although a recording could not be read.")
    ] = False,
    video: Annotated[bool, typer.Option("--video/--no-video", help="Take in the video as well.")] = True,
    resample: Annotated[bool, typer.Option("--resample", help="Accept other sample rates and convert them.")] = False,
    ambisonics: AmbisonicsOption = "ambix",
    stereoscopic: Annotated[
        Literal["top-bottom", "left-right"] | None,
        typer.Option(help="Take one of the two panoramas that lie in each picture."),
    ] = None,
    classes: ClassesOption = None,
    reader: Annotated[str, typer.Option(help="How the tree is laid out: starss23, or as a plugin reads it.")] = (
        "starss23"
    ),
    trust_labels: Annotated[
        bool, typer.Option("--trust-labels", help="Take labels that do not say what is heard.")
    ] = False,
    replace: ReplaceOption = False,
    model: Annotated[
        str | None,
        typer.Option(help="models:/<name>@<alias>: say how loud they are beside what it was trained on."),
    ] = None,
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take in recordings as they lie in their folders: STARSS23 as it was downloaded, or what another reader reads.

    What is unusual is counted, what cannot be read is named, the rest is taken in. A crash costs little: say it again.
    Every node of the cluster has to see the tree. Example: `seldtune data ingest ~/STARSS23 --skip-bad`
    """
    from infra.api import datasets as api
    from infra.api.models import load_model

    # Before the recordings, which may take hours: a model that is not there is told first.
    listener = None if model is None else load_model(model)
    rooms = None if val_rooms is None else [room for room in val_rooms.split(",") if room]
    built = api.ingest(
        tree,
        out,
        val_rooms=rooms,
        video=video,
        resample=resample,
        ambisonics=ambisonics,
        stereoscopic=stereoscopic,
        classes=classes,
        reader=reader,
        trust_labels=trust_labels,
        replace=replace,
        plugins=plugin,
    )
    from infra.datasets.ingest_report import ingest_document, show_ingest

    document = ingest_document(built, listener)
    if as_json:
        print_json(document)
    else:
        show_ingest(document)
    named = {fault["recording"] for fault in built.report["faults"]}
    if named and not skip_bad:
        left_out = "1 recording was" if len(named) == 1 else f"{len(named)} recordings were"
        typer.echo(f"error: {left_out} left out; mend what is named above, or say --skip-bad", err=True)
        raise typer.Exit(1)


@data_app.command("verify")
def data_verify(
    root: Annotated[str, typer.Argument(help="A chunk store: its name, a folder or s3://bucket/path.")],
    as_json: JsonOption = False,
) -> None:
    """Read every shard of a store, check its hash, and decode everything in it.

    Example: `seldtune data verify s3://seldtune/data/quickstart`
    """
    from infra.api import datasets as api

    document = api.verify(root)
    say(document, f"{root}: {document['rows']} rows are as the manifest says", as_json=as_json)


@data_app.command("inspect")
def data_inspect(
    root: Annotated[str, typer.Argument(help="A chunk store: its name, a folder or s3://bucket/path.")],
    recording: Annotated[
        str | None, typer.Option(help="The one to look at; all, and the first drawn, if not given.")
    ] = None,
    at: Annotated[float | None, typer.Option(help="Second to draw from; where it is busy if not given.")] = None,
    seconds: Annotated[float, typer.Option(help="How much of it to draw.")] = 20.0,
    out: Annotated[
        Path | None, typer.Option(help="The picture's file; <recording>.png in the working directory if not given.")
    ] = None,
    picture: Annotated[bool, typer.Option("--picture/--no-picture", help="Draw a recording.")] = True,
    rows: Annotated[int, typer.Option(min=0, help="Rows of each split whose sound levels are measured.")] = 24,
    model: Annotated[
        str | None,
        typer.Option(help="models:/<name>@<alias>: say how loud they are beside what it was trained on."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Measure the sound levels of all rows.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a store holds (clips, classes, overlap, directions, sound levels) and draw a recording of it.

    Example: `seldtune data inspect s3://seldtune/data/quickstart --recording fold3_room2_mix001 --at 12`
    """
    from infra.api import datasets as api

    document = api.inspect(
        root,
        recording,
        at_s=at,
        seconds=seconds,
        picture=picture,
        out=out,
        rows=None if every else rows,
        model=model,
    )
    if as_json:
        print_json(document)
    else:
        from infra.datasets.inspection import show

        show(document)


@data_app.command("mix")
def data_mix(
    name: Annotated[str, typer.Argument(help="Name of the data set: it goes to <root>/data/<name>.")],
    target: Annotated[str, typer.Option(help="The store that is scored on: its name, a folder or s3://bucket/path.")],
    add: Annotated[list[str], typer.Option(help="A store to train on beside it; again for another one.")],
    out: Annotated[str | None, typer.Option(help="Another place for it: a folder or s3://bucket/path.")] = None,
    replace: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Add the training recordings of stores to those of another one; validation and test stay the target's.

    In a sweep, `training.added_share` is the share of windows that come from what was added: a number, or searched.
    Example: `seldtune data mix both --target s3://seldtune/data/starss23 --add s3://seldtune/data/synthetic`
    """
    from data.stores.mix import parts_of_store, parts_text
    from infra.api import datasets as api

    store = api.mix(name, target, add, out=out, replace=replace)
    document = {"root": store.root, "manifest": store.manifest.sha256, "parts": parts_of_store(store)}
    say(document, f"{store.root}: {parts_text(store)}; manifest {store.manifest.sha256[:12]}", as_json=as_json)


@data_app.command("embed")
def data_embed(
    root: Annotated[str, typer.Argument(metavar="DATA", help="A chunk store: its name, a folder or s3://bucket/path.")],
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
    from infra.api import datasets as api

    document = api.embed(
        root,
        encoder=encoder,
        weights=weights,
        random_weights=random_weights,
        frame_rate_hz=frame_rate_hz,
        fixed=fixed,
        out=out,
        precision=precision,
    )
    text = (
        f"{document['uri']}: {document['rows']} rows, {document['bytes'] / 1e6:.1f} MB, {document['vectors']} distinct "
        f"pictures or windows, {document['computed']} of them computed in {document['seconds']} s\n"
        f"use it with {' '.join(f'--set {shlex.quote(assignment)}' for assignment in document['use'])}"
    )
    say(document, text, as_json=as_json)
