"""Four trials at once on data that is decoded once for all; and the memory that a stream takes.

Timed is the way from a store to everybody's first batch out of all its windows. `ours` are `--trials` that share what
is decoded once, `one trial` is alone with it, `each decodes` are as many trials that decode for themselves. Decoded
rows are counted. Before that, a stream passes a split through memory that holds a quarter of it, and the most that lay
in the object store meanwhile is read off Ray.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import torch

from data.feeding.contract import PreparedRow
from data.feeding.stream import materialise, read_split, rows_of
from data.feeding.streamed_split import FEWEST_ROWS, StreamedSplit, decoded_bytes, largest_row_bytes
from data.feeding.windows import Sampling, WindowSampler
from data.stores.chunks import Store, read_index
from data.stores.rows import RawRow
from infra.bench.data.feeding import quiet_ray
from infra.bench.data.noisy_store import noisy_store
from infra.bench.measure import OURS, alternate, parser, result, show
from trainables.config import InputConfig
from trainables.inputs.prepare import PrepareRow

ONE, APART = "one trial", "each decodes"
BATCH = 32


class CountedPrepare:
    """A preparation that leaves a file in a folder for each row it decodes, on whatever process."""

    def __init__(self, prepare: PrepareRow, folder: str) -> None:
        self._prepare, self._folder = prepare, folder
        self.columns = prepare.columns

    def looking_at(self, columns: Collection[str]) -> CountedPrepare:
        return CountedPrepare(self._prepare.looking_at(columns), self._folder)

    def bytes_per_label(self, has_video: bool) -> float:
        return self._prepare.bytes_per_label(has_video)

    def __call__(self, row: RawRow) -> PreparedRow:
        (Path(self._folder) / uuid.uuid4().hex).touch()
        return self._prepare(row)

    def take_count(self) -> int:
        """Rows decoded since the last time."""
        files = list(Path(self._folder).iterdir())
        for file in files:
            file.unlink()
        return len(files)


class Trial:
    """An actor that lives as long as the benchmark, as those of a sweep are reused from trial to trial."""

    def first_batch(self, dataset: Any, rate_hz: float) -> int:
        """Take the first batch from a dataset and do nothing with it; the number of windows in it."""
        batch = next(WindowSampler(rows_of(dataset), Sampling(BATCH, swap=True, picture_rate_hz=rate_hz)).epoch(0))
        return len(batch["valid"])


def measure_sharing(store: Store, prepare: CountedPrepare, trials: int, repeats: int) -> dict[str, Any]:
    """Times of the three sides, and rows decoded in each of their runs."""
    actor = ray.remote(num_cpus=1 / (2 * trials))(Trial)
    actors = [actor.remote() for _ in range(trials)]
    rate_hz = InputConfig().frame_rate_hz
    decoded: dict[str, list[int]] = {}

    def run(name: str, count: int, shared: bool) -> Callable[[], None]:
        def go() -> None:
            dataset = read_split(store, "train", prepare)
            given = materialise(dataset) if shared else dataset
            ray.get([one.first_batch.remote(given, rate_hz) for one in actors[:count]])
            decoded.setdefault(name, []).append(prepare.take_count())

        return go

    sides = {OURS: run(OURS, trials, True), ONE: run(ONE, 1, True), APART: run(APART, trials, False)}
    times = alternate(sides, repeats, settle=0)
    rows = len(read_index(store, "train"))
    assert set(decoded[OURS]) == set(decoded[ONE]) == {rows}, decoded
    assert set(decoded[APART]) == {trials * rows}, decoded
    return {"times": times, "rows_decoded": {name: counts[-1] for name, counts in decoded.items()}}


@contextmanager
def watched_store() -> Iterator[list[float]]:
    """Bytes in the object stores, read again and again while the block runs."""
    seen: list[float] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            free = ray.available_resources().get("object_store_memory", 0.0)
            seen.append(ray.cluster_resources()["object_store_memory"] - free)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def measure_memory(store: Store, prepare: PrepareRow, columns: Collection[str], epochs: int = 2) -> dict[str, Any]:
    """The most that a stream had in the object store, in as many bytes as hold a quarter of the split or less."""
    index = read_index(store, "train").to_pylist()
    decoded, row_bytes = decoded_bytes(index, prepare), largest_row_bytes(index, prepare)
    bound = decoded // 4
    assert bound >= FEWEST_ROWS * row_bytes, "the split has too few rows for a stream through a quarter of it"
    split = StreamedSplit(store=store, split="train", prepare=prepare, memory_bytes=bound)
    windows = split.windows(
        columns, Sampling(batch_size=BATCH, swap=True, picture_rate_hz=InputConfig().frame_rate_hz), epochs=epochs
    )
    started, count = time.perf_counter(), 0
    with watched_store() as seen:
        for epoch in range(1, epochs + 1):
            for batch in windows.epoch(epoch):
                count += len(batch["valid"])
    windows.close()
    assert count == epochs * windows.num_windows
    return {
        "decoded_bytes": decoded,
        "bound_bytes": bound,
        "peak_bytes": max(seen),
        "windows_per_s": count / (time.perf_counter() - started),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, repeats=2)
    options.add_argument("--trials", type=int, default=4, help="at once (default %(default)s)")
    options.add_argument("--clips", type=int, default=20, help="recordings (default %(default)s)")
    options.add_argument("--clip-s", type=float, default=10.0, help="seconds of each (default %(default)s)")
    options.add_argument("--blind", action="store_true", help="without pictures")
    options.add_argument("--cores", type=int, default=2, help="for every side (default %(default)s)")
    options.add_argument("--root", help="keep the store here, to be used again")
    chosen = options.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: chosen.cores])
    kind, columns = ("audio", []) if chosen.blind else ("frames", ["frames"])
    with tempfile.TemporaryDirectory() as scratch:
        store = noisy_store(f"{chosen.root or scratch}/{kind}", chosen.clips, chosen.clip_s, not chosen.blind)
        counted = Path(scratch) / "decoded"
        counted.mkdir()
        prepare = PrepareRow(InputConfig(), columns)
        decoded = decoded_bytes(read_index(store, "train").to_pylist(), prepare)
        # Room for what each decodes for itself, and a CPU for these trials, so that all three sides have two to decode.
        room = (chosen.trials + 1) * decoded + 300_000_000
        with quiet_ray(chosen.cores + 1, room):
            memory = measure_memory(store, prepare, columns)
            shared = measure_sharing(store, CountedPrepare(prepare, str(counted)), chosen.trials, chosen.repeats)
    sizes = {"trials": chosen.trials, "clips": chosen.clips, "clip_s": chosen.clip_s, "pictures": not chosen.blind}
    outcome = result(
        "sharing",
        "run",
        shared["times"],
        sizes | {"cores": chosen.cores},
        rows_decoded=shared["rows_decoded"],
        **memory,
    )
    medians = {name: spread["median"] for name, spread in outcome["sides_ms"].items()}
    outcome["together_over_one"] = medians[OURS] / medians[ONE]
    print(f"{chosen.trials} trials together take {outcome['together_over_one']:.2f} x one; rows decoded: ", end="")
    print(", ".join(f"{name} {rows}" for name, rows in shared["rows_decoded"].items()))
    print(
        f"streamed: {memory['decoded_bytes'] / 1e6:.0f} MB through {memory['bound_bytes'] / 1e6:.0f} MB, at most "
        f"{memory['peak_bytes'] / 1e6:.0f} MB in the object store, {memory['windows_per_s']:.0f} windows/s"
    )
    show(outcome, chosen.save)


if __name__ == "__main__":
    main()
