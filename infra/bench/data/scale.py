"""What an epoch costs at 7.5, 750 and 75,000 hours on 1, 8 and 64 nodes: bytes, requests, cores and time.

On paper and by simulation, with constants measured here: bytes of a row, seconds of one core to decode it, requests to
fetch it, and the time and memory to plan an epoch. The network is assumed (`Assumed`). The simulation lets every core
of every node fetch a row while it decodes the one before, over a shared network card and a limited rate of requests;
nothing waits for training, so the time is the least that feeding takes. Pictures are those of the storage benchmark.

A split that fits is decoded once and shared by all trials; `decoded` says how much memory that takes, on every node.
"""

from __future__ import annotations

import heapq
import tempfile
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from data import storage
from data.feeding.cutter import Extent
from data.feeding.window_stream import WindowStream
from data.feeding.windows import Sampling
from data.files.video import encode_jpeg
from data.scenes.mixing import render_audio
from data.scenes.sampling import make_room, sample_scene, scene_events
from data.scenes.settings import profile
from data.stores.chunks import Shard, Store, read_shard, write_shard
from data.stores.rows import HEARD, RawRow, cut_rows
from data.timing import (
    LABEL_HOP_S,
    PICTURE_RATE_HZ,
    ROW_LABELS,
    SAMPLES_PER_LABEL,
    TAIL_LABELS,
)
from infra.bench.data.storage import camera_pictures
from infra.bench.measure import finish, parser, stamp
from trainables.config import InputConfig
from trainables.inputs.prepare import PrepareRow

HOURS, NODES = (7.5, 750.0, 75_000.0), (1, 8, 64)
_ROWS_PER_HOUR = round(3600 / (ROW_LABELS * LABEL_HOP_S))
# The simulated stretch of an epoch; what it costs is the same all through.
_SIMULATED_ROWS = 20_000


@dataclass(frozen=True, kw_only=True)
class Assumed:
    """Of the cluster and its object store; none of it was measured."""

    cores_per_node: int = 16
    request_s: float = 0.03
    """From asking to the first byte."""
    connection_bytes_per_s: float = 90e6
    card_bytes_per_s: float = 3.0e9
    """Of each node: 25 Gbit/s."""
    requests_per_s: float = 5_500.0
    """Of the bucket, by all nodes together."""


@dataclass(frozen=True, kw_only=True)
class RowCost:
    """One row, measured."""

    bytes: float
    requests: float
    core_s: float
    decoded_bytes: float


def measure_row(with_pictures: bool, repeats: int) -> RowCost:
    """Write a shard of two rows, then fetch and decode one of them as a stream does."""
    settings = profile("standard")
    scene = sample_scene(settings, make_room(settings, "room", 0), 0)
    pictures = [encode_jpeg(picture) for picture in camera_pictures(scene, 0)]
    audio, events = render_audio(scene), scene_events(scene)
    row_samples = (ROW_LABELS + TAIL_LABELS) * SAMPLES_PER_LABEL
    long = np.concatenate([audio, audio], axis=1)[:, :row_samples]
    of_row = (pictures + pictures)[: round(row_samples / SAMPLES_PER_LABEL / 10 * PICTURE_RATE_HZ)]
    row = cut_rows("recording", "room", long, events, of_row)[0]
    prepare = PrepareRow(InputConfig(), {"frames"} if with_pictures else set())
    columns = None if with_pictures else HEARD
    with tempfile.TemporaryDirectory() as root:
        shard = write_shard(root, "train", [row, row])
        read, content = _counted(root, shard, columns)
        torch.set_num_threads(1)
        seconds = []
        for _ in range(repeats + 1):
            started = time.perf_counter()
            prepared = prepare(content)
            seconds.append(time.perf_counter() - started)
    decoded = sum(value.nbytes for value in prepared.values() if isinstance(value, np.ndarray))
    return RowCost(
        bytes=sum(read), requests=len(read), core_s=float(np.median(seconds[1:])), decoded_bytes=float(decoded)
    )


def _counted(root: str, shard: Shard, columns: list[str] | None) -> tuple[list[int], RawRow]:
    """Bytes of each read that one row takes, and the row."""
    read: list[int] = []

    class Counting:
        """A file that counts; each read of it is a request on S3."""

        def __init__(self, file: Any) -> None:
            self._file = file

        def read(self, count: int = -1) -> bytes:
            content = self._file.read(count)
            read.append(len(content))
            return content

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

        def __enter__(self) -> Counting:
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

    opened = storage.open_file
    storage.open_file = lambda uri, size_bytes=None: Counting(opened(uri, size_bytes))  # type: ignore[assignment, return-value]
    try:
        (row,) = read_shard(Store(root, None), shard, columns, rows=[0])  # type: ignore[arg-type]
    finally:
        storage.open_file = opened
    return read, row


