"""Facts and files for the tracking server that wait on storage until it has taken them, in order.

    <uri>/00000012.json    what to do with it
    <uri>/00000012.bin     the content of a file, where it is one

An entry is there from the moment it is handed over until it is written, so that a later process goes on with what this
one could not write. Its JSON is written last and removed first: an entry is whole or it is not there.
"""

from __future__ import annotations

import json
import threading
from typing import Any

from data import storage
from data.remembered import read_back


class Outbox:
    """A folder of waiting entries; one process at a time may use it, and any of its threads."""

    def __init__(self, uri: str) -> None:
        self._uri = uri.rstrip("/")
        self._lock = threading.Lock()
        there = storage.list_files(self._uri)
        self._waiting = sorted(int(name.removesuffix(".json")) for name in there if name.endswith(".json"))
        self._last = max(self._waiting, default=0)
        for name in there:
            if name.endswith(".bin") and int(name.removesuffix(".bin")) not in self._waiting:
                storage.delete(f"{self._uri}/{name}")

    def __len__(self) -> int:
        return len(self._waiting)

    def numbers(self) -> list[int]:
        """The entries that wait, oldest first."""
        with self._lock:
            return list(self._waiting)

    def put(self, entry: dict[str, Any], content: bytes | None = None) -> None:
        """Keep an entry (JSON), with the content of a file."""
        with self._lock:
            self._last += 1
            number = self._last
        if content is not None:
            storage.write_bytes(f"{self._path(number)}.bin", content)
        storage.write_bytes(f"{self._path(number)}.json", json.dumps({**entry, "file": content is not None}).encode())
        with self._lock:
            self._waiting.append(number)

    def read(self, number: int) -> tuple[dict[str, Any], bytes]:
        """An entry, and the content of its file (empty where it has none). UserError where the entry is broken."""
        uri = f"{self._path(number)}.json"
        with read_back(uri, "delete it, and give the same command again: what it held is then missing in MLflow"):
            entry = json.loads(storage.read_bytes(uri))
            return entry, storage.read_bytes(f"{self._path(number)}.bin") if entry["file"] else b""

    def remove(self, number: int) -> None:
        storage.delete(f"{self._path(number)}.json")
        storage.delete(f"{self._path(number)}.bin")
        with self._lock:
            self._waiting.remove(number)

    def _path(self, number: int) -> str:
        return f"{self._uri}/{number:08d}"
