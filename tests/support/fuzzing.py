"""Inputs that nobody would write: valid ones, changed at random places in ways that bite, each from its seed alone."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

LONGEST_S = 2.0
TOKENS = (
    *(
        b"0",
        b"-1",
        b"1e999",
        b"-1e-999",
        b"nan",
        b"inf",
        b"99999999999999999999",
        b"1_000",
        b"0x10",
        b"010",
        b"12:30:00",
    ),
    *(
        b"",
        b" ",
        b"\t",
        b",",
        b",,",
        b";",
        b"\n",
        b"\r\n",
        b"\r",
        b"\x00",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\xe2\x80\xa8",
    ),
    *(
        b'"',
        b"'",
        b"{",
        b"}",
        b"[",
        b"]",
        b": ",
        b"- ",
        b"&a",
        b"*a",
        b"!!",
        b"%",
        b"#",
        b"null",
        b"true",
        b"~",
        b"<<: ",
    ),
    *(b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x01\x00", b"data", b"fmt ", b"RIFF", b"RF64"),
)


@dataclass(frozen=True)
class Target:
    """Something that reads what users bring."""

    seeds: Sequence[bytes]
    """Valid inputs."""
    read: Callable[[bytes], object]


class TooLong(Exception):
    """An input took longer than `LONGEST_S`."""


def changed(content: bytes, rng: random.Random) -> bytes:
    """The content with one to four changes: bytes turned, tokens put in, pieces cut out, doubled or moved."""
    out = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(out) + 1)
        to = min(len(out), at + rng.choice((1, 2, 4, 8, 64, 1024)))
        kind = rng.randrange(6)
        if kind == 0 and out:
            out[min(at, len(out) - 1)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at:at] = rng.choice(TOKENS)
        elif kind == 2:
            out[at:to] = rng.choice(TOKENS)
        elif kind == 3:
            del out[at:to]
        elif kind == 4:
            out[at:at] = out[at:to] * rng.choice((1, 2, 50))
        else:
            there = rng.randrange(len(out) + 1)
            piece = bytes(out[at:to])
            del out[at:to]
            out[there:there] = piece
    return bytes(out)


def inputs(target: Target, name: str, count: int) -> Iterator[tuple[str, bytes]]:
    """So many inputs, each with the seed that it comes from."""
    for number in range(count):
        seed = f"{name}-{number}"
        rng = random.Random(seed)
        yield seed, changed(rng.choice(target.seeds), rng)


@contextmanager
def within_time() -> Iterator[None]:
    """Raises `TooLong` out of whatever runs longer, where Python gets to run at all, and else at the end."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
    started = time.monotonic()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    if time.monotonic() - started > LONGEST_S:
        raise TooLong
