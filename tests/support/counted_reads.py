"""A file that counts what is read of it."""

from __future__ import annotations

import io


class Counted(io.FileIO):
    def __init__(self, path, read):
        super().__init__(path)
        self._read = read

    def readinto(self, buffer):
        count = super().readinto(buffer)
        self._read[self.name] = self._read.get(self.name, 0) + count
        return count

    def read(self, size=-1):
        content = super().read(size)
        self._read[self.name] = self._read.get(self.name, 0) + len(content)
        return content
