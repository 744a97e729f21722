"""Synthetic data sets: a chunk store, or a tree in the layout of STARSS23, from a few settings and a seed.

The result follows from the settings alone, whatever the number of processes that render it and however often they were
interrupted.
"""

from __future__ import annotations

import hashlib
import json
import logging
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

from data import storage
from data.errors import UserError
from data.fields import typed, wording
from data.files.audio import write_foa_wav
from data.files.dcase_csv import write_events_csv
from data.files.video import write_mp4
from data.scenes.event_folder import event_files, event_folder_sha256, tell_unused
from data.scenes.mixing import render_audio
from data.scenes.parts import Scene
from data.scenes.sampling import make_room, sample_scene, scene_events, scene_facts
from data.scenes.settings import SceneSettings, profile
from data.scenes.video import render_jpegs, scene_pictures
from data.stores.build import SHARD_BYTES, Run, build
from data.stores.chunks import Store
from data.stores.replacing import MayReplace, refuse_to_replace
from data.stores.source import Recording

SOURCE: Final = "synthetic"
SYNTH_SPLITS: Final = ("train", "val", "test")
# Raise it when the same settings would give other data than before.
GENERATOR_VERSION: Final = 3
# What a second of a clip takes in a store, about; it only decides how many clips share a shard.
_BYTES_PER_S: Final = 150_000
_TREE_SETTINGS: Final = "synthetic.json"

logger = logging.getLogger(f"seldtune.{__name__}")


@dataclass(frozen=True, kw_only=True)
class SynthSettings:
    """A synthetic data set. Splits share no room, and each clip is a scene of its own."""

    profile: str = "easy"
    """Which of `scene_settings.PROFILES` scenes are drawn from."""
    scene: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `SceneSettings` in place of the profile's, as YAML or a command line has them."""
    train_clips: int = 40
    val_clips: int = 8
    test_clips: int = 12
    """More than there are to validate on: how sure a verdict is goes with the test recordings."""
    clip_s: float = 60.0
    train_rooms: int = 20
    val_rooms: int = 4
    test_rooms: int = 12
    seed: int = 0
    with_video: bool = True
    clips_per_task: int | None = None
    """Clips that one task renders, to one shard or more; None: about as many as fill a shard."""

    def __post_init__(self) -> None:
        for name, hint in typing.get_type_hints(SynthSettings).items():
            if name == "scene":
                continue  # which has fields of its own
            try:
                typed(getattr(self, name), hint)
            except TypeError:
                _check(False, name, getattr(self, name), wording(hint))
        for split in SYNTH_SPLITS:
            rooms = self.rooms(split)
            _check(self.clips(split) >= 0, f"{split}_clips", self.clips(split), "0 or more")
            _check(rooms >= 1, f"{split}_rooms", rooms, "1 or more")
        clips = sum(map(self.clips, SYNTH_SPLITS))
        _check(clips > 0, "train_clips", self.train_clips, "1 or more where all splits are empty")
        _check(self.seed >= 0, "seed", self.seed, "0 or more")
        if self.clips_per_task is not None:
            _check(self.clips_per_task >= 1, "clips_per_task", self.clips_per_task, "1 or more")
        if "duration_s" in self.scene:
            raise UserError("scene setting 'duration_s' is the same for all clips; set clip_s")
        self.scene_settings()

    def clips(self, split: str) -> int:
        return int(getattr(self, f"{split}_clips"))

    def rooms(self, split: str) -> int:
        return int(getattr(self, f"{split}_rooms"))

    def scene_settings(self) -> SceneSettings:
        return replace(profile(self.profile, self.scene), duration_s=self.clip_s)

    def to_dict(self) -> dict[str, Any]:
        """Everything that the data follows from, as JSON knows it; a folder of events by its content.

        UserError for a folder of events without one of the classes.
        """
        scene = asdict(self.scene_settings())
        if scene["events"] is not None:
            event_files(scene["events"], scene["classes"])
            tell_unused(scene["events"])
            scene["events"] = event_folder_sha256(scene["events"])
        document = {**asdict(self), "scene": scene, "generator_version": GENERATOR_VERSION}
        return json.loads(json.dumps(document))


def _check(holds: bool, field: str, got: object, rule: str) -> None:
    if not holds:
        raise UserError(f"{field} = {got!r}: it has to be {rule}")


@dataclass(frozen=True)
class ClipsTask:
    """Some clips of a split to render: picklable, and independent of all others."""

    settings: SynthSettings
    split: str
    clips: range
    key: str
    """Hash of everything that the clips follow from."""

    @property
    def seconds(self) -> float:
        return len(self.clips) * self.settings.clip_s

    def recordings(self) -> Iterator[Recording]:
        """Render the clips."""
        for clip in self.clips:
            name, scene = make_scene(self.settings, self.split, clip)
            pictures = render_jpegs(scene) if self.settings.with_video else []
            facts = scene_facts(scene)
            yield Recording(name, scene.room.name, render_audio(scene), scene_events(scene), pictures, facts=facts)