def measure_plan(hours: float) -> dict[str, float]:
    """Seconds and bytes to plan an epoch over so many hours."""
    extents = [Extent(0, ROW_LABELS, ROW_LABELS + TAIL_LABELS)] * round(hours * _ROWS_PER_HOUR)

    def nothing(_wanted: Sequence[int]) -> Any:
        raise AssertionError("a plan fetches nothing")

    tracemalloc.start()
    started = time.perf_counter()
    names = ["recording"] * len(extents)
    stream = WindowStream(extents, names, nothing, Sampling(batch_size=32, swap=True), held_rows=64)
    next(iter(stream.parts(0)))
    seconds = time.perf_counter() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"hours": hours, "windows": stream.num_windows, "seconds": seconds, "peak_bytes": peak}


def simulate(rows: int, nodes: int, cost: RowCost, assumed: Assumed) -> float:
    """Seconds until all rows are decoded: every core decodes a row while it fetches its next."""
    simulated = min(rows, max(_SIMULATED_ROWS, 20 * nodes * assumed.cores_per_node))
    card_free = [0.0] * nodes
    requests_free = 0.0
    # (when a core can ask for its next row, when it can decode it, node)
    cores = [(0.0, 0.0, node) for node in range(nodes) for _ in range(assumed.cores_per_node)]
    heapq.heapify(cores)
    end = 0.0
    for _ in range(simulated):
        asked, free, node = heapq.heappop(cores)
        requests_free = max(requests_free, asked) + cost.requests / assumed.requests_per_s
        # The parts of a row are asked for one after the other: footer, then what it names.
        begun = requests_free + cost.requests * assumed.request_s
        card_free[node] = max(card_free[node], begun) + cost.bytes / assumed.card_bytes_per_s
        fetched = max(card_free[node], begun + cost.bytes / assumed.connection_bytes_per_s)
        decoding = max(fetched, free)
        done = decoding + cost.core_s
        end = max(end, done)
        heapq.heappush(cores, (decoding, done, node))
    return end * rows / simulated


def limit(nodes: int, cost: RowCost, assumed: Assumed) -> str:
    """What rows wait for."""
    cores = nodes * assumed.cores_per_node
    fetch_s = cost.requests * assumed.request_s + cost.bytes / assumed.connection_bytes_per_s
    rates = {
        "decoding": cores / cost.core_s,
        "connections": cores / fetch_s,
        "network cards": nodes * assumed.card_bytes_per_s / cost.bytes,
        "requests": assumed.requests_per_s / cost.requests,
    }
    return min(rates, key=rates.__getitem__)


def measure(repeats: int, assumed: Assumed) -> dict[str, Any]:
    """The whole table."""
    costs = {"sound": measure_row(False, repeats), "sound and pictures": measure_row(True, repeats)}
    epochs = []
    for what, cost in costs.items():
        for hours in HOURS:
            rows = round(hours * _ROWS_PER_HOUR)
            for nodes in NODES:
                epochs.append(
                    {
                        "what": what,
                        "hours": hours,
                        "nodes": nodes,
                        "gigabytes": rows * cost.bytes / 1e9,
                        "requests": rows * cost.requests,
                        "core_hours": rows * cost.core_s / 3600,
                        "seconds": simulate(rows, nodes, cost, assumed),
                        "limit": limit(nodes, cost, assumed),
                        "decoded_gigabytes": rows * cost.decoded_bytes / 1e9,
                    }
                )
    return {
        "benchmark": "scale",
        "unit": "epoch",
        "row": {what: asdict(cost) for what, cost in costs.items()},
        "plan": [measure_plan(hours) for hours in HOURS[:2]],
        "epochs": epochs,
        "assumed": asdict(assumed),
        **stamp(),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, repeats=3)
    chosen = options.parse_args(arguments)
    outcome = measure(chosen.repeats, Assumed())
    for what, row in outcome["row"].items():
        print(
            f"a row of {what}: {row['bytes'] / 1e6:.1f} MB in {row['requests']:g} requests, {row['core_s']:.2f} s of a "
            f"core, {row['decoded_bytes'] / 1e6:.0f} MB decoded"
        )
    for plan in outcome["plan"]:
        print(
            f"plan of {plan['hours']:g} h, {plan['windows']:,} windows: {plan['seconds']:.2f} s, "
            f"{plan['peak_bytes'] / 1e6:.0f} MB"
        )
    headings = f"{'hours':>8}{'nodes':>6}{'GB':>12}{'requests':>12}{'core h':>10}{'epoch':>12}"
    print(f"{'':<20}{headings}  limit{'decoded GB':>22}")
    for epoch in outcome["epochs"]:
        print(
            f"{epoch['what']:<20}{epoch['hours']:>8g}{epoch['nodes']:>6}{epoch['gigabytes']:>12,.1f}"
            f"{epoch['requests']:>12,.0f}{epoch['core_hours']:>10,.2f}{epoch['seconds']:>10,.0f} s  "
            f"{epoch['limit']:<14}{epoch['decoded_gigabytes']:>13,.0f}"
        )
    finish(outcome, chosen.save)


if __name__ == "__main__":
    main()
