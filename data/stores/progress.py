"""How far the making of a store is."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping

logger = logging.getLogger(f"seldtune.{__name__}")


class Progress:
    """One line a finished task: how much of the sound is done, how fast, and when it will all be.

    Args:
        seconds: for each task that is left, by its key, how much sound there is in it.
    """

    def __init__(self, root: str, seconds: Mapping[str, float]) -> None:
        self._root = root
        self._seconds = dict(seconds)
        self._total_s = sum(self._seconds.values())
        self._done_s, self._tasks, self._bytes = 0.0, 0, 0
        self._started = time.monotonic()

    def tell(self, key: str, written_bytes: int) -> None:
        self._done_s += self._seconds[key]
        self._tasks += 1
        self._bytes += written_bytes
        elapsed = max(time.monotonic() - self._started, 1e-6)
        rate = self._done_s / elapsed
        logger.info(
            "%s: task %d/%d | %.2f of %.2f h | %.0f MB | %.1f x real time | ETA %s",
            self._root,
            self._tasks,
            len(self._seconds),
            self._done_s / 3600,
            self._total_s / 3600,
            self._bytes / 1e6,
            rate,
            _clock((self._total_s - self._done_s) / rate if rate else math.inf),
        )


def _clock(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
