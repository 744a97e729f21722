"""The chunk store: `<root>/manifest.json`, `<root>/<split>/part-*.parquet` and an index of their rows, on a disk or S3.

The manifest is written last and in one piece, and names every shard with its SHA-256; its own hash is the data's
identity. Shards carry the hash of their content in their names, so that nothing which the manifest in place names is
ever overwritten. The index says what is in each row without opening a shard.

Growth: a minute of recording is one row of 5 to 30 MB, a shard 32 to 128 MB. 7.5 h are about 450 rows in 150 shards and
30 kB of manifest; 750 h have a hundred times that.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data import storage
from data.classes import STARSS23, ClassList
from data.errors import UserError
from data.stores.rows import RawRow, decode_flac, decode_shard, encode_shard, labels_per_class, polyphony
from data.timing import SAMPLES_PER_LABEL

SCHEMA_VERSION = 2
MANIFEST_NAME = "manifest.json"
SPLITS = ("train", "val", "test", "eval")
"""`eval` holds recordings without labels, to be predicted and never scored here."""

INDEX_SCHEMA = pa.schema(
    [
        ("split", pa.string()),
        ("shard", pa.int32()),
        ("row", pa.int32()),
        ("recording", pa.string()),
        ("room", pa.string()),
        ("start_frame", pa.int32()),
        ("num_frames", pa.int32()),
        ("num_labels", pa.int32()),
        ("has_video", pa.bool_()),
    ]
)
"""One entry a row of the store: where it is, and how many label frames it owns and holds with its tail."""

logger = logging.getLogger(f"seldtune.{__name__}")


@dataclass(frozen=True)
class Shard:
    """One parquet file: path below the root, SHA-256 of its bytes, bytes, rows."""

    path: str
    sha256: str
    bytes: int
    rows: int


@dataclass(frozen=True)
class Split:
    """What a split holds.

    `class_frames[c]` counts label frames in which class c sounds, `polyphony[n]` those in which n events do, the last
    entry five or more.
    """

    clips: int
    clips_without_video: int
    hours: float
    rooms: tuple[str, ...]
    class_frames: tuple[int, ...]
    polyphony: tuple[int, ...]
    shards: tuple[Shard, ...]


@dataclass(frozen=True)
class Manifest:
    """What a store holds, with no times or machine names in it: the same settings give the same manifest."""

    source: str
    settings: Mapping[str, Any]
    splits: Mapping[str, Split]
    index: Shard
    """The file of `INDEX_SCHEMA`."""
    schema_version: int = SCHEMA_VERSION
    classes: ClassList = STARSS23

    def to_json(self) -> str:
        """The canonical form, of which `sha256` is taken."""
        said = asdict(self)
        # Stores of STARSS23's classes keep the identity that they had before there were others.
        said["classes"] = self.classes.to_json()
        if self.classes == STARSS23:
            del said["classes"]
        return json.dumps(said, indent=1, sort_keys=True) + "\n"

    @property
    def sha256(self) -> str:
        """The data's identity."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @classmethod
    def from_json(cls, text: str, where: str) -> Manifest:
        """Read the canonical form. UserError, naming `where`, for anything that is no manifest of ours."""
        try:
            document = json.loads(text)
            version = document["schema_version"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise UserError(
                f"{where} is no manifest of a chunk store ({error}); delete it and make the store anew"
            ) from error
        check_version(version, SCHEMA_VERSION, where, "store")
        try:
            splits = {
                name: Split(
                    clips=split["clips"],
                    clips_without_video=split["clips_without_video"],
                    hours=split["hours"],
                    rooms=tuple(split["rooms"]),
                    class_frames=tuple(split["class_frames"]),
                    polyphony=tuple(split["polyphony"]),
                    shards=tuple(Shard(**shard) for shard in split["shards"]),
                )
                for name, split in document["splits"].items()
            }
            classes = ClassList.from_json(document["classes"]) if "classes" in document else STARSS23
            return cls(document["source"], document["settings"], splits, Shard(**document["index"]), version, classes)
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{where} lacks or misuses the field {error}; make the store anew") from error


@dataclass(frozen=True)
class Store:
    """A store that can be read: where it is and what it says it holds."""

    root: str
    manifest: Manifest

    def split(self, name: str) -> Split:
        """UserError for a split that is not there."""
        if name not in self.manifest.splits:
            choices = ", ".join(self.manifest.splits)
            raise UserError(f"the store {self.root} has no split {name!r}; it has: {choices}")
        return self.manifest.splits[name]

    def files(self) -> list[Shard]:
        """Everything that the manifest names."""
        return [self.manifest.index, *(shard for split in self.manifest.splits.values() for shard in split.shards)]

    def check(self) -> None:
        """UserError, naming the file, unless every shard and the index are there with their sizes. Reads none."""
        check_files(self.root, self.files())


def check_files(root: str, files: Sequence[Shard]) -> None:
    """UserError, naming the file, unless all are there with their sizes. Reads none."""
    there = storage.list_files(root)
    for shard in files:
        uri = storage.join(root, shard.path)
        if shard.path not in there:
            raise _missing(uri)
        if there[shard.path] != shard.bytes:
            raise UserError(
                f"{uri} has {there[shard.path]} bytes where the manifest says {shard.bytes}; "
                "delete it and make the store anew"
            )


def open_store(root: str) -> Store:
    """Read the manifest at `root`.

    UserError where there is none, where it is no JSON, or where a newer seldtune wrote it; on S3 also for a missing
    bucket, wrong credentials and an endpoint that does not answer.
    """
    missing = ("data", "make it with `seldtune data synth` or `data ingest`")
    return Store(storage.absolute(root), Manifest.from_json(*read_manifest(root, missing, "store")))


def read_manifest(root: str, missing: tuple[str, str], place: str) -> tuple[str, str]:
    """The text of the manifest at `root`, and its URI.

    UserError where it cannot be read: what is `missing`, and how it is made; `place` is what to make anew.
    """
    storage.check_root(root)
    uri = storage.join(root, MANIFEST_NAME)
    try:
        return storage.read_bytes(uri).decode(), uri
    except FileNotFoundError as error:
        what, fix = missing
        raise UserError(f"no {what} at {root}: there is no {MANIFEST_NAME}; {fix}") from error
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise UserError(f"{uri} is no text file; delete it and make the {place} anew") from error


def check_version(version: Any, known: int, where: str, place: str) -> None:
    """UserError unless a manifest's schema version is the one that is known."""
    if version != known:
        newer = isinstance(version, int) and version > known
        fix = "update seldtune" if newer else f"make the {place} anew"
        raise UserError(f"{where} has schema version {version!r}, this seldtune reads {known}; {fix}")


def write_shard(root: str, split: str, rows: Sequence[RawRow]) -> Shard:
    """Write rows as one shard of a split, named by its content."""
    return write_content(root, f"{split}/part", encode_shard(rows), len(rows))


def write_index(root: str, contents: Mapping[str, Sequence[tuple[Shard, Sequence[Mapping[str, Any]]]]]) -> Shard:
    """Write the index: split -> its shards with an entry for each row (`index_entry`), in the manifest's order."""
    entries = [
        {"split": split, "shard": number, "row": row, **entry}
        for split, shards in contents.items()
        for number, (_, of_shard) in enumerate(shards)
        for row, entry in enumerate(of_shard)
    ]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(entries, schema=INDEX_SCHEMA), sink, compression="ZSTD")
    return write_content(root, "index", sink.getvalue(), len(entries))


