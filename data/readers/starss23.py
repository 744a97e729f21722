"""Directory trees in the layout of STARSS23, and of the data sets and generators that lay theirs out alike.

Sound, labels and videos lie in folders of their own, in which a recording's files have one path below:

    foa_dev/<folder>/fold{F}_room{R}_mix{NNN}.wav    metadata_dev/<folder>/<name>.csv    video_dev/<folder>/<name>.mp4
    foa_eval/mix{NNN}.wav                            (not published)                     video_eval/<name>.mp4

Others call them foa, labels or metadata, and video, or have the sound in target_noisy/foa. Names of recordings begin
with fold and room (or scene). The split is what the nearest folder says that says one: dev-train-*, dev-val-* or
dev-test-*, or train, validation and test. In other folders folds 1 and 3 are for training, 2 and 4 for testing; where
there are six, as in 2020, 3 to 6 are for training, 2 is validation and 1 for testing. A room is named by its number;
rooms of training and testing are disjoint. Synthetic folds, 1 and 2, have rooms of their own: where a number comes
again in another set, the name says from where.

Sources: the READMEs of STARSS23 (Shimada et al., 2023), of TAU-NIGENS 2020 and 2021 (Politis et al.), and of the
generator of DCASE 2022.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from data import storage
from data.errors import UserError
from data.names import is_hidden
from data.readers.contract import DEFAULT, READERS, Clip, Reader, Tree
from data.stores.source import Fault

UNKNOWN_ROOM = "unknown"

logger = logging.getLogger(f"seldtune.{__name__}")

_SOUND = re.compile(r"(?:target_noisy/)?foa(?:_(dev|eval))?/(.+)\.wav", re.IGNORECASE)
_LABELS, _VIDEOS = ("metadata", "labels"), ("video",)
_NAME = re.compile(r"fold(\d+)_((?:room|scene)\d+)_\w+", re.IGNORECASE)
_FOLDER = re.compile(r"(?:dev[-_])?(train|val|test)(?:ing|id(?:ation)?)?(?:[-_](.+))?", re.IGNORECASE)
_FOLDS = {1: "train", 2: "test", 3: "train", 4: "test"}
_SIX_FOLDS = {1: "test", 2: "val", 3: "train", 4: "train", 5: "train", 6: "train"}
_SYNTHETIC_FOLDS = (1, 2)
_ORDER = ("train", "val", "test", "eval")


@dataclass(frozen=True)
class _Sound:
    """A file of sound, and what its path says."""

    path: str
    part: str
    """dev, eval or nothing."""
    stem: str
    """Path below the folder of sound, without its end."""

    @property
    def name(self) -> str:
        return self.stem.rpartition("/")[2]

    @property
    def fold(self) -> int | None:
        return int(match[1]) if (match := _NAME.fullmatch(self.name)) else None

    @property
    def room(self) -> str:
        return match[2].lower() if (match := _NAME.fullmatch(self.name)) else UNKNOWN_ROOM

    @property
    def folder(self) -> re.Match[str] | None:
        """The nearest folder around it that says a split, and perhaps a data set."""
        return next((m for part in self.stem.split("/")[-2::-1] if (m := _FOLDER.fullmatch(part))), None)

    @property
    def split_of_folder(self) -> str | None:
        return self.folder[1].lower() if self.folder else None

    @property
    def group(self) -> str:
        """Whose numbering its fold belongs to: that of its data set, or of its folder."""
        return f"dev-{(self.folder[2] or '').lower()}" if self.folder else self.stem.rpartition("/")[0]

    @property
    def set(self) -> str:
        """The data set that its room belongs to: as its folder is called, and each synthetic fold its own."""
        fold = f"fold{self.fold}" if self.fold in _SYNTHETIC_FOLDS else ""
        return "-".join(part for part in (((self.folder and self.folder[2]) or "").lower(), fold) if part)

    def beside(self, kind: str, end: str) -> str:
        """Where its labels or its video lie."""
        return f"{kind}{'_' if self.part else ''}{self.part}/{self.stem}.{end}"


@READERS.register
class Starss23(Reader):
    """The layout of STARSS23."""

    name: ClassVar[str] = DEFAULT

    def find(self, root: str) -> Tree:
        return find_clips(root)


def find_clips(root: str) -> Tree:
    """List a tree on a disk or S3; no file of it is opened.

    Names that begin with a dot, such as macOS leaves beside files, are passed over.

    Raises:
        UserError: there is no folder of sound with recordings in it.
    """
    listed = storage.list_versions(root)
    versions = {path: version for path, version in listed.items() if not is_hidden(path)}
    if hidden := len(listed) - len(versions):
        logger.info("%s: %d files whose names begin with a dot are passed over", root, hidden)
    matches = [match for path in sorted(versions) if (match := _SOUND.fullmatch(path))]
    sounds = [_Sound(match[0], (match[1] or "").lower(), match[2]) for match in matches]
    if not sounds:
        top = sorted({path.partition("/")[0] for path in versions})
        top += [f"{link}, a link to {target} where nothing is" for link, target in storage.broken_links(root).items()]
        raise UserError(
            f"{root} holds no recordings: foa_dev/<folder>/*.wav or foa_eval/*.wav are expected, found "
            f"{', '.join(top[:8]) or 'nothing'}; name the folder that holds foa_dev"
        )
    there = {path.lower(): path for path in versions}
    most: dict[str, int] = {}
    for sound in sounds:
        most[sound.group] = max(most.get(sound.group, 0), sound.fold or 0)
    by_name: dict[str, list[tuple[_Sound, Clip]]] = {}
    used: set[str | None] = set()
    faults = []
    for sound in sounds:
        csv, video = _first(sound, _LABELS, "csv", there), _first(sound, _VIDEOS, "mp4", there)
        used |= {csv, video}
        split, wrong = _split(sound, most[sound.group])
        if wrong is None and csv is None and split != "eval":
            wrong = f"has no label file {sound.beside(_LABELS[0], 'csv')}; add it (an empty one: nothing sounds)"
        if wrong is not None:
            faults.append(Fault(sound.name, f"{storage.join(root, sound.path)} {wrong}"))
        else:
            clip = Clip(sound.name, sound.room, split, sound.path, csv, video)
            by_name.setdefault(sound.name, []).append((sound, clip))
    clips = []
    for name, same in sorted(by_name.items()):
        if len(same) == 1:
            clips += same
        else:
            files = ", ".join(storage.join(root, clip.wav) for _, clip in same)
            faults.append(Fault(name, f"{len(same)} recordings have the name {name}: {files}; rename or remove one"))
    told_apart = sorted(_told_apart(clips), key=lambda clip: (_ORDER.index(clip.split), clip.name))
    kinds = re.compile(rf"({'|'.join((*_LABELS, *_VIDEOS))})(_dev|_eval)?/.*\.(csv|mp4)", re.IGNORECASE)
    orphans = tuple(sorted(path for path in versions if kinds.fullmatch(path) and path not in used))
    numbered_otherwise = max(most.values()) == max(_SIX_FOLDS)
    asks = "its folds are 1 to 6, as those of DCASE 2020 and 2021, whose numbers of classes are others than STARSS23's"
    return Tree(root, tuple(told_apart), tuple(faults), orphans, versions, asks if numbered_otherwise else "")


def _first(sound: _Sound, kinds: Iterable[str], end: str, there: Mapping[str, str]) -> str | None:
    places = (sound.beside(kind, end).lower() for kind in kinds)
    return next((there[place] for place in places if place in there), None)


def _split(sound: _Sound, folds: int) -> tuple[str, str | None]:
    """The split of a recording whose data set has so many folds, and what is wrong if it has none."""
    if sound.part == "eval":
        return "eval", None
    if sound.fold is None:
        return "", "is no name of a recording, such as fold3_room21_mix001.wav; rename it"
    by_folder, by_fold = sound.split_of_folder, (_SIX_FOLDS if folds == 6 else _FOLDS).get(sound.fold)
    # Validation is held out of training.
    differ = by_folder and by_fold and (by_folder == "test") != (by_fold == "test")
    if differ and folds <= max(_FOLDS):
        return (
            "",
            f"is of fold {sound.fold}, which is for {by_fold}, but its folder says {by_folder}; move or rename it",
        )
    if split := by_folder or by_fold:
        return split, None
    return "", f"is of fold {sound.fold}, and what that is for is not known; put it into dev-train, dev-val or dev-test"


def _told_apart(clips: Sequence[tuple[_Sound, Clip]]) -> list[Clip]:
    """The clips, with rooms of one number that belong to several data sets named after these as well."""
    sets: dict[str, set[str]] = {}
    for sound, clip in clips:
        sets.setdefault(clip.room, set()).add(sound.set)
    return [
        replace(clip, room=f"{sound.set}-{clip.room}") if len(sets[clip.room]) > 1 and sound.set else clip
        for sound, clip in clips
    ]
