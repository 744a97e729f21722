"""A chunk store for benchmarks of feeding: busy sound, and pictures of which no two are alike."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.classes import STARSS23
from data.labels import Events
from data.stores.build import build
from data.stores.chunks import Store
from data.stores.rows import PICTURE_HEIGHT, PICTURE_WIDTH
from data.stores.source import Recording
from data.timing import LABEL_RATE_HZ, PICTURE_RATE_HZ, RATE_HZ

JPEG_QUALITY = 85


@dataclass(frozen=True)
class NoisyClips:
    """A task of `data.stores.build` that makes some clips of a split."""

    split: str
    first: int
    clips: int
    clip_s: float
    with_pictures: bool

    @property
    def key(self) -> str:
        pictures = "frames" if self.with_pictures else "blind"
        return f"{self.split}-{self.first}-{self.clips}-{self.clip_s:g}-{pictures}"

    @property
    def seconds(self) -> float:
        return self.clips * self.clip_s

    def recordings(self) -> Iterator[Recording]:
        for number in range(self.first, self.first + self.clips):
            rng = np.random.default_rng([number, self.split == "val"])
            audio = (2000 * rng.standard_normal((4, round(self.clip_s * RATE_HZ)))).astype(np.int16)
            pictures = _pictures(rng, round(self.clip_s * PICTURE_RATE_HZ)) if self.with_pictures else []
            yield Recording(f"{self.split}{number:03d}", f"{self.split}-room", audio, self._events(rng), pictures)

    def _events(self, rng: np.random.Generator) -> Events:
        """Two events at any time, each a second long."""
        labels = round(self.clip_s * LABEL_RATE_HZ)
        label = np.tile(np.arange(labels), 2)
        second = label // LABEL_RATE_HZ + labels * np.repeat([0, 1], labels)
        class_index, azimuth_deg = (
            rng.integers(len(STARSS23), size=3 * labels),
            rng.integers(-180, 180, size=3 * labels),
        )
        return Events.build(
            label,
            class_index[second],
            np.repeat([0, 1], labels),
            azimuth_deg[second],
            np.zeros(len(label)),
            np.full(len(label), 100),
        )


def _pictures(rng: np.random.Generator, count: int) -> list[bytes]:
    """A soft scene that moves, under noise that never repeats: about 35 kB a picture, as a real panorama takes."""
    soft = Image.fromarray(rng.integers(0, 256, (14, 28, 3), dtype=np.uint8))
    scene = np.asarray(soft.resize((PICTURE_WIDTH, PICTURE_HEIGHT), Image.Resampling.BICUBIC), dtype=np.int16)
    noise = rng.normal(0, 8, (2 * PICTURE_HEIGHT, 2 * PICTURE_WIDTH, 1)).astype(np.int16)
    return [_jpeg(np.roll(scene, 3 * j, axis=1) + _piece(noise, rng)) for j in range(count)]


def _piece(noise: NDArray[np.int16], rng: np.random.Generator) -> NDArray[np.int16]:
    top, left = rng.integers(PICTURE_HEIGHT), rng.integers(PICTURE_WIDTH)
    return noise[top : top + PICTURE_HEIGHT, left : left + PICTURE_WIDTH]


def _jpeg(picture: NDArray[np.int16]) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(sink, "JPEG", quality=JPEG_QUALITY)
    return sink.getvalue()


def noisy_store(root: str, clips: int, clip_s: float, with_pictures: bool) -> Store:
    """`clips` to train on, and one for validation; made once."""
    settings = {"clips": clips, "clip_s": clip_s, "with_frames": with_pictures}
    tasks = [NoisyClips("train", first, min(4, clips - first), clip_s, with_pictures) for first in range(0, clips, 4)]
    tasks.append(NoisyClips("val", 0, 1, clip_s, with_pictures))
    return build(root, "noise", settings, tasks).store
