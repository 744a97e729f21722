"""The chunk store: `<root>/manifest.json` and `<root>/<split>/part-*.parquet`, on a disk or on S3.

The manifest is written last and in one piece, and names every shard with its SHA-256; its own hash is the data's
identity. Shards carry a hash of the settings that made them in their names, so that data made with other settings
never overwrites the shards which the manifest in place still names.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from data import storage
from data.errors import UserError
from data.rows import SAMPLES_PER_LABEL, RawRow, class_frames, decode_flac, decode_shard, encode_shard

SCHEMA_VERSION = 1
MANIFEST_NAME = "manifest.json"
SPLITS = ("train", "val", "test")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shard:
    """One parquet file: path below the root, SHA-256 of its bytes, bytes, rows."""

    path: str
    sha256: str
    bytes: int
    rows: int


@dataclass(frozen=True)
class Split:
    """What a split holds. `class_frames[c]` counts label frames in which class c sounds."""

    clips: int
    hours: float
    rooms: tuple[str, ...]
    class_frames: tuple[int, ...]
    shards: tuple[Shard, ...]


@dataclass(frozen=True)
class Manifest:
    """What a store holds, with no times or machine names in it: the same settings give the same manifest."""

    source: str
    settings: Mapping[str, Any]
    splits: Mapping[str, Split]
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """The canonical form, of which `sha256` is taken."""
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"

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
        if not isinstance(version, int) or version > SCHEMA_VERSION:
            raise UserError(
                f"{where} has schema version {version}, this seldtune reads up to {SCHEMA_VERSION}; update seldtune"
            )
        try:
            splits = {
                name: Split(
                    clips=split["clips"],
                    hours=split["hours"],
                    rooms=tuple(split["rooms"]),
                    class_frames=tuple(split["class_frames"]),
                    shards=tuple(Shard(**shard) for shard in split["shards"]),
                )
                for name, split in document["splits"].items()
            }
            return cls(document["source"], document["settings"], splits, version)
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

    def check(self) -> None:
        """UserError, naming the shard, unless every shard is there with its size. Reads no shard."""
        there = storage.list_files(self.root)
        for split in self.manifest.splits.values():
            for shard in split.shards:
                uri = storage.join(self.root, shard.path)
                if shard.path not in there:
                    raise UserError(f"shard {uri} is missing though the manifest names it; make the store anew")
                if there[shard.path] != shard.bytes:
                    raise UserError(
                        f"shard {uri} has {there[shard.path]} bytes where the manifest says {shard.bytes}; "
                        "delete it and make the store anew"
                    )


def open_store(root: str) -> Store:
    """Read the manifest at `root`.

    UserError where there is none, where it is no JSON, or where a newer seldtune wrote it; on S3 also for a missing
    bucket, wrong credentials and an endpoint that does not answer.
    """
    storage.check_root(root)
    uri = storage.join(root, MANIFEST_NAME)
    try:
        text = storage.read_bytes(uri).decode()
    except FileNotFoundError as error:
        raise UserError(
            f"no data at {root}: there is no {MANIFEST_NAME}; make it with `seldtune data synth`"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{uri} is no text; make the store anew") from error
    return Store(root, Manifest.from_json(text, uri))


def write_shard(root: str, path: str, rows: list[RawRow]) -> Shard:
    """Write rows as one shard at `path` below `root`."""
    content = encode_shard(rows)
    storage.write_bytes(storage.join(root, path), content)
    return Shard(path, hashlib.sha256(content).hexdigest(), len(content), len(rows))


def write_manifest(root: str, manifest: Manifest) -> Store:
    """Put the manifest in place, which makes the store's shards its content. Call it last."""
    store = Store(root, manifest)
    store.check()
    storage.write_bytes(storage.join(root, MANIFEST_NAME), manifest.to_json().encode())
    return store


def read_shard(store: Store, shard: Shard, columns: list[str] | None = None) -> list[RawRow]:
    """The rows of a shard, after its hash was found right. UserError, naming the shard, otherwise."""
    uri = storage.join(store.root, shard.path)
    try:
        content = storage.read_bytes(uri)
    except FileNotFoundError as error:
        raise UserError(f"shard {uri} is missing though the manifest names it; make the store anew") from error
    found = hashlib.sha256(content).hexdigest()
    if found != shard.sha256:
        raise UserError(
            f"shard {uri} is corrupted: expected SHA-256 {shard.sha256}, got {found}; delete it and make the store anew"
        )
    return decode_shard(content, columns)


def verify(store: Store) -> int:
    """Read and decode everything: hashes, sound, pictures, counts. Returns the rows read; UserError at a fault."""
    store.check()
    total = 0
    for name, split in store.manifest.splits.items():
        counts = [0] * len(split.class_frames)
        for shard in split.shards:
            uri = storage.join(store.root, shard.path)
            rows = read_shard(store, shard)
            for row in rows:
                _verify_row(row, uri)
            counts = [a + b for a, b in zip(counts, class_frames(rows), strict=True)]
            total += len(rows)
        if tuple(counts) != split.class_frames:
            raise UserError(f"split {name!r} of {store.root}: class counts differ from the manifest; make it anew")
    logger.info("%s: %d rows verified", store.root, total)
    return total


def _verify_row(row: RawRow, uri: str) -> None:
    from PIL import Image

    samples = decode_flac(row["audio"]).shape
    if samples != (4, row["num_samples"]) or row["num_samples"] < row["num_frames"] * SAMPLES_PER_LABEL:
        raise UserError(f"{uri}: {row['recording']} holds audio of shape {samples}, not (4, {row['num_samples']})")
    for frame in dict.fromkeys(row["frames"]):
        try:
            Image.open(io.BytesIO(frame)).load()
        except OSError as error:
            raise UserError(f"{uri}: {row['recording']} holds a picture that cannot be read: {error}") from error
