"""Taking in a tree of files as it is: every recording read, checked, and cut into a chunk store.

Nothing unusual stops it and nothing is passed over in silence: what real annotations and files have of it is handled
and counted for each recording, and a recording that cannot be read is a fault with its reason, while the others go on.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Final

from data import storage
from data.errors import UserError
from data.files.class_map import DATA_SETS
from data.names import is_hidden
from data.readers import READERS
from data.readers.checks import find_tree, read_recording
from data.readers.contract import DEFAULT, Clip, IngestSettings, Tree
from data.readers.hold_out import hold_out, one_sided_classes, seconds_of
from data.readers.review import review_labels
from data.registry.plugins import identities, plugins_behind
from data.stores.build import SHARD_BYTES, Built, Review, Run, build
from data.stores.chunks import MANIFEST_NAME, Store, open_store
from data.stores.replacing import MayReplace, refuse_to_replace
from data.stores.source import Fault, Recording

# What a second takes in a store, about: FLAC, and ten pictures; it only decides which recordings share a shard.
_HEARD_BYTES_PER_S: Final = 110_000
_SEEN_BYTES_PER_S: Final = 250_000

logger = logging.getLogger(f"seldtune.{__name__}")


@dataclass(frozen=True)
class FilesTask:
    """Some recordings of a split to read: picklable, and independent of all others."""

    reader: str
    root: str
    settings: IngestSettings
    split: str
    clips: tuple[Clip, ...]
    versions: tuple[str, ...]
    """For each file of the clips what changes when its content does."""
    seconds: float

    @property
    def key(self) -> str:
        """Hash of everything that the recordings follow from."""
        # Which rooms are held out decides the split of a clip, not what is read of it.
        settings = replace(self.settings, val_rooms=None).to_dict() | facts_of(self.reader)
        made_of = [settings, self.split, [asdict(clip) for clip in self.clips], self.versions]
        return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]

    def recordings(self) -> Iterator[Recording | Fault]:
        """Read the clips."""
        reader = READERS[self.reader]()
        for clip in self.clips:
            yield read_recording(reader, self.root, clip, self.settings)


def facts_of(reader: str) -> dict[str, Any]:
    """What data follows from beside files and settings, where another reader than the first reads them."""
    if reader == DEFAULT:
        return {}
    return {"reader": reader, "plugins": identities(plugins_behind([READERS[reader]()]))}


def ingest(
    root: str,
    out: str,
    settings: IngestSettings | None = None,
    run: Run = map,
    reader: str = DEFAULT,
    *,
    trust_labels: bool = False,
    may_replace: MayReplace = refuse_to_replace,
) -> Built:
    """Read the tree at `root` into a chunk store at `out`, both on a disk or S3; see `data.stores.build.build`.

    The report holds, for each recording, what was unusual in its files and how often (`facts`), and a fault for each
    that could not be read.

    Args:
        reader: a name of `READERS`; the store says that it comes from there.
        trust_labels: take labels that do not say what is heard.
        may_replace: see `build`.

    Raises:
        UserError: an unknown reader, no tree, one whose classes may be others than STARSS23's while nobody said which,
            a room to hold out that it does not have, labels that do not say what is heard (`review.review_labels`), or
            a store that cannot be written.
    """
    settings = settings or IngestSettings()
    storage.check_root(root)
    storage.check_root(out)
    tree = find_tree(READERS.find(reader, "--reader")(), root)
    if tree.asks_classes and settings.classes is None:
        known = " or ".join(f"--classes {name}" for name in DATA_SETS)
        raise UserError(f"{root}: {tree.asks_classes}; say which they are: {known}, or a YAML file of your own")
    clips, rooms = hold_out(tree, _as_before(tree, out, settings))
    is_chosen = settings.val_rooms is None and bool(rooms)
    settings = replace(settings, val_rooms=rooms)
    tasks = _tasks(reader, tree, clips, settings)
    made_of = settings.to_dict() | facts_of(reader)

    def review(store: Store, recordings: Mapping[str, Any]) -> Review:
        _require_splits(store, clips)
        reviewed = review_labels(store, recordings, trust_labels)
        # Whoever names the rooms, or has a folder for them, knows what is in them.
        one_sided = one_sided_classes(store.manifest.splits, store.manifest.classes) if is_chosen else ()
        return replace(reviewed, remarks=(*one_sided, *reviewed.remarks))

    broken = {link: to for link, to in storage.broken_links(root).items() if not is_hidden(link)}
    remarks = _remarks(tree, clips, broken)
    classes = settings.class_map.classes
    faults = (*tree.faults, *_lost_files(root, broken))
    return build(out, reader, made_of, tasks, run, faults, remarks, review, may_replace, classes)


def _as_before(tree: Tree, out: str, settings: IngestSettings) -> IngestSettings:
    """The settings, with the rooms that the store there holds out where nobody names any: a tree may grow."""
    if settings.val_rooms is not None or not storage.exists(storage.join(out, MANIFEST_NAME)):
        return settings
    held = open_store(out).manifest.settings.get("val_rooms") or ()
    there = {clip.room for clip in tree.clips if clip.split == "train"}
    return replace(settings, val_rooms=tuple(held)) if held and set(held) < there else settings


def _require_splits(store: Store, clips: Sequence[Clip]) -> None:
    """UserError where nothing of a split that the tree has could be read."""
    lost = {clip.split for clip in clips} - store.manifest.splits.keys()
    for split in sorted(lost):
        own = [clip for clip in clips if clip.split == split]
        rooms = ", ".join(sorted({clip.room for clip in own}))
        raise UserError(
            f"nothing new is published at {store.root}: none of the {len(own)} recordings for {split} ({rooms}) could "
            "be read; mend what is named above, or hold out other rooms with --val-rooms"
        )


def _lost_files(root: str, broken: Mapping[str, str]) -> Iterator[Fault]:
    """Links that lead nowhere, as to a disk that is not there, or to a file that git-annex did not fetch."""
    for link, target in broken.items():
        place = storage.join(root, link)
        yield Fault(PurePosixPath(link).stem, f"{place} is a link to {target}, where nothing is; bring that back")


def _remarks(tree: Tree, clips: Sequence[Clip], broken: Mapping[str, str]) -> list[str]:
    told = {PurePosixPath(link).stem for link in broken}
    remarks = [
        f"{storage.join(tree.root, orphan)} belongs to no recording"
        for orphan in tree.orphans
        if PurePosixPath(orphan).stem not in told
    ]
    rooms = {split: {clip.room for clip in clips if clip.split == split} for split in ("train", "val", "test")}
    both = sorted(rooms["train"] & (rooms["val"] | rooms["test"]))
    if both:
        remarks.append(f"in training and in another split too: {', '.join(both)}; scores there say little of new rooms")
    if rooms["val"] and not rooms["train"]:
        remarks.append("every room of training is held out: there is no training split, which a sweep needs")
    if rooms["train"] and not rooms["val"]:
        remarks.append("no room is held out: there is no validation split, which a sweep needs")
    return remarks


def _tasks(reader: str, tree: Tree, clips: Sequence[Clip], settings: IngestSettings) -> list[FilesTask]:
    """Neighbouring recordings together, as many as fill a shard."""
    groups: list[list[Clip]] = []
    sizes: list[float] = []
    for clip in sorted(clips, key=lambda clip: (clip.split, clip.name)):
        seen = _SEEN_BYTES_PER_S if clip.video and settings.with_video else 0
        if not groups or sizes[-1] >= SHARD_BYTES or groups[-1][0].split != clip.split:
            groups.append([])
            sizes.append(0.0)
        groups[-1].append(clip)
        sizes[-1] += seconds_of(tree, clip) * (_HEARD_BYTES_PER_S + seen)
    # A small rest goes with its neighbours.
    for number in range(len(groups) - 1, 0, -1):
        if sizes[number] < SHARD_BYTES / 2 and groups[number][0].split == groups[number - 1][0].split:
            groups[number - 1] += groups.pop(number)
            sizes[number - 1] += sizes.pop(number)
    return [
        FilesTask(
            reader,
            storage.absolute(tree.root),
            settings,
            group[0].split,
            tuple(group),
            tuple(tree.versions[path] for clip in group for path in (clip.wav, clip.csv, clip.video) if path),
            sum(seconds_of(tree, clip) for clip in group),
        )
        for group in groups
    ]