def index_entry(row: RawRow) -> dict[str, Any]:
    """What the index says of a row."""
    return {
        "recording": row["recording"],
        "room": row["room"],
        "start_frame": row["start_frame"],
        "num_frames": row["num_frames"],
        "has_video": row["has_video"],
        "num_labels": row["num_samples"] // SAMPLES_PER_LABEL,
    }


def write_content(root: str, prefix: str, content: bytes, rows: int) -> Shard:
    """Write a parquet file whose name is the prefix and the hash of its content."""
    sha256 = hashlib.sha256(content).hexdigest()
    path = f"{prefix}-{sha256[:16]}.parquet"
    storage.write_bytes(storage.join(root, path), content)
    return Shard(path, sha256, len(content), rows)


def write_manifest(root: str, manifest: Manifest) -> Store:
    """Put the manifest in place, which makes the store's shards its content. Call it last."""
    store = Store(root, manifest)
    store.check()
    storage.write_bytes(storage.join(root, MANIFEST_NAME), manifest.to_json().encode())
    return store


def read_index(store: Store, split: str | None = None) -> pa.Table:
    """The entries of a split, or of all (`INDEX_SCHEMA`), in the order of its shards and of the rows in them."""
    if split is not None:
        store.split(split)
    table = pq.read_table(pa.BufferReader(read_whole(store.root, store.manifest.index)))
    return table if split is None else table.filter(pc.field("split") == split)


