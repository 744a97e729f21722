"""Synthetic data sets: a chunk store, or a tree in the layout of STARSS23, from a few settings and a seed.

Work is cut into tasks of one shard each. A finished task leaves its shard and a small record beside it, so that an
interrupted run goes on where it was; the manifest comes last. The result follows from the settings alone.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from data import storage
from data.audio_files import write_foa_wav
from data.errors import UserError
from data.labels import LABEL_HOP_S, write_events_csv
from data.rows import class_frames, cut_rows
from data.scenes import Scene, SceneSettings, make_room, profile, render_audio, sample_scene, scene_events
from data.store import MANIFEST_NAME, SPLITS, Manifest, Shard, Split, Store, open_store, write_manifest, write_shard
from data.video import render_jpegs, scene_pictures, write_mp4

# Raise it when the same settings would give other data than before.
GENERATOR_VERSION = 1

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SynthSettings:
    """A synthetic data set. Splits share no room, and each clip is a scene of its own."""

    profile: str = "easy"
    """Which of `scenes.PROFILES` scenes are drawn from."""
    train_clips: int = 40
    val_clips: int = 8
    test_clips: int = 8
    clip_s: float = 60.0
    train_rooms: int = 20
    val_rooms: int = 4
    test_rooms: int = 4
    seed: int = 0
    with_video: bool = True
    clips_per_shard: int = 2
    """Clips in one parquet file: what one task renders."""

    def __post_init__(self) -> None:
        for split in SPLITS:
            rooms = self.rooms(split)
            _check(self.clips(split) >= 0, f"{split}_clips", self.clips(split), "0 or more")
            _check(rooms >= 1, f"{split}_rooms", rooms, "1 or more")
        _check(any(self.clips(split) for split in SPLITS), "train_clips", 0, "1 or more where all splits are empty")
        _check(self.seed >= 0, "seed", self.seed, "0 or more")
        _check(self.clips_per_shard >= 1, "clips_per_shard", self.clips_per_shard, "1 or more")
        self.scene_settings()

    def clips(self, split: str) -> int:
        return int(getattr(self, f"{split}_clips"))

    def rooms(self, split: str) -> int:
        return int(getattr(self, f"{split}_rooms"))

    def scene_settings(self) -> SceneSettings:
        return replace(profile(self.profile), duration_s=self.clip_s)

    def to_dict(self) -> dict[str, Any]:
        """Everything that the data follows from, as JSON knows it."""
        document = {**asdict(self), "scene": asdict(self.scene_settings()), "generator_version": GENERATOR_VERSION}
        return json.loads(json.dumps(document))

    @property
    def tag(self) -> str:
        """Eight characters that tell the shards of one data set from those of another."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:8]


def _check(holds: bool, field: str, got: object, rule: str) -> None:
    if not holds:
        raise UserError(f"{field} = {got!r}: it has to be {rule}")


@dataclass(frozen=True)
class ShardTask:
    """One shard to render: picklable, and independent of all others."""

    settings: SynthSettings
    root: str
    split: str
    index: int

    @property
    def path(self) -> str:
        return f"{self.split}/part-{self.settings.tag}-{self.index:05d}.parquet"

    @property
    def record_path(self) -> str:
        return self.path.removesuffix(".parquet") + ".json"

    @property
    def clips(self) -> range:
        per_shard = self.settings.clips_per_shard
        return range(self.index * per_shard, min((self.index + 1) * per_shard, self.settings.clips(self.split)))


@dataclass(frozen=True)
class ShardRecord:
    """A finished shard and what the manifest counts of it."""

    split: str
    shard: Shard
    clips: int
    num_frames: int
    rooms: tuple[str, ...]
    class_frames: tuple[int, ...]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> ShardRecord:
        fields = json.loads(text)
        fields["shard"] = Shard(**fields["shard"])
        fields["rooms"], fields["class_frames"] = tuple(fields["rooms"]), tuple(fields["class_frames"])
        return cls(**fields)


Run = Callable[[Callable[[ShardTask], ShardRecord], Sequence[ShardTask]], Iterable[ShardRecord]]


def synthesise(settings: SynthSettings, root: str, run: Run = map) -> Store:
    """Make the data set at `root`, or find it there, and return its store.

    `run(function, tasks)` works like `map` and may spread the tasks over processes or machines. Shards that an earlier
    run finished are kept. A store of other synthetic settings is replaced once the new one is whole; UserError where
    `root` holds data from elsewhere, and for a root that cannot be used (see `storage.check_root`).
    """
    storage.check_root(root)
    there = _existing(root)
    if there is not None and there.manifest.settings == settings.to_dict() and _is_whole(there):
        logger.info("%s: the data is there already (%s)", root, there.manifest.sha256[:12])
        return there
    tasks = shard_tasks(settings, root)
    records = []
    for done, record in enumerate(run(render_shard, tasks), 1):
        records.append(record)
        logger.info("%s: shard %d of %d, %.1f MB", root, done, len(tasks), record.shard.bytes / 1e6)
    store = write_manifest(root, _manifest(settings, records))
    _remove_others(store, settings.tag)
    return store


