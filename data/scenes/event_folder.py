"""Recordings of events in a folder `<class>/*.wav`, in the place of the procedural sources; or FLAC, AIFF, Ogg and MP3.

Files may have any sample rate and any number of channels: they are mixed to mono and brought to 24 kHz, and silence
before and after is cut off. A process reads and resamples a file once, when it is first needed, and remembers it as
long as newer ones leave room.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Final

import numpy as np

from data import storage
from data.classes import STARSS23
from data.errors import UserError
from data.names import is_hidden, some_of
from data.scenes.waveforms import Signal, block_power, levelled
from data.timing import RATE_HZ, SAMPLES_PER_LABEL

# Files that a process remembers; at ten seconds each they take 250 MB.
_REMEMBERED: Final = 256
# Blocks this much quieter than the loudest one count as silence: 40 dB.
_SILENCE: Final = 1e-4
_BLOCK: Final = RATE_HZ // 50
_SOUNDS: Final = (".wav", ".flac", ".aif", ".aiff", ".ogg", ".opus", ".mp3")

logger = logging.getLogger(f"seldtune.{__name__}")


@dataclass(frozen=True)
class Excerpt:
    """A stretch of a file, counted in samples of the mono sound at 24 kHz without the silence around it."""

    path: str
    start: int
    samples: int

    @property
    def num_labels(self) -> int:
        """Label frames in which it sounds, to the nearest one; at least one."""
        return max(1, round(self.samples / SAMPLES_PER_LABEL))


def event_files(folder: str, classes: Sequence[int]) -> Mapping[int, tuple[str, ...]]:
    """The files of each class, in the order of their names.

    A subfolder holds the class whose name it bears (`data.classes.ClassList.named`: "Bell", "water_tap", "tap"), at any
    depth. UserError where the folder is none, and where a class of `classes` has no file.
    """
    found = _files_by_class(folder)
    missing = [f"{STARSS23.short_names[c]!r}" for c in classes if c not in found]
    if missing:
        raise UserError(
            f"the events folder {folder} has no sound for {', '.join(missing)}; it holds the folders "
            f"{', '.join(_subfolders(folder)) or '(none)'}; add <class>/*.wav, or say which classes there are: --set "
            f"classes={','.join(STARSS23.short_names[c] for c in sorted(found)) or '...'}"
        )
    return {c: found[c] for c in classes}


@cache
def tell_unused(folder: str) -> None:
    """Name what is passed over, once in a process: folders that no class is called after, files that are no sounds."""
    names = [name for name in storage.list_files(folder) if not is_hidden(name)]
    sounds = {path.relative_to(folder).as_posix() for path in _sound_files(folder)}
    unknown = {name.rpartition("/")[0] for name in sounds if _class_of(name) is None}
    if unknown:
        logger.warning("%s: no class has the names of these folders: %s", folder, ", ".join(sorted(unknown)))
    if other := sorted(set(names) - sounds):
        logger.warning("%s: passed over, as no sounds in a class's folder: %s", folder, some_of(other))


def _class_of(name: str) -> int | None:
    """By the outermost folder that is called after one: others are there for train and test."""
    found = (STARSS23.named(part) for part in name.split("/")[:-1])
    return next((index for index in found if index is not None), None)


@cache
def _files_by_class(folder: str) -> dict[int, tuple[str, ...]]:
    files: dict[int, list[str]] = {}
    for path in _sound_files(folder):
        if (index := _class_of(path.relative_to(folder).as_posix())) is not None:
            files.setdefault(index, []).append(str(path))
    return {c: tuple(paths) for c, paths in files.items()}


def _sound_files(folder: str) -> list[Path]:
    """Every sound below a subfolder, ordered by its path within the folder."""
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"the events folder {folder} is no folder on this machine; name one that holds <class>/*.wav")
    paths = (Path(root, name) for name in storage.list_files(folder) if "/" in name and not is_hidden(name))
    sounds = (path for path in paths if path.suffix.lower() in _SOUNDS)
    return sorted(sounds, key=lambda path: path.relative_to(root).as_posix())


def _subfolders(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir() if path.is_dir())


def event_folder_sha256(folder: str) -> str:
    """Hash over the paths within the folder and the bytes of all its sounds: the identity of its content.

    UserError where it is no folder or holds no such file.
    """
    paths = _sound_files(folder)
    if not paths:
        raise UserError(f"the events folder {folder} holds no <class>/*.wav")
    total = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{content}  {path.relative_to(folder).as_posix()}\n".encode())
    return total.hexdigest()


def draw_excerpt(paths: Sequence[str], max_samples: int, rng: np.random.Generator) -> Excerpt:
    """One of the files at random: all of it, or of a longer one `max_samples` that begin with sound."""
    path = paths[int(rng.integers(len(paths)))]
    sound = _load(path)
    spare = len(sound) - max_samples
    if spare <= 0:
        return Excerpt(path, 0, len(sound))
    power = block_power(sound)
    begins = np.flatnonzero(power > _SILENCE * power.max()) * _BLOCK
    begins = begins[begins <= spare]
    return Excerpt(path, int(rng.choice(begins)), max_samples)


def read_excerpt(excerpt: Excerpt) -> Signal:
    """The sound (N,) of an excerpt over its label frames, levelled as all sources are (see `waveforms.levelled`)."""
    samples = min(excerpt.samples, excerpt.num_labels * SAMPLES_PER_LABEL)
    sound = levelled(_load(excerpt.path)[excerpt.start : excerpt.start + samples])
    return np.pad(sound, (0, excerpt.num_labels * SAMPLES_PER_LABEL - samples))


@lru_cache(maxsize=_REMEMBERED)
def _load(path: str) -> Signal:
    """The whole sound of a file: mono, 24 kHz, without silence at its ends. UserError for what cannot be one."""
    import soundfile

    try:
        audio, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise UserError(f"cannot read the event {path}: {error}") from error
    if not len(audio):
        raise UserError(f"the event {path} is empty: it holds no samples")
    if not np.isfinite(audio).all():
        raise UserError(f"the event {path} holds samples that are no numbers (NaN or infinity); export it again")
    sound = _resampled(audio.mean(axis=1), rate_hz)
    sound = np.pad(sound, (0, -len(sound) % _BLOCK))
    power = block_power(sound)
    if not power.max() > 1e-12:
        raise UserError(f"the event {path} is silent; remove it")
    loud = np.flatnonzero(power > _SILENCE * power.max())
    return sound[loud[0] * _BLOCK : (loud[-1] + 1) * _BLOCK]


def _resampled(mono: Signal, rate_hz: int) -> Signal:
    if rate_hz == RATE_HZ:
        return mono
    try:
        import librosa
    except ImportError as error:
        raise UserError("resampling needs librosa; install the extra: pip install 'seldtune[synth]'") from error
    return np.asarray(librosa.resample(mono, orig_sr=rate_hz, target_sr=RATE_HZ), dtype=np.float32)
