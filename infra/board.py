"""The actor that holds early-stopping decisions, in a module that imports next to nothing: so does its process."""

from __future__ import annotations

import asyncio

from trainables.decision import Decision


class Board:
    """Decisions by (trial number, epoch). Whoever asks first waits for the answer."""

    def __init__(self) -> None:
        self._answers: dict[tuple[int, int], asyncio.Future[Decision]] = {}

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
        return await asyncio.shield(self._slot(number, epoch))
