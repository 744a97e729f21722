"""What a reader of data sets is, and the registry of them."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Final

from data.files.audio import Ambisonics
from data.files.class_map import DEFAULT_CLASSES, ClassMap
from data.files.video import Stereoscopic
from data.registry.parts import Registry
from data.stores.rows import PICTURE_HEIGHT, PICTURE_WIDTH
from data.stores.source import Fault, Recording
from data.timing import PICTURE_RATE_HZ

__all__ = ["DEFAULT", "INGEST_VERSION", "READERS", "Clip", "Fault", "IngestSettings", "Reader", "Recording", "Tree"]

DEFAULT: Final = "starss23"
# Raise it when the same files would give other data than before.
INGEST_VERSION: Final = 1


@dataclass(frozen=True)
class Clip:
    """The files of one recording, relative to the tree's root."""

    name: str
    room: str
    split: str
    """train, val, test or eval; where there is no val, it is taken out of training by room."""
    wav: str
    csv: str | None
    """None: an evaluation recording, whose labels are not published."""
    video: str | None


@dataclass(frozen=True)
class Tree:
    """What there is in a tree."""

    root: str
    clips: tuple[Clip, ...]
    """Ordered by split and name; no two have one name."""
    faults: tuple[Fault, ...]
    orphans: tuple[str, ...]
    """Label and video files without a recording."""
    versions: Mapping[str, str]
    """Every file: something that changes when its content does (`data.storage.list_versions`)."""
    asks_classes: str = ""
    """Why its numbers of classes may be others than STARSS23's, if they may; then whoever takes it in has to say."""


@dataclass(frozen=True, kw_only=True)
class IngestSettings:
    """How a tree is taken in."""

    val_rooms: tuple[str, ...] | None = None
    """Rooms of the training set that are held out for validation; None: see `hold_out.choose_val_rooms`."""
    with_video: bool = True
    resample: bool = False
    """Accept other sample rates than 24 kHz and convert them."""
    ambisonics: Ambisonics = "ambix"
    """Order and scale of the channels, where a file does not say it."""
    stereoscopic: Stereoscopic | None = None
    """How the panoramas of two eyes lie in a picture, of which one is taken; None: it is one panorama."""
    classes: ClassMap | None = None
    """The store's classes, and what label files call them; None: nobody said, and they are STARSS23's."""

    @property
    def class_map(self) -> ClassMap:
        return self.classes or DEFAULT_CLASSES

    def to_dict(self) -> dict[str, Any]:
        """Everything but the files that the data follows from, as JSON knows it."""
        pictures = (
            {"width": PICTURE_WIDTH, "height": PICTURE_HEIGHT, "rate_hz": PICTURE_RATE_HZ} if self.with_video else None
        )
        said = {**asdict(self), "frames": pictures, "ingest_version": INGEST_VERSION}
        # Stores keep the identity that they had before there was a choice.
        for name, is_usual in (
            ("ambisonics", self.ambisonics == "ambix"),
            ("stereoscopic", self.stereoscopic is None),
            ("classes", self.class_map == DEFAULT_CLASSES),
        ):
            if is_usual:
                del said[name]
        if "classes" in said:
            said["classes"] = self.class_map.to_json()
        return json.loads(json.dumps(said))


class Reader(ABC):
    """Knows how a data set lies in its folders; register with `@READERS.register`. Picklable, and holds nothing."""

    name: ClassVar[str]
    """What `--reader` calls it."""

    @abstractmethod
    def find(self, root: str) -> Tree:
        """List a tree on a disk or S3; no file of it is opened.

        Raises:
            UserError: it holds no recordings in this layout, with what was expected and what was found.
        """

    def read(self, root: str, clip: Clip, settings: IngestSettings) -> Recording | Fault:
        """Read the files of one recording; a fault where one of them is not what it has to be.

        As it is, it reads four channels W, Y, Z, X of a wav, labels of a DCASE csv, and any video. `facts["notes"]` of
        the recording counts what is unusual: what it is -> how often.

        Raises:
            UserError: the place of the tree does not answer (S3).
        """
        from data.readers.clip_files import read_clip  # PyAV: a tree is found without

        return read_clip(root, clip, settings)


READERS: Registry[type[Reader]] = Registry("reader", Reader, order=(DEFAULT,))
