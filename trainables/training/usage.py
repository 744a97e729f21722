"""What a training process uses of its machine, for its reports: from /proc and torch alone.

Where something cannot be told (no GPU, no /proc, a container that hides it), its keys are left out.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

import torch

GB = 1e9


class Usage:
    """Tells, each time it is called, what this process used since the last time, or since it was made.

    One for each training: `usage = Usage()`, then `usage()` for each report. Peaks of GPU memory are reset with each
    call. Costs less than a millisecond (on a GPU, one question to its driver).
    """

    def __init__(self) -> None:
        self._at = time.monotonic()
        self._cpu_s = _cpu_seconds()
        self._io_bytes = _io_bytes()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def __call__(self) -> dict[str, float]:
        """The use, by keys that begin with `system/`:

        `cpu_percent`: of one core, so 200 is two cores; of this process and its children that have ended.
        `memory_gb`: resident now.
        `io_read_gb`, `io_write_gb`: from and to disks.
        `gpu_memory_gb`: peak of what torch allocated; `gpu_percent`: of the time the GPU was busy of late.
        """
        now, cpu_s, io_bytes = time.monotonic(), _cpu_seconds(), _io_bytes()
        values = {"system/cpu_percent": 100 * (cpu_s - self._cpu_s) / max(now - self._at, 1e-6)}
        memory = _memory_bytes()
        if memory is not None:
            values["system/memory_gb"] = memory / GB
        for name, count in io_bytes.items():
            if name in self._io_bytes:
                values[f"system/io_{name}_gb"] = (count - self._io_bytes[name]) / GB
        self._at, self._cpu_s, self._io_bytes = now, cpu_s, io_bytes
        return {**values, **_gpu_use()}


def _cpu_seconds() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _memory_bytes() -> int | None:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        # Without /proc there is only the peak, which macOS counts in bytes.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss if sys.platform == "darwin" else None


def _io_bytes() -> dict[str, int]:
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return {}
    counts = dict(line.split(": ") for line in lines)
    return {"read": int(counts["read_bytes"]), "write": int(counts["write_bytes"])}


def _gpu_use() -> dict[str, float]:
    if not torch.cuda.is_available():
        return {}
    values = {"system/gpu_memory_gb": torch.cuda.max_memory_allocated() / GB}
    torch.cuda.reset_peak_memory_stats()
    # It asks NVML, whose bindings may be missing, or which a container may hide.
    with suppress(ModuleNotFoundError, RuntimeError):
        values["system/gpu_percent"] = float(torch.cuda.utilization())
    return values
