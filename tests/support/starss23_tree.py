"""Trees in the layout of STARSS23, small and by hand: real wav, csv and mp4 files, with whatever is wrong in them."""

from fractions import Fraction

import numpy as np
import soundfile

from data.files.video import write_mp4
from data.stores.chunks import read_shard

RATE_HZ = 24_000
NTSC = Fraction(30000, 1001)


def noise(seconds, seed=0):
    """(4, N) int16."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((4, round(seconds * RATE_HZ))) * 1000).astype(np.int16)


def write_wav(path, audio, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    if options.get("subtype") == "FLOAT" and audio.dtype == np.int16:
        audio = audio / 32768.0
    soundfile.write(path, audio.T, options.pop("rate", RATE_HZ), **{"subtype": "PCM_16", "format": "WAV", **options})


def write_text(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)


def write_video(path, seconds, rate=NTSC, size=(96, 192)):
    """A video whose picture n is grey of level 2 * (n % 100) + 20."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = int(seconds * rate)
    write_mp4(path, (np.full((*size, 3), 20 + 2 * (n % 100), np.uint8) for n in range(count)), rate)


class Tree:
    """Adds recordings one by one; `folder` is that of the three kinds alike."""

    def __init__(self, root):
        self.root = root

    def path(self, kind, name, folder="dev-train-tau"):
        ending = {"foa": "wav", "metadata": "csv", "video": "mp4"}[kind]
        part = "eval" if folder == "" else "dev"
        return self.root / f"{kind}_{part}" / folder / f"{name}.{ending}"

    def add(self, name, folder="dev-train-tau", seconds=2.0, csv="0,0,0,10,0,150\n", video=True, seed=0, **options):
        """One recording; `csv` is the text of its labels, or nothing; returns the audio that was written."""
        audio = noise(seconds, seed)
        write_wav(self.path("foa", name, folder), audio, **options)
        if csv is not None:
            write_text(self.path("metadata", name, folder), csv)
        if video:
            write_video(self.path("video", name, folder), seconds)
        return audio


def rows_of(store, recording=None):
    rows = [
        row for split in store.manifest.splits.values() for shard in split.shards for row in read_shard(store, shard)
    ]
    return [row for row in rows if recording in (None, row["recording"])]


def notes_of(built):
    return {name: one["facts"]["notes"] for name, one in built.report["recordings"].items()}
