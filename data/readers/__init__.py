"""Data sets as they are published, taken into a chunk store. A file here may hold a reader, and registers it."""

from data.readers.contract import READERS, Reader
from data.registry.parts import import_all

import_all(__name__)

__all__ = ["READERS", "Reader"]
