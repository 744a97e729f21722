"""Messages between the actor of a trial and the workers that train."""

from __future__ import annotations

from queue import SimpleQueue
from typing import Any, Protocol


class Mail(Protocol):
    """Boxes by name. What is put into one comes out in the same order; whoever takes waits for something to be there.

    A box that processes share takes what can be pickled.
    """

    def put(self, box: str, message: Any) -> None: ...

    def take(self, box: str) -> Any: ...


class LocalMail:
    """Boxes between the threads of one process."""

    def __init__(self) -> None:
        self._boxes: dict[str, SimpleQueue[Any]] = {}

    def put(self, box: str, message: Any) -> None:
        self._box(box).put(message)

    def take(self, box: str) -> Any:
        return self._box(box).get()

    def _box(self, name: str) -> SimpleQueue[Any]:
        return self._boxes.setdefault(name, SimpleQueue())
