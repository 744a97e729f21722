"""How fast a model hears and looks: one window at a time on one core of a processor, as a device in a room would.

Imports torch only where it measures, so that whoever reads what was measured need not wait for it.
"""

from __future__ import annotations

import os
import platform
import re
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.files.boxes import BOX_FIELDS, MAX_BOXES
from data.timing import LABEL_RATE_HZ
from trainables.evaluation.bundle import fetch_bundle, load_bundle
from trainables.inputs.input_config import RATE_HZ

if TYPE_CHECKING:
    from trainables.config import TrialConfig

WARM_UPS, REPEATS = 2, 7


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Time from the samples and pictures of one window to its output, features included, batch 1, one thread."""

    window_s: float
    ms: float
    """Median."""
    repeats: int
    processor: str

    @property
    def real_time_factor(self) -> float:
        """Below 1 the model keeps up with what it hears."""
        return self.ms / 1000 / self.window_s


def measure_latency(bundle_uri: str) -> Latency:
    """Median over `REPEATS` windows of noise, after `WARM_UPS`; the process has one thread for as long."""
    import torch

    from trainables.evaluation.inference import predict_clip

    with tempfile.TemporaryDirectory() as folder:
        bundle = load_bundle(fetch_bundle(bundle_uri, folder))
    window_s = bundle.config.inputs.window_labels / LABEL_RATE_HZ
    generator = np.random.default_rng(0)
    audio = generator.uniform(-0.1, 0.1, (4, round(window_s * RATE_HZ))).astype(np.float32)
    seen = _seen(bundle.config, window_s)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times_s = []
        for _ in range(WARM_UPS + REPEATS):
            started = time.perf_counter()
            predict_clip(bundle.model, audio, seen)
            times_s.append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    median_ms = 1000 * statistics.median(times_s[WARM_UPS:])
    return Latency(window_s=window_s, ms=median_ms, repeats=REPEATS, processor=cpu_name())


def _seen(config: TrialConfig, window_s: float) -> np.ndarray | None:
    """Pictures or boxes for a window, as the model reads them."""
    inputs, reads = config.inputs, config.visual.reads
    pictures = round(window_s * inputs.frame_rate_hz)
    if reads == "frames":
        return np.full((pictures, inputs.frame_height, inputs.frame_width, 3), 128, np.uint8)
    return np.zeros((pictures, MAX_BOXES, BOX_FIELDS), np.float32) if reads == "boxes" else None


def cpu_name() -> str:
    """Model of this machine's processor and the cores it has here."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE)
        name = found.group(1).strip() if found else name
    return f"{name}, {os.cpu_count()} cores"