def shard_tasks(settings: SynthSettings, root: str) -> list[ShardTask]:
    """The tasks whose shards make up the data set."""
    return [
        ShardTask(settings, root, split, index)
        for split in SPLITS
        for index in range(-(-settings.clips(split) // settings.clips_per_shard))
    ]


def render_shard(task: ShardTask) -> ShardRecord:
    """Render one shard and its record, unless both are there with the right size."""
    record_uri = storage.join(task.root, task.record_path)
    try:
        record = ShardRecord.from_json(storage.read_bytes(record_uri).decode())
    except FileNotFoundError:
        pass
    else:
        if storage.size(storage.join(task.root, task.path)) == record.shard.bytes:
            return record
    rows = []
    for clip in task.clips:
        name, scene = make_scene(task.settings, task.split, clip)
        frames = render_jpegs(scene) if task.settings.with_video else []
        rows.extend(cut_rows(name, scene.room.name, render_audio(scene), scene_events(scene), frames))
    record = ShardRecord(
        split=task.split,
        shard=write_shard(task.root, task.path, rows),
        clips=len(task.clips),
        num_frames=sum(row["num_frames"] for row in rows),
        rooms=tuple(sorted({row["room"] for row in rows})),
        class_frames=tuple(class_frames(rows)),
    )
    storage.write_bytes(record_uri, record.to_json().encode())
    return record


def make_scene(settings: SynthSettings, split: str, clip: int) -> tuple[str, Scene]:
    """Clip number `clip` of a split: its name in the manner of STARSS23, and its scene."""
    place = SPLITS.index(split)
    before = sum(settings.rooms(earlier) for earlier in SPLITS[:place])
    number = before + clip % settings.rooms(split) + 1
    scene_settings = settings.scene_settings()
    room = make_room(scene_settings, f"room{number}", _seed(settings.seed, 0, number))
    # Folds 3 and 4 are STARSS23's development sets for training and testing.
    name = f"fold{4 if split == 'test' else 3}_room{number}_mix{clip // settings.rooms(split) + 1:03d}"
    return name, sample_scene(scene_settings, room, _seed(settings.seed, 1 + place, clip))


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _existing(root: str) -> Store | None:
    if not storage.exists(storage.join(root, MANIFEST_NAME)):
        return None
    store = open_store(root)
    if store.manifest.source != "synthetic":
        raise UserError(f"{root} holds data from {store.manifest.source!r}; choose another place for synthetic data")
    return store


def _is_whole(store: Store) -> bool:
    try:
        store.check()
    except UserError as error:
        logger.warning("%s; it is rendered again", error)
        return False
    return True


def _manifest(settings: SynthSettings, records: Sequence[ShardRecord]) -> Manifest:
    splits = {}
    for name in SPLITS:
        parts = sorted((r for r in records if r.split == name), key=lambda r: r.shard.path)
        if parts:
            splits[name] = Split(
                clips=sum(part.clips for part in parts),
                hours=round(sum(part.num_frames for part in parts) * LABEL_HOP_S / 3600, 6),
                rooms=tuple(sorted({room for part in parts for room in part.rooms})),
                class_frames=tuple(np.sum([part.class_frames for part in parts], axis=0).tolist()),
                shards=tuple(part.shard for part in parts),
            )
    return Manifest("synthetic", settings.to_dict(), splits)


def _remove_others(store: Store, tag: str) -> None:
    """Delete what earlier settings and interrupted writes left in the split folders."""
    for path in storage.list_files(store.root):
        folder, _, name = path.rpartition("/")
        ours = name.startswith(f"part-{tag}-")
        if folder in SPLITS and name.startswith(("part-", ".part-")) and not ours:
            storage.delete(storage.join(store.root, path))


def write_tree(settings: SynthSettings, out_dir: str) -> Path:
    """The same scenes as files in the layout of STARSS23, below the local folder `out_dir`.

    `foa_dev/dev-{train,test}-synth/fold3_room1_mix001.wav`, likewise `metadata_dev` (csv, distance in centimetres) and,
    with video, `video_dev` (mp4, 1920 x 960, 29.97 frames a second). Train and val are both `dev-train`, as rooms tell
    them apart.
    """
    root = Path(out_dir)
    for split in SPLITS:
        folder = f"dev-{'test' if split == 'test' else 'train'}-synth"
        for clip in range(settings.clips(split)):
            name, scene = make_scene(settings, split, clip)
            places = {kind: root / f"{kind}_dev" / folder for kind in ("foa", "metadata", "video")}
            for kind, place in places.items():
                if kind != "video" or settings.with_video:
                    place.mkdir(parents=True, exist_ok=True)
            write_foa_wav(places["foa"] / f"{name}.wav", render_audio(scene))
            write_events_csv(places["metadata"] / f"{name}.csv", scene_events(scene))
            if settings.with_video:
                write_mp4(places["video"] / f"{name}.mp4", scene_pictures(scene))
            logger.info("%s written", name)
    return root