def read_shard(
    store: Store, shard: Shard, columns: list[str] | None = None, rows: Sequence[int] | None = None
) -> list[RawRow]:
    """The rows of a shard: all of them or those numbered, of all columns or of those named.

    A whole shard is read at once and its hash found right. Of a part, only the row groups and columns asked for are
    read, and their checksums found right. UserError, naming the shard, otherwise.
    """
    if columns is None and rows is None:
        return decode_shard(pa.BufferReader(read_whole(store.root, shard)))
    uri = storage.join(store.root, shard.path)
    try:
        with storage.open_file(uri, shard.bytes) as file:
            return decode_shard(file, columns, rows)
    except FileNotFoundError as error:
        raise _missing(uri) from error
    except (OSError, pa.ArrowInvalid) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{uri} is corrupted ({reason}); delete it and make the store anew") from error


def read_whole(root: str, shard: Shard) -> bytes:
    """The bytes of a file below `root`. UserError, naming it, where it is missing or its hash is another."""
    uri = storage.join(root, shard.path)
    try:
        content = storage.read_bytes(uri)
    except FileNotFoundError as error:
        raise _missing(uri) from error
    found = hashlib.sha256(content).hexdigest()
    if found != shard.sha256:
        raise UserError(
            f"{uri} is corrupted: expected SHA-256 {shard.sha256}, got {found}; delete it and make the store anew"
        )
    return content


def _missing(uri: str) -> UserError:
    return UserError(f"{uri} is missing though the manifest names it; make the store anew")


def verify(store: Store) -> int:
    """Read and decode everything: hashes, sound, pictures, counts. Returns the rows read; UserError at a fault."""
    store.check()
    total = 0
    for name, split in store.manifest.splits.items():
        index = read_index(store, name).drop_columns(["split", "shard", "row"]).to_pylist()
        counts, at_once, place = [0] * len(split.class_frames), [0] * len(split.polyphony), 0
        for shard in split.shards:
            uri = storage.join(store.root, shard.path)
            rows = read_shard(store, shard)
            for row in rows:
                _verify_row(row, uri)
            if [index_entry(row) for row in rows] != [dict(e) for e in index[place : place + len(rows)]]:
                raise UserError(f"{uri}: its rows are not what the index of {store.root} says; make the store anew")
            counts = [a + b for a, b in zip(counts, labels_per_class(rows, len(store.manifest.classes)), strict=True)]
            at_once = [a + b for a, b in zip(at_once, polyphony(rows), strict=True)]
            place += len(rows)
        if (tuple(counts), tuple(at_once), place) != (split.class_frames, split.polyphony, len(index)):
            raise UserError(f"split {name!r} of {store.root}: its counts differ from the manifest; make it anew")
        total += place
    logger.info("%s: %d rows verified", store.root, total)
    return total


def _verify_row(row: RawRow, uri: str) -> None:
    from PIL import Image

    samples = decode_flac(row["audio"]).shape
    if samples != (4, row["num_samples"]) or row["num_samples"] < row["num_frames"] * SAMPLES_PER_LABEL:
        raise UserError(f"{uri}: {row['recording']} holds audio of shape {samples}, not (4, {row['num_samples']})")
    for picture in dict.fromkeys(row["frames"]):
        try:
            Image.open(io.BytesIO(picture)).load()
        except OSError as error:
            raise UserError(f"{uri}: {row['recording']} holds a picture that cannot be read: {error}") from error
