"""Windows a second into one consumer: shared and streamed rows against a plain torch DataLoader, on the same store.

The consumer is this process, attached to a Ray of its own; it asks for batch after batch and does nothing with them.
`ours` are rows that are decoded once and stay in the object store, `streamed` rows that are decoded anew each epoch,
beside the consumer, with memory for `--held` rows. The peer is `infra.bench.data.plain_loader`. All of it runs on the
same `--cores`: the consumer's and one for Ray Data on our sides, all for the worker processes of the peer. An epoch is
run before each that counts, so that every side is timed as it runs between two others of its own.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import ray
import torch

from data.feeding.contract import PreparedRow, arrays_of
from data.feeding.stream import materialise, read_split, rows_of
from data.feeding.streamed_split import StreamedSplit, decoded_bytes, largest_row_bytes
from data.feeding.windows import Sampling, Windows, WindowSampler, neighbour_distance
from data.stores.chunks import Store, read_index
from infra.bench.data.noisy_store import noisy_store
from infra.bench.data.plain_loader import PlainLoader, WindowDataset
from infra.bench.measure import OURS, alternate, parser, result, show
from infra.bench.search.own_ray import own_ray
from trainables.config import InputConfig
from trainables.inputs.prepare import PrepareRow

STREAMED, PEER = "streamed", "DataLoader"
EPOCHS = 10_000


@contextmanager
def quiet_ray(cpus: int, object_store_bytes: int) -> Iterator[None]:
    """A Ray for this process alone, whose Data says nothing."""
    with own_ray(num_cpus=cpus, object_store_memory=object_store_bytes):
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        yield


def check(dataset: WindowDataset, rows: list[PreparedRow], inputs: InputConfig) -> float:
    """Both sides have to cut the same windows; the largest difference of their features."""
    sampler = WindowSampler(
        rows, Sampling(batch_size=len(dataset), picture_rate_hz=inputs.frame_rate_hz, epoch_windows=len(dataset))
    )
    (windows, _) = next(iter(sampler.parts(0)))
    batch_of = {tuple(window): number for number, window in enumerate(dataset.windows.tolist())}
    largest = 0.0
    for start in range(0, len(windows), max(1, len(windows) // 8)):
        ours = arrays_of(sampler.cut(windows[start : start + 1]))
        theirs = dataset[batch_of[tuple(windows[start].tolist())]]
        assert ours.keys() == theirs.keys(), (ours.keys(), theirs.keys())
        for name, value in theirs.items():
            difference = np.abs(ours[name][0].astype(np.float64) - value.numpy().astype(np.float64)).max()
            assert difference < (2e-3 if name == "features" else 1e-6), (name, difference)
            largest = max(largest, float(difference))
    return largest


def measure(
    store: Store, inputs: InputConfig, with_pictures: bool, sizes: dict[str, int], repeats: int
) -> dict[str, Any]:
    """The outcome for one store. `sizes`: batch, held rows, worker processes and windows of an epoch of the peer."""
    columns = ["frames"] if with_pictures else []
    prepare = PrepareRow(inputs, columns)
    index = read_index(store, "train").to_pylist()
    row_bytes, decoded = largest_row_bytes(index, prepare), decoded_bytes(index, prepare)
    sampling = Sampling(batch_size=sizes["batch"], swap=True, picture_rate_hz=inputs.frame_rate_hz)
    bound = sizes["held"] * 2 * row_bytes
    with quiet_ray(2, decoded + bound + 300_000_000):
        rows = rows_of(materialise(read_split(store, "train", prepare)))
        difference = check(WindowDataset(store, "train", inputs, with_pictures, swap=False), rows, inputs)
        shared = WindowSampler(rows, sampling)
        streamed = StreamedSplit(
            store=store, split="train", prepare=prepare, memory_bytes=bound, cpus=sizes["cores"] - 1
        ).windows(columns, sampling, epochs=EPOCHS)
        loader = PlainLoader(
            WindowDataset(store, "train", inputs, with_pictures, swap=True),
            sizes["batch"],
            sizes["workers"],
            sizes["peer"],
        )
        sides = {OURS: _epochs(shared), STREAMED: _epochs(streamed), PEER: lambda: _consume(loader.epoch())}
        per_run = alternate(sides, repeats)
        mixing = {name: _distance(windows) for name, windows in ((OURS, shared), (STREAMED, streamed))}
        streamed.close()
    counts = {OURS: shared.num_windows, STREAMED: streamed.num_windows, PEER: loader.num_windows}
    times = {name: [taken / counts[name] for taken in runs] for name, runs in per_run.items()}
    medians = {name: float(np.median(runs)) for name, runs in times.items()}
    return result(
        "feeding_frames" if with_pictures else "feeding_audio",
        "window",
        times,
        {**sizes, "rows": len(index), "row_bytes": row_bytes, "decoded_bytes": decoded, "stream_bytes": bound},
        windows_per_s={name: 1000 / taken for name, taken in medians.items()},
        streamed_over_peer=medians[PEER] / medians[STREAMED],
        neighbour_distance=mixing | {"ideal": len(index)},
        largest_difference=difference,
        consumer="a process attached to Ray",
    )


def _epochs(windows: Windows) -> Callable[[], None]:
    numbers = iter(range(EPOCHS))
    return lambda: _consume(windows.epoch(next(numbers)))


def _consume(batches: Any) -> None:
    for _ in batches:
        pass


def _distance(windows: Windows) -> float:
    """From a window to the next of the same row, in windows: the mean over some epochs."""
    return float(
        np.mean(
            [neighbour_distance([row for part, _ in windows.parts(e) for row in part[:, 0].tolist()]) for e in range(4)]
        )
    )


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, repeats=3)
    options.add_argument("--clips", type=int, default=24, help="recordings (default %(default)s)")
    options.add_argument("--clip-s", type=float, default=20.0, help="seconds of each (default %(default)s)")
    options.add_argument("--batch", type=int, default=32, help="windows in a batch (default %(default)s)")
    options.add_argument("--held", type=int, default=8, help="rows that a stream has in use (default %(default)s)")
    options.add_argument("--workers", type=int, default=2, help="of the DataLoader (default %(default)s)")
    options.add_argument("--cores", type=int, default=2, help="for every side (default %(default)s)")
    options.add_argument("--peer-windows", type=int, default=256, help="of a DataLoader's epoch with frames")
    options.add_argument("--only", choices=["audio", "frames"], help="one of the two")
    options.add_argument("--root", help="keep the store here, to be used again")
    chosen = options.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: chosen.cores])
    for kind in [chosen.only] if chosen.only else ["audio", "frames"]:
        with tempfile.TemporaryDirectory() as scratch:
            store = noisy_store(f"{chosen.root or scratch}/{kind}", chosen.clips, chosen.clip_s, kind == "frames")
            sizes = {"batch": chosen.batch, "held": chosen.held, "workers": chosen.workers, "cores": chosen.cores}
            sizes["peer"] = chosen.peer_windows if kind == "frames" else 0
            outcome = measure(store, InputConfig(), kind == "frames", sizes, chosen.repeats)
        for name, rate in outcome["windows_per_s"].items():
            print(f"{kind}, {name}: {rate:.0f} windows/s")
        print(f"{kind}: streamed is {outcome['streamed_over_peer']:.2f} x the DataLoader")
        show(outcome, chosen.save)


if __name__ == "__main__":
    main()
