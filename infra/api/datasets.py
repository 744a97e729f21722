"""Data: made, taken in, looked at, checked, seen by frozen networks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from data.errors import UserError
from data.names import check_name
from infra.api.asked import Fixed, fields_of, names, text_of
from infra.api.services import settled, settled_for
from infra.stack.places import data_place, is_name, there_are
from infra.stack.settings import Settings

if TYPE_CHECKING:
    from data.scenes.synth import SynthSettings, TreeRun
    from data.stores.build import Built
    from data.stores.chunks import Store


class SceneOptions(TypedDict, total=False):
    """What synthetic data is like. `None` is what is not given: then the file of `config` decides, or the default."""

    config: Path | str | None
    """YAML file with any of these, and `scene:` with its fields."""
    profile: str | None
    """What scenes are like: easy, ambiguous, standard or hard."""
    scene: Fixed | None
    """Fields of scenes in place of the profile's, such as `{"polyphony": 3}`."""
    events: str | None
    """Folder <class>/*.wav of sounds to place in rooms."""
    train_clips: int | None
    """Clips to train on."""
    val_clips: int | None
    """Clips to validate on, in other rooms."""
    test_clips: int | None
    """Clips to test on, in other rooms again."""
    clip_s: float | None
    """Seconds of a clip."""
    seed: int | None
    """The same seed gives the same data, whoever renders it."""
    video: bool | None
    """Render panorama frames as well."""


def synthesise(
    name: str = "quickstart",
    *,
    out: Path | str | None = None,
    replace: bool = False,
    settings: Settings | None = None,
    **options: Unpack[SceneOptions],
) -> Store:
    """Make synthetic scenes: rooms, moving and overlapping sources, ambisonic sound and panorama frames.

    Data that is there already is kept, and an interrupted call goes on.

    Args:
        name: of the data set, which goes to `<root>/data/<name>`.
        out: another place for it: a folder or s3://bucket/path.
        replace: other data that lies there makes room, unless a sweep is running on it.
        options: config, profile, scene, events, train_clips, val_clips, test_clips, clip_s, seed and video
            (`SceneOptions`).

    Raises:
        UserError: a name that no folder should have, an option out of its range, or other data lies there.
    """
    if out is None and not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name, re.ASCII):
        raise UserError(f"data set {name!r}: use letters, digits, - _ and ., a letter or digit first")
    from data.scenes import synth
    from infra.cluster.join import on_cluster
    from infra.datasets.in_use import replacing

    made = _synth_settings(options)
    settings = settled(settings, ("s3",))
    place = text_of(out, "out") or f"{settings.root}/data/{name}"
    return synth.synthesise(made, place, run=on_cluster(settings), may_replace=replacing(settings.root, replace))


def synthesise_tree(tree: Path | str, *, run: TreeRun = map, **options: Unpack[SceneOptions]) -> Path:
    """The scenes of `synthesise` as wav, csv and mp4 files in the layout of STARSS23, below the folder `tree`.

    Args:
        run: renders the clips: `map` one after another, the `map` of a pool of processes several at a time.

    Raises:
        UserError: an option out of its range, or the folder holds the scenes of other options.
    """
    from data.scenes.synth import write_tree

    return write_tree(_synth_settings(options), str(tree), run=run)


def _synth_settings(options: SceneOptions) -> SynthSettings:
    from data import storage
    from data.files.yaml_files import read_mapping
    from data.scenes.synth_settings import synth_settings

    unknown = options.keys() - SceneOptions.__annotations__.keys()
    if unknown:
        raise TypeError(f"{', '.join(sorted(unknown))}: no option of synthetic data")
    asked: dict[str, Any] = dict(options)
    config, scene, events = asked.pop("config", None), asked.pop("scene", None), asked.pop("events", None)
    fields = {**fields_of(scene), **({} if events is None else {"events": storage.absolute(events)})}
    asked["with_video"] = asked.pop("video", None)
    given = {} if config is None else read_mapping(Path(config), "fields, e.g. `train_clips: 20`")
    return synth_settings(given, str(config), asked, fields)


