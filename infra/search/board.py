"""The actor that holds what trials and their sweep tell each other, in a module that imports next to nothing: so does
its process.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

from trainables.training.decision import Decision


class Board:
    """Decisions by (trial number, epoch), and boxes of messages by name. Whoever asks first waits for the answer."""

    def __init__(self) -> None:
        self._answers: dict[tuple[int, int], asyncio.Future[Decision]] = {}
        self._boxes: defaultdict[str, asyncio.Queue[Any]] = defaultdict(asyncio.Queue)

    def _slot(self, number: int, epoch: int) -> asyncio.Future[Decision]:
        key = (number, epoch)
        if key not in self._answers:
            self._answers[key] = asyncio.get_running_loop().create_future()
        return self._answers[key]

    async def decide(self, number: int, epoch: int, decision: Decision) -> None:
        slot = self._slot(number, epoch)
        if not slot.done():
            slot.set_result(decision)
        # Answers of earlier epochs have been read: a trial asks in order.
        for key in [k for k in self._answers if k[0] == number and k[1] < epoch - 1]:
            del self._answers[key]

    async def ask(self, number: int, epoch: int) -> Decision:
        """A decision may be asked for again: a trial that lost its process repeats what it did not finish."""
        return await asyncio.shield(self._slot(number, epoch))

    async def put(self, box: str, message: Any) -> None:
        self._boxes[box].put_nowait(message)

    async def take(self, box: str) -> Any:
        return await self._boxes[box].get()
