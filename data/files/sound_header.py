"""What the header of a sound file announces and libsndfile keeps to itself: how long it should be, and FuMa's order.

libsndfile reads a truncated file to its end without a word, and takes a stream, whose writer could not go back to fill
in the length, for an empty one.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO, Final

# Sub-formats of WAVE_FORMAT_EXTENSIBLE that say B-format: W X Y Z, W 3 dB lower; integer and float.
_B_FORMAT: Final = {bytes.fromhex(f"0{kind}000000 2107 d311 8644 c8c1ca000000".replace(" ", "")) for kind in (1, 3)}
_W64_DATA: Final = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
_W64_HEADER: Final = 16 + 8
# The lengths that streams leave lie this near below 2 GiB or 4 GiB, or just beyond 2 GiB, or as near to 2^63 and 2^64.
_NEAR: Final = 1 << 16
_SHORTEST_STREAM: Final = 64
"""Bytes; with fewer behind it, a length of 0 means what it says."""


@dataclass(frozen=True)
class SoundHeader:
    """What a header says, as far as it is known; of an unknown kind of file nothing."""

    announced: int | None = None
    """Bytes of samples; None: it does not say, as of a stream."""
    there: int = 0
    """Bytes of samples in the file, where something is announced."""
    is_b_format: bool = False
    """FuMa's, by its sub-format."""
    is_stream: bool = False
    """It stands for a length that its writer did not know."""
    mask: int = 0
    """Loudspeakers that it names for its channels."""
    changes: tuple[tuple[int, bytes], ...] = ()
    """Bytes at offsets of the file with which libsndfile reads all that is there."""

    @property
    def is_truncated(self) -> bool:
        return self.announced is not None and self.announced > self.there


def sound_header(path: str | os.PathLike[str]) -> SoundHeader:
    """Read the header of a file; OSError where there is none."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        magic = file.read(4)
        file.seek(0)
        read = _KINDS.get(magic)
        try:
            return read(file, size) if read else SoundHeader()
        except (struct.error, ValueError):  # it ends within its header or leads out of the file, which libsndfile says
            return SoundHeader()


def _riff(file: BinaryIO, size: int) -> SoundHeader:
    """RIFF, RIFX, RF64 and BW64: chunks of name and length, one of them the samples."""
    magic = file.read(12)[:4]
    order = ">" if magic == b"RIFX" else "<"
    header = SoundHeader(changes=((0, b"RF64"),) if magic == b"BW64" else ())
    long = None
    for name, length in _chunks(file, order, size):
        start = file.tell()
        if name == b"ds64":
            long = start + 8, struct.unpack("<Q", file.read(16)[8:])[0]
        elif name == b"fmt ":
            extension = file.read(length)[18:40]
            if len(extension) == 22:
                mask = struct.unpack(f"{order}I", extension[2:6])[0]
                header = replace(header, mask=mask, is_b_format=extension[6:] in _B_FORMAT)
        elif name == b"data":
            there = size - start
            if length == 0xFFFFFFFF and long is not None:
                offset, announced = long
                if there < _SHORTEST_STREAM or (announced and not _is_stand_in(announced, bits=64)):
                    return replace(header, announced=announced, there=there)
                return replace(header, is_stream=True, changes=(*header.changes, (offset, struct.pack("<Q", there))))
            if length == 0 and there >= _SHORTEST_STREAM:
                told = (start - 4, struct.pack(f"{order}I", min(there, 2**32 - 1)))
                return replace(header, is_stream=True, changes=(*header.changes, told))
            if _is_stand_in(length):
                return replace(header, is_stream=True)
            return replace(header, announced=length, there=there)
        file.seek(start + length + length % 2)
    return header


def _chunks(file: BinaryIO, order: str, size: int) -> Iterator[tuple[bytes, int]]:
    while file.tell() + 8 <= size:
        yield struct.unpack(f"{order}4sI", file.read(8))


def _is_stand_in(length: int, bits: int = 32) -> bool:
    half = 1 << bits - 1
    return half - _NEAR <= length <= half + _NEAR or length >= 2 * half - _NEAR


def _announced(length: int, there: int, bits: int = 32) -> SoundHeader:
    return SoundHeader(is_stream=True) if _is_stand_in(length, bits) else SoundHeader(length, there)


def _w64(file: BinaryIO, size: int) -> SoundHeader:
    """Sony's: chunks of a GUID and a length of 64 bit that counts both, at multiples of 8 bytes."""
    file.seek(_W64_HEADER + 16)
    while file.tell() + _W64_HEADER <= size:
        start = file.tell()
        name, length = struct.unpack("<16sQ", file.read(_W64_HEADER))
        if name == _W64_DATA:
            return _announced(max(0, length - _W64_HEADER), size - file.tell(), bits=64)
        if length < _W64_HEADER:
            break
        file.seek(start + (length + 7) // 8 * 8)
    return SoundHeader()


def _aiff(file: BinaryIO, size: int) -> SoundHeader:
    file.seek(12)
    for name, length in _chunks(file, ">", size):
        start = file.tell()
        if name == b"SSND":
            return _announced(length, size - start)
        file.seek(start + length + length % 2)
    return SoundHeader()


def _au(file: BinaryIO, size: int) -> SoundHeader:
    order = ">" if file.read(4) == b".snd" else "<"
    offset, length = struct.unpack(f"{order}II", file.read(8))
    if length == 0 and size - offset >= _SHORTEST_STREAM:
        return SoundHeader(is_stream=True, changes=((8, b"\xff" * 4),))
    return _announced(length, size - offset)


def _ogg(file: BinaryIO, size: int) -> SoundHeader:
    """The last page of a whole stream says that it is the last, and how long it is."""
    file.seek(max(0, size - (1 << 17)))
    end = file.read()
    page = end[max(0, end.rfind(b"OggS")) :]
    lacing = page[27 : 27 + page[26]] if len(page) > 27 else b""
    is_whole = len(page) > 27 and bool(page[5] & 4) and len(page) >= 27 + len(lacing) + sum(lacing)
    return SoundHeader(None if is_whole else size + 1, size)


_KINDS: Final[dict[bytes, Callable[[BinaryIO, int], SoundHeader]]] = {
    **dict.fromkeys((b"RIFF", b"RIFX", b"RF64", b"BW64"), _riff),
    b"riff": _w64,
    b"FORM": _aiff,
    b".snd": _au,
    b"dns.": _au,
    b"OggS": _ogg,
}