def mix(
    name: str,
    target: Path | str,
    added: Sequence[Path | str],
    *,
    out: Path | str | None = None,
    replace: bool = False,
    settings: Settings | None = None,
) -> Store:
    """Add the training recordings of stores to those of another: synthetic ones to real ones, say.

    The store that comes of it has the target's splits. `training.added_share` is the share of an epoch's windows that
    comes from what was added. An interrupted call goes on.

    Args:
        name: of the data set, which goes to `<root>/data/<name>`.
        target: the store that is scored on.
        added: stores that are trained on beside it; each is called after its folder.
        out: another place for it: a folder or s3://bucket/path.
        replace: other data that lies there makes room, unless a sweep is running on it.

    Raises:
        UserError: nothing is added, two are called alike, or one is no store or mixed itself.
    """
    if out is None:
        check_name(name, "data set")
    from data.stores import mix as mixing
    from data.stores.chunks import open_store
    from infra.cluster.join import on_cluster
    from infra.datasets.in_use import replacing

    settings = settled(settings, ("s3",))
    places = [data_place(text_of(place, "added"), settings.root) for place in added]
    named = {place.rstrip("/").rpartition("/")[2]: place for place in places}
    if len(named) < len(places):
        raise UserError(f"two of {', '.join(places)} are called alike: rename the folder of one")
    stores = {part: open_store(place) for part, place in named.items()}
    root = text_of(out, "out") or f"{settings.root}/data/{name}"
    may_replace = replacing(settings.root, replace)
    scored = open_store(data_place(text_of(target, "target"), settings.root))
    return mixing.mix(root, scored, stores, on_cluster(settings), may_replace)


def ingest(
    tree: Path | str,
    out: Path | str | None = None,
    *,
    val_rooms: Sequence[str] | None = None,
    video: bool = True,
    resample: bool = False,
    ambisonics: Literal["ambix", "n3d", "fuma"] = "ambix",
    stereoscopic: Literal["top-bottom", "left-right"] | None = None,
    classes: Path | str | None = None,
    reader: str = "starss23",
    trust_labels: bool = False,
    replace: bool = False,
    plugins: Path | str | Sequence[Path | str] | None = None,
    settings: Settings | None = None,
) -> Built:
    """Take in recordings as they lie in their folders: STARSS23 as it was downloaded, or what another reader reads.

    Args:
        tree: folder or s3://bucket/path as the reader reads it; starss23: with foa_dev, metadata_dev, video_dev.
        out: where the store goes; `<root>/data/<reader>` if not given.
        val_rooms: training rooms to hold out; chosen by name if not given.
        video: take in the video as well.
        resample: accept other sample rates and convert them.
        ambisonics: order and scale of the channels: ambix, n3d or fuma; a file that says FuMa is read so anyway.
        stereoscopic: how the panoramas of two eyes lie in a picture: the upper or the left one is taken.
        classes: YAML file that lists the classes and what label files call them, or starss23, dcase2020 or dcase2021.
        reader: how the tree is laid out (`data.readers.READERS`).
        trust_labels: take labels that do not say what is heard.
        replace: other data that lies there makes room, unless a sweep is running on it.
        plugins: Python files that register readers of your own (`data.registry.plugins`).

    Returns:
        The store, and what became of the recordings: `report["faults"]` are those that could not be read.

    Raises:
        UserError: it is no such tree, the reader of a plugin gives or raises something wrong, labels do not say what is
            heard, or other data lies where the store goes.
    """
    from data.files.audio import check_ambisonics
    from data.files.class_map import read_class_map
    from data.readers.contract import IngestSettings
    from data.readers.ingest import ingest as take_in
    from data.registry.plugins import load_plugins
    from infra.cluster.join import on_cluster
    from infra.datasets.in_use import replacing

    load_plugins(names(plugins or ()))
    settings = settled(settings, ("s3",))
    taken = IngestSettings(
        val_rooms=None if val_rooms is None else tuple(val_rooms),
        with_video=video,
        resample=resample,
        ambisonics=check_ambisonics(ambisonics),
        stereoscopic=stereoscopic,
        classes=None if classes is None else read_class_map(classes),
    )
    place = text_of(out, "out") or f"{settings.root}/data/{reader}"
    run, may_replace = on_cluster(settings), replacing(settings.root, replace)
    from_where = text_of(tree, "tree")
    return take_in(from_where, place, taken, run, reader, trust_labels=trust_labels, may_replace=may_replace)


