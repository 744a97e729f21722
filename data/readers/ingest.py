"""Taking in a tree of STARSS23's layout as it is: every recording read, checked, and cut into a chunk store.

Nothing unusual stops it and nothing is passed over in silence: what real annotations and files have of it is handled
and counted for each recording, and a recording that cannot be read is a fault with its reason, while the others go on.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from data import storage
from data.classes import NUM_CLASSES
from data.errors import UserError
from data.files.audio import read_foa_int16
from data.files.dcase_csv import parse_events_csv
from data.files.video import TREE_HEIGHT, TREE_RATE_HZ, TREE_WIDTH, encode_jpeg, video_info, video_pictures
from data.labels import Events
from data.readers.starss23 import Clip, Tree, choose_val_rooms, find_clips
from data.stores.build import SHARD_BYTES, Built, Fault, Recording, Run, build
from data.stores.rows import PICTURE_HEIGHT, PICTURE_WIDTH
from data.timing import LABEL_RATE_HZ, PICTURE_RATE_HZ, RATE_HZ, SAMPLES_PER_LABEL

SOURCE: Final = "starss23"
# Raise it when the same files would give other data than before.
INGEST_VERSION: Final = 1

_WAV_BYTES_PER_S: Final = RATE_HZ * 4 * 2
# What a second takes in a store, about: FLAC, and ten pictures; it only decides which recordings share a shard.
_HEARD_BYTES_PER_S: Final = 110_000
_SEEN_BYTES_PER_S: Final = 250_000

logger = logging.getLogger(f"seldtune.{__name__}")


@dataclass(frozen=True, kw_only=True)
class IngestSettings:
    """How a tree is taken in."""

    val_rooms: tuple[str, ...] | None = None
    """Rooms of the training set that are held out for validation; None: see `starss23.choose_val_rooms`."""
    with_video: bool = True
    resample: bool = False
    """Accept other sample rates than 24 kHz and convert them."""

    def to_dict(self) -> dict[str, Any]:
        """Everything but the files that the data follows from, as JSON knows it."""
        pictures = (
            {"width": PICTURE_WIDTH, "height": PICTURE_HEIGHT, "rate_hz": PICTURE_RATE_HZ} if self.with_video else None
        )
        return json.loads(json.dumps({**asdict(self), "frames": pictures, "ingest_version": INGEST_VERSION}))


@dataclass(frozen=True)
class FilesTask:
    """Some recordings of a split to read: picklable, and independent of all others."""

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
        settings = replace(self.settings, val_rooms=None).to_dict()
        made_of = [settings, self.split, [asdict(clip) for clip in self.clips], self.versions]
        return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]

    def recordings(self) -> Iterator[Recording | Fault]:
        """Read the clips."""
        for clip in self.clips:
            yield read_clip(self.root, clip, self.settings)


def ingest(root: str, out: str, settings: IngestSettings | None = None, run: Run = map) -> Built:
    """Read the tree at `root` into a chunk store at `out`, both on a disk or S3; see `data.stores.build.build`.

    The report holds, for each recording, what was unusual in its files and how often (`facts`), and a fault for each
    that could not be read.

    Raises:
        UserError: no tree, a room to hold out that it does not have, or a store that cannot be written.
    """
    settings = settings or IngestSettings()
    storage.check_root(root)
    storage.check_root(out)
    tree = find_clips(root)
    clips, rooms = _hold_out(tree, settings)
    settings = replace(settings, val_rooms=rooms)
    tasks = _tasks(tree, clips, settings)
    return build(out, SOURCE, settings.to_dict(), tasks, run, tree.faults, _remarks(tree, clips))


def _hold_out(tree: Tree, settings: IngestSettings) -> tuple[list[Clip], tuple[str, ...]]:
    """The clips with validation taken out of training, and the rooms that it was taken from."""
    rooms = sorted({clip.room for clip in tree.clips if clip.split == "train"})
    if settings.val_rooms is None:
        held = choose_val_rooms(*_room_contents(tree)) if rooms else []
    else:
        held = sorted(set(settings.val_rooms))
        unknown = [room for room in held if room not in rooms]
        if unknown:
            raise UserError(
                f"room to hold out for validation {unknown[0]!r} is not in the training set, which has: "
                f"{', '.join(rooms) or 'no rooms'}"
            )
    clips = [replace(c, split="val") if c.split == "train" and c.room in held else c for c in tree.clips]
    return clips, tuple(held)


def _remarks(tree: Tree, clips: Sequence[Clip]) -> list[str]:
    remarks = [f"{storage.join(tree.root, orphan)} belongs to no recording" for orphan in tree.orphans]
    rooms = {split: {clip.room for clip in clips if clip.split == split} for split in ("train", "val", "test")}
    both = sorted(rooms["train"] & (rooms["val"] | rooms["test"]))
    if both:
        remarks.append(f"in training and in another split too: {', '.join(both)}; scores there say little of new rooms")
    if rooms["train"] and not rooms["val"]:
        remarks.append("no room is held out: there is no validation split, which a sweep needs")
    return remarks


def _room_contents(tree: Tree) -> tuple[dict[str, float], dict[str, list[int]]]:
    """Hours and label frames of each class for the rooms of training, by the sizes of wav files and by labels."""
    hours: dict[str, float] = {}
    labels: dict[str, np.ndarray] = {}
    for clip in tree.clips:
        if clip.split == "train" and clip.csv is not None:
            hours[clip.room] = hours.get(clip.room, 0.0) + _seconds(tree, clip) / 3600
            counts = np.zeros(NUM_CLASSES, dtype=np.int64)
            try:
                events, _ = parse_events_csv(storage.read_bytes(storage.join(tree.root, clip.csv)), clip.csv)
                counts += np.bincount(events.class_index, minlength=NUM_CLASSES)
            except UserError:
                pass  # Reading the recording says what is wrong.
            labels[clip.room] = labels.get(clip.room, 0) + counts
    return hours, {room: counts.tolist() for room, counts in labels.items()}


def _seconds(tree: Tree, clip: Clip) -> float:
    """Length of a recording by the size of its file."""
    return int(tree.versions[clip.wav].partition("-")[0]) / _WAV_BYTES_PER_S


def _tasks(tree: Tree, clips: Sequence[Clip], settings: IngestSettings) -> list[FilesTask]:
    """Neighbouring recordings together, as many as fill a shard."""
    groups: list[list[Clip]] = []
    sizes: list[float] = []
    for clip in sorted(clips, key=lambda clip: (clip.split, clip.name)):
        seen = _SEEN_BYTES_PER_S if clip.video and settings.with_video else 0
        if not groups or sizes[-1] >= SHARD_BYTES or groups[-1][0].split != clip.split:
            groups.append([])
            sizes.append(0.0)
        groups[-1].append(clip)
        sizes[-1] += _seconds(tree, clip) * (_HEARD_BYTES_PER_S + seen)
    # A small rest goes with its neighbours.
    for number in range(len(groups) - 1, 0, -1):
        if sizes[number] < SHARD_BYTES / 2 and groups[number][0].split == groups[number - 1][0].split:
            groups[number - 1] += groups.pop(number)
            sizes[number - 1] += sizes.pop(number)
    return [
        FilesTask(
            storage.absolute(tree.root),
            settings,
            group[0].split,
            tuple(group),
            tuple(tree.versions[path] for clip in group for path in (clip.wav, clip.csv, clip.video) if path),
            sum(_seconds(tree, clip) for clip in group),
        )
        for group in groups
    ]


def read_clip(root: str, clip: Clip, settings: IngestSettings) -> Recording | Fault:
    """Read the files of one recording; a fault where one of them is not what it has to be.

    `facts["notes"]` of the recording counts what is unusual: what it is -> how often.

    Raises:
        UserError: the place of the tree does not answer (S3).
    """
    video = clip.video if settings.with_video else None
    with _copies(root, clip.wav, clip.csv, video) as (wav_path, csv_path, video_path):
        assert wav_path is not None
        try:
            audio, notes = read_foa_int16(wav_path, settings.resample)
            labels = audio.shape[1] // SAMPLES_PER_LABEL
            events = Events.build()
            if csv_path is not None:
                assert clip.csv is not None
                events, of_csv = parse_events_csv(csv_path.read_bytes(), storage.join(root, clip.csv))
                notes |= of_csv
            late = int((events.frame >= labels).sum())
            pictures: list[bytes] = []
            if video_path is not None:
                pictures, of_video = _pictures(video_path, labels, audio.shape[1] / RATE_HZ)
                notes |= of_video
        except UserError as error:
            # A copy from S3 has a name of its own, which means nothing to anybody.
            reason = str(error).replace(str(wav_path), storage.join(root, clip.wav))
            return Fault(clip.name, reason.replace(str(video_path), storage.join(root, clip.video or "")))
    notes["rows past the end of the sound dropped"] = late
    notes["recordings without video"] = int(clip.video is None and settings.with_video)
    notes["samples after the last label frame dropped"] = audio.shape[1] % SAMPLES_PER_LABEL
    facts = {"notes": {what: count for what, count in notes.items() if count}}
    return Recording(clip.name, clip.room, audio, events, pictures, PICTURE_RATE_HZ, facts)


@contextmanager
def _copies(root: str, *paths: str | None) -> Iterator[list[Path | None]]:
    """The files on this machine's disk, for as long as the block lasts; None for those that are not there."""
    with ExitStack() as stack:
        yield [p and stack.enter_context(storage.local_copy(storage.join(root, p))) for p in paths]  # type: ignore[misc]


def _pictures(path: Path, labels: int, seconds: float) -> tuple[list[bytes], dict[str, int]]:
    """JPEG pictures of a video for so many label frames, and what is unusual about it beside a sound of that length."""
    info = video_info(path)
    wanted = int(labels * PICTURE_RATE_HZ / LABEL_RATE_HZ)
    pictures: list[bytes] = []
    beyond = 0
    for number, picture in enumerate(video_pictures(path, PICTURE_WIDTH, PICTURE_HEIGHT, PICTURE_RATE_HZ)):
        if number < wanted:
            pictures.append(encode_jpeg(picture))
        else:
            beyond += number / PICTURE_RATE_HZ >= seconds
    return pictures, {
        "label frames after the end of the video": wanted - len(pictures),
        "pictures after the end of the sound dropped": beyond,
        "video of another size than 1920 x 960": int((info.width, info.height) != (TREE_WIDTH, TREE_HEIGHT)),
        "video at another rate than 29.97 Hz": int(abs(info.rate_hz - float(TREE_RATE_HZ)) > 0.01),
    }
