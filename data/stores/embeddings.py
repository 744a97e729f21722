"""What frozen visual networks make of a chunk store's pictures, kept so that no trial computes it again.

`<root>/manifest.json` and `<root>/<split>/part-*.parquet`, one part for each row of the chunk store that has pictures.
The manifest comes last and in one piece. It says what the embeddings are of (`Embedded`): the same data, network,
weights and pictures have the same key, and any other have another.

A row's embeddings are float16 (entries, 8, ...), an entry for each picture or for each window that may start in the
row, under each of the eight channel swaps. Of equal pictures or windows one vector is kept, and `places` says which
vector is where. Vectors are kept without loss, to the bit: as the changes of their 16-bit patterns from one vector to
the next, plus `MIDDLE`. What networks make of neighbouring pictures is alike, so that the high bytes of changes are few
different ones; parquet's byte stream split puts them together and zstd takes most of them away: about a quarter to a
third of all bytes. `decode_part` undoes it by a sum.

Growth: ResNet50 takes 41 MB a minute before that, I3D 12 MB; a part is one row, up to a minute.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data import storage
from data.errors import UserError
from data.stores.chunks import (
    MANIFEST_NAME,
    Shard,
    check_files,
    check_version,
    read_manifest,
    read_whole,
    write_content,
)
from data.swaps import NUM_SWAPS, SWAPS

SCHEMA_VERSION = 1
FOLDER = "embeddings"
"""Below the root of the data: a folder for each key."""

PART_SCHEMA = pa.schema(
    [
        ("recording", pa.string()),
        ("start_frame", pa.int32()),
        ("places", pa.list_(pa.int32())),
        ("vectors", pa.int32()),
        ("changes", pa.list_(pa.uint16())),
    ]
)
"""One row: where each entry under each swap (entries x 8) is among so many vectors, and those (vectors x width)."""

MIDDLE = np.uint16(0x8080)
"""Added to changes: the high bytes of small ones of either sign are then the same."""

_SIGNS = [[asdict(swap)[name] for name in ("azimuth_sign", "azimuth_offset_deg", "elevation_sign")] for swap in SWAPS]

Vectors = NDArray[np.float16]


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """Everything that the numbers follow from."""

    data_sha256: str
    """Of the chunk store's manifest."""
    encoder: Mapping[str, Any]
    """Name and structure of the network."""
    weights_sha256: str
    pictures: Mapping[str, Any]
    """Width, height and rate of the pictures; for a network that sees windows their length and spacing too."""
    precision: str
    """What the network computed in: `fp32` or `fp16`."""
    swaps: list[list[int]] = field(default_factory=lambda: _SIGNS)
    """Sign and turn of the azimuth and sign of the elevation of each channel swap, in order."""

    @property
    def key(self) -> str:
        """The same on every machine."""
        text = json.dumps({"schema_version": SCHEMA_VERSION, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Part:
    """The embeddings of one row of the chunk store."""

    recording: str
    start_frame: int
    shard: Shard
    """Its rows are the vectors."""


@dataclass(frozen=True, kw_only=True)
class EmbeddingManifest:
    """What a store of embeddings holds, with no times or machine names in it."""

    of: Embedded
    shape: tuple[int, ...]
    """Of an entry: (D,) for a picture, (T', D) for a window."""
    splits: Mapping[str, tuple[Part, ...]]
    random_seed: int | None = None
    """Weights that were drawn and not trained: good for tests alone."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """What the file of weights says of itself."""
    dtype: str = "float16"
    schema_version: int = SCHEMA_VERSION

    @property
    def bytes(self) -> int:
        return sum(part.shard.bytes for part in self.parts())

    @property
    def vectors(self) -> int:
        """Distinct pictures or windows that went through the network."""
        return sum(part.shard.rows for part in self.parts())

    def parts(self) -> list[Part]:
        return [part for parts in self.splits.values() for part in parts]

    def to_json(self) -> str:
        """The canonical form, of which `sha256` is taken."""
        counts = {"bytes": self.bytes, "vectors": self.vectors, "key": self.of.key}
        return json.dumps({**asdict(self), **counts}, indent=1, sort_keys=True) + "\n"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @classmethod
    def from_json(cls, text: str, where: str) -> EmbeddingManifest:
        """Read the canonical form. UserError, naming `where`, for anything that is none of ours."""
        try:
            document = json.loads(text)
            version = document["schema_version"]
            check_version(version, SCHEMA_VERSION, where, "embeddings")
            return cls(
                of=Embedded(**document["of"]),
                shape=tuple(document["shape"]),
                splits={
                    split: tuple(Part(p["recording"], p["start_frame"], Shard(**p["shard"])) for p in parts)
                    for split, parts in document["splits"].items()
                },
                random_seed=document["random_seed"],
                provenance=document["provenance"],
                dtype=document["dtype"],
            )
        except UserError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{where} is no manifest of embeddings ({error}); make them with `seldtune data embed`"
            ) from error


@dataclass(frozen=True)
class EmbeddingStore:
    """Embeddings that can be read. Picklable."""

    root: str
    manifest: EmbeddingManifest

    @cached_property
    def _parts(self) -> dict[tuple[str, int], Part]:
        return {(part.recording, part.start_frame): part for part in self.manifest.parts()}

    def read(self, recording: str, start_frame: int, has_video: bool = True) -> Vectors:
        """The embeddings of a row of the chunk store, float16 (entries, 8, ...); no entries where it has no video.

        Raises:
            UserError: the part is not in the store, missing, or corrupted; it is named.
        """
        if not has_video:
            return np.zeros((0, NUM_SWAPS, *self.manifest.shape), dtype=np.float16)
        part = self._parts.get((recording, start_frame))
        if part is None:
            raise UserError(
                f"{self.root} holds no embeddings of {recording} from label frame {start_frame} on; "
                "make them of this data with `seldtune data embed`"
            )
        return decode_part(read_whole(self.root, part.shard), self.manifest.shape)

    def check(self) -> None:
        """UserError, naming the file, unless every part is there with its size. Reads none."""
        check_files(self.root, [part.shard for part in self.manifest.parts()])


def open_embeddings(root: str) -> EmbeddingStore:
    """Read the manifest at `root`.

    UserError where there is none or it is not one of embeddings, and for all that can be wrong with the place.
    """
    missing = ("embeddings", "make them with `seldtune data embed`")
    return EmbeddingStore(root, EmbeddingManifest.from_json(*read_manifest(root, missing, "embeddings")))


def write_embeddings(root: str, manifest: EmbeddingManifest) -> EmbeddingStore:
    """Put the manifest in place, which makes the parts it names the store's content. Call it last."""
    store = EmbeddingStore(root, manifest)
    store.check()
    storage.write_bytes(storage.join(root, MANIFEST_NAME), manifest.to_json().encode())
    return store


def write_part(
    root: str, split: str, recording: str, start_frame: int, vectors: Vectors, places: NDArray[np.int32]
) -> Part:
    """Write the embeddings of one row, named by their content.

    Args:
        vectors: (N, ...).
        places: (entries, 8), which vector is each entry under each swap.
    """
    content = encode_part(recording, start_frame, vectors, places)
    return Part(recording, start_frame, write_content(root, f"{split}/part", content, len(vectors)))


def encode_part(recording: str, start_frame: int, vectors: Vectors, places: NDArray[np.int32]) -> bytes:
    """One row's embeddings as a parquet file. The same embeddings give the same bytes."""
    assert vectors.dtype == np.float16
    patterns = vectors.reshape(len(vectors), -1).view(np.uint16)
    changes = np.diff(patterns, axis=0, prepend=patterns[:1] * 0) + MIDDLE
    columns = [[recording], [start_frame], [places.reshape(-1)], [len(vectors)], [changes.reshape(-1)]]
    arrays = [pa.array(column, type=kind) for column, kind in zip(columns, PART_SCHEMA.types, strict=True)]
    sink = io.BytesIO()
    # The lowest level, which looks least for repetitions that there are none of, is the smallest here and the fastest.
    pq.write_table(
        pa.Table.from_arrays(arrays, schema=PART_SCHEMA),
        sink,
        compression="ZSTD",
        compression_level=1,
        use_dictionary=False,
        column_encoding={"changes.list.element": "BYTE_STREAM_SPLIT"},
        write_statistics=False,
    )
    return sink.getvalue()


def decode_part(content: bytes, shape: tuple[int, ...]) -> Vectors:
    """Inverse of `encode_part`, with every entry in its place: float16 (entries, 8, *shape)."""
    table = pq.read_table(pa.BufferReader(content), use_threads=False)
    changes, places = (table.column(name)[0].values.to_numpy() for name in ("changes", "places"))
    patterns = changes.reshape(table.column("vectors")[0].as_py(), -1) - MIDDLE
    for before, after in pairwise(patterns):  # thirty times faster than a cumulative sum down the columns
        after += before
    return patterns.view(np.float16).reshape(-1, *shape)[places.reshape(-1, NUM_SWAPS)]
