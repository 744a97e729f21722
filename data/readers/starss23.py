"""The directory tree of STARSS23, and of every data set in its layout: which files belong together, and the split.

`foa_dev/<folder>/fold{F}_room{R}_mix{NNN}.wav` with `metadata_dev/<folder>/<name>.csv` and
`video_dev/<folder>/<name>.mp4`; `foa_eval/mix{NNN}.wav` with `video_eval/<name>.mp4` and no labels. Official split:
folders `dev-train-*` and `dev-test-*`, or, in other folders, folds 1 and 3 for training, 2 and 4 for testing. A room is
named by its number; rooms of training and testing are disjoint. Source: the README of STARSS23 (Shimada et al., 2023).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from data import storage
from data.errors import UserError
from data.readers.contract import DEFAULT, READERS, Clip, Reader, Tree
from data.stores.source import Fault

UNKNOWN_ROOM = "unknown"

_DEV_NAME = re.compile(r"fold(\d+)_(room\d+)_mix\d+")
_FOLDS = {1: "train", 2: "test", 3: "train", 4: "test", 5: "eval"}


@READERS.register
class Starss23(Reader):
    """The layout of STARSS23."""

    name: ClassVar[str] = DEFAULT

    def find(self, root: str) -> Tree:
        return find_clips(root)


def find_clips(root: str) -> Tree:
    """List a tree on a disk or S3; no file of it is opened.

    Raises:
        UserError: there is no `foa_dev` and no `foa_eval` with recordings in it.
    """
    versions = storage.list_versions(root)
    wavs = sorted(path for path in versions if re.fullmatch(r"foa_(dev|eval)/(.*/)?[^/]+\.wav", path, re.IGNORECASE))
    if not wavs:
        top = sorted({path.partition("/")[0] for path in versions})
        raise UserError(
            f"{root} holds no recordings: foa_dev/<folder>/*.wav or foa_eval/*.wav are expected, found "
            f"{', '.join(top[:8]) or 'nothing'}; name the folder that holds foa_dev"
        )
    beside = {path.lower(): path for path in versions}
    by_name: dict[str, list[Clip]] = {}
    faults = []
    for wav in wavs:
        clip = _clip(wav, beside)
        if isinstance(clip, Fault):
            faults.append(_at(root, clip))
        else:
            by_name.setdefault(clip.name, []).append(clip)
    clips = []
    for name, same in sorted(by_name.items()):
        if len(same) == 1:
            clips += same
        else:
            files = ", ".join(storage.join(root, clip.wav) for clip in same)
            faults.append(Fault(name, f"{len(same)} recordings have the name {name}: {files}; rename or remove one"))
    order = ("train", "test", "eval")
    clips.sort(key=lambda clip: (order.index(clip.split), clip.name))
    used = {path for same in by_name.values() for clip in same for path in (clip.csv, clip.video)}
    kinds = re.compile(r"(metadata|video)_(dev|eval)/.*\.(csv|mp4)", re.IGNORECASE)
    orphans = tuple(sorted(path for path in versions if kinds.fullmatch(path) and path not in used))
    return Tree(root, tuple(clips), tuple(faults), orphans, versions)


def _clip(wav: str, beside: Mapping[str, str]) -> Clip | Fault:
    kind, _, rest = wav.partition("/")
    part = kind.rpartition("_")[2].lower()
    stem = rest[: -len(".wav")]
    name, folder = stem.rpartition("/")[2], stem.rpartition("/")[0]
    csv, video = (
        beside.get(f"{what}_{part}/{stem}.{end}".lower()) for what, end in (("metadata", "csv"), ("video", "mp4"))
    )
    match = _DEV_NAME.fullmatch(name)
    if part == "eval":
        return Clip(name, match.group(2) if match else UNKNOWN_ROOM, "eval", wav, csv, video)
    if not match:
        return Fault(name, f"{wav}: names of recordings are like fold3_room21_mix001.wav; rename it")
    by_fold = _FOLDS.get(int(match.group(1)))
    by_folder = next((split for split in ("train", "test") if folder.startswith(f"dev-{split}")), None)
    if by_fold is None or (by_folder and by_fold != by_folder):
        said = f"its folder says {by_folder}" if by_folder and by_fold else "folds are 1 to 5"
        return Fault(
            name, f"{wav}: fold {match.group(1)} is for {by_fold or 'nothing known'}, but {said}; move or rename it"
        )
    if csv is None:
        return Fault(name, f"{wav} has no label file metadata_{part}/{stem}.csv; add it (an empty one: nothing sounds)")
    return Clip(name, match.group(2), by_folder or by_fold, wav, csv, video)


def _at(root: str, fault: Fault) -> Fault:
    return Fault(fault.recording, storage.join(root, fault.reason))