def synthesise(
    settings: SynthSettings, root: str, run: Run = map, may_replace: MayReplace = refuse_to_replace
) -> Store:
    """Make the data set at `root`, or find it there, and return its store; see `data.stores.build.build`."""
    return build(root, SOURCE, settings.to_dict(), clip_tasks(settings), run, may_replace=may_replace).store


def clip_tasks(settings: SynthSettings) -> list[ClipsTask]:
    """The tasks that make up the data set, each about a shard."""
    most = settings.clips_per_task or max(1, round(SHARD_BYTES / (_BYTES_PER_S * settings.clip_s)))
    made_of = json.dumps(settings.to_dict(), sort_keys=True)
    tasks = []
    for split in SYNTH_SPLITS:
        clips = settings.clips(split)
        count = -(-clips // most)
        # Equal shares, so that no shard is a small rest.
        bounds = [clips * number // count for number in range(count + 1)] if count else []
        for share in (range(first, stop) for first, stop in pairwise(bounds)):
            key = hashlib.sha256(f"{made_of} {split} {share}".encode()).hexdigest()[:16]
            tasks.append(ClipsTask(settings, split, share, key))
    return tasks


def make_scene(settings: SynthSettings, split: str, clip: int) -> tuple[str, Scene]:
    """Clip number `clip` of a split: its name in the manner of STARSS23, and its scene."""
    place = SYNTH_SPLITS.index(split)
    before = sum(settings.rooms(earlier) for earlier in SYNTH_SPLITS[:place])
    number = before + clip % settings.rooms(split) + 1
    scene_settings = settings.scene_settings()
    room = make_room(scene_settings, f"room{number}", _seed(settings.seed, 0, number))
    # Folds 3 and 4 are STARSS23's development sets for training and testing.
    name = f"fold{4 if split == 'test' else 3}_room{number}_mix{clip // settings.rooms(split) + 1:03d}"
    return name, sample_scene(scene_settings, room, _seed(settings.seed, 1 + place, clip))


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


@dataclass(frozen=True)
class ClipFiles:
    """One clip as files of a tree: picklable, and independent of all others."""

    settings: SynthSettings
    root: str
    split: str
    clip: int


TreeRun = Callable[[Callable[[ClipFiles], str], Sequence[ClipFiles]], Iterable[str]]


def write_tree(settings: SynthSettings, out_dir: str, run: TreeRun = map) -> Path:
    """The same scenes as files in the layout of STARSS23, below the local folder `out_dir`.

    `foa_dev/dev-{train,val,test}-synth/fold3_room1_mix001.wav`, likewise `metadata_dev` (csv, distance in centimetres)
    and, with video, `video_dev` (mp4, 1920 x 960, 29.97 pictures a second). What an earlier run finished is kept.

    Raises:
        UserError: the folder holds the scenes of other settings, or cannot be written.
    """
    root = Path(storage.absolute(out_dir))
    made_of = root / _TREE_SETTINGS
    # Trees without `dev-val-synth` are older: their clips for validation would lie there twice.
    text = json.dumps({**settings.to_dict(), "folders": SYNTH_SPLITS}, indent=1, sort_keys=True) + "\n"
    if made_of.exists() and made_of.read_text(encoding="utf-8") != text:
        raise UserError(f"{root} holds scenes of other settings ({made_of}); choose another folder, or delete it")
    storage.write_bytes(str(made_of), text.encode())
    clips = [ClipFiles(settings, str(root), split, n) for split in SYNTH_SPLITS for n in range(settings.clips(split))]
    for done, name in enumerate(run(write_clip, clips), 1):
        logger.info("%s: %s written, clip %d of %d", root, name, done, len(clips))
    storage.remove_half_written(root)
    return root


def write_clip(clip: ClipFiles) -> str:
    """Write the files of a clip that are not there yet, each whole or not at all; its name."""
    name, scene = make_scene(clip.settings, clip.split, clip.clip)
    folder = f"dev-{clip.split}-synth"
    wav, csv, mp4 = (
        Path(clip.root) / f"{kind}_dev" / folder / f"{name}.{ending}"
        for kind, ending in (("foa", "wav"), ("metadata", "csv"), ("video", "mp4"))
    )
    if not wav.exists():
        with storage.written_whole(wav) as path:
            write_foa_wav(path, render_audio(scene))
    if not csv.exists():
        with storage.written_whole(csv) as path:
            write_events_csv(path, scene_events(scene))
    if clip.settings.with_video and not mp4.exists():
        with storage.written_whole(mp4) as path:
            write_mp4(path, scene_pictures(scene))
    return name
