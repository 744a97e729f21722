"""Memory that training frees and soon asks for again stays with the process."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Tell the C library not to give freed memory back to the kernel; whether it has understood.

    A training step on the CPU allocates gigabytes of activations. Given back and asked for again, every page of them is
    cleared by the kernel each time. Only glibc has these switches.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, -1))