def open_store(root: Path | str, *, settings: Settings | None = None) -> Store:
    """A chunk store: its manifest, which says what it holds.

    Args:
        root: a name below `<root>/data`, a folder or s3://bucket/path.

    Raises:
        UserError: there is none, or a newer seldtune wrote it.
    """
    place = text_of(root, "root")
    settings = settled_for(settings, place)
    from data.stores import chunks

    try:
        return chunks.open_store(data_place(place, settings.root))
    except UserError as error:
        if not is_name(place) or not isinstance(error.__cause__, FileNotFoundError):
            raise
        raise UserError(f"{error}; {there_are(settings.root)}") from error


def verify(root: Path | str, *, settings: Settings | None = None) -> dict[str, Any]:
    """Read every shard of a store, check its hash, and decode everything in it.

    Returns:
        `root`, `manifest` (its SHA-256) and `rows`, how many are as the manifest says; ready for JSON.

    Raises:
        UserError: there is no store, or something is not as its manifest says.
    """
    from data.stores import chunks

    opened = open_store(root, settings=settings)
    return {"root": opened.root, "manifest": opened.manifest.sha256, "rows": chunks.verify(opened)}


def inspect(
    root: Path | str,
    recording: str | None = None,
    *,
    at_s: float | None = None,
    seconds: float = 20.0,
    picture: bool = True,
    out: Path | str | None = None,
    rows: int | None = 24,
    model: str | None = None,
    settings: Settings | None = None,
) -> dict[str, Any]:
    """What a store holds: clips, classes, overlap, directions, sound levels; and a recording of it, drawn.

    Args:
        root: a name below `<root>/data`, a folder or s3://bucket/path.
        recording: the one that is looked at, and drawn; the store as a whole, and its first drawn, if not given.
        at_s: second to draw from; where it is busy if not given.
        seconds: how much of it is drawn.
        picture: whether one is drawn.
        out: the picture's file; `<recording>.png` in the working directory if not given.
        rows: rows of each split whose sound levels are measured; None: all.
        model: models:/<name>@<alias> of one that is to hear them: how loud they are beside what it was trained on.

    Returns:
        A document ready for JSON.

    Raises:
        UserError: no store there, no such recording or model, or a stretch that it does not have.
    """
    if rows is not None and (not isinstance(rows, int) or rows < 1):
        raise UserError(f"rows = {rows!r}: has to be a whole number from 1 on, or None for all")
    found = open_store(root, settings=settings)
    from infra.api.models import load_model
    from infra.datasets.inspection import inspect_store

    return inspect_store(
        found.root,
        model=None if model is None else load_model(model, settings=settings),
        sound_rows=rows,
        picture=picture,
        recording=recording,
        at_s=at_s,
        seconds=seconds,
        out=None if out is None else Path(out),
    )


def embed(
    data: Path | str,
    *,
    encoder: str = "resnet50",
    weights: Path | str | None = None,
    random_weights: int | None = None,
    frame_rate_hz: float | None = None,
    fixed: Fixed | None = None,
    out: Path | str | None = None,
    precision: str | None = None,
    settings: Settings | None = None,
) -> dict[str, Any]:
    """Let a frozen visual network look once at every picture of a store, under all channel swaps, for all trials.

    Args:
        data: a chunk store: a name below `<root>/data`, a folder or s3://bucket/path.
        encoder: the network: resnet50 or i3d.
        weights: its weights, a file or s3:// (`import_weights`).
        random_weights: seed of weights that are drawn instead: good for tests alone.
        frame_rate_hz: pictures a second, as the trials' inputs have it.
        fixed: fields of `visual` and `inputs`, such as `{"visual.pool_columns": 2}`.
        out: another place for them: a folder or s3://bucket/path.
        precision: fp32 or fp16 (the default where there is a GPU).

    Returns:
        Where they are, what a trial is told to use them (`use`), and what it took; ready for JSON.

    Raises:
        UserError: data or weights are missing or do not fit, none are named, or the place holds something else.
    """
    settings = settled_for(settings, data, weights, out)
    from infra.datasets.embed import EmbedRequest, embed_on_cluster

    rate = {} if frame_rate_hz is None else {"inputs.frame_rate_hz": frame_rate_hz}
    return embed_on_cluster(
        EmbedRequest(
            data=data_place(text_of(data, "data"), settings.root),
            encoder=encoder,
            weights=text_of(weights, "weights"),
            random_weights=random_weights,
            fixed={**fields_of(fixed), **rate},
            out=text_of(out, "out"),
            precision=precision,
        ),
        settings,
    )
