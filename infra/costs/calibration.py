"""How fast a machine trains: what a step and an evaluated window take, as overhead plus operations over a rate.

Measured by the training loop itself, on a worker of the cluster with the resources of a trial, over a few rows of the
data: a trial of a few steps, whose reports say what any trial's say. So a sweep's own reports serve as measurements
just as well, and better, since its trials run beside each other. What was measured is kept once for each kind of
machine:

    <root>/calibration/<machine>-<precision>.json
"""

from __future__ import annotations

import json
import logging
import platform
import re
import statistics
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from data import storage
from data.feeding.contract import PreparedRow
from data.feeding.feed import HeldRows
from data.feeding.windows import Sampling
from data.remembered import ANEW, read_back
from data.stores.chunks import Store, read_shard
from infra.record.trials import TrialRecord
from trainables.config import TrialConfig
from trainables.config.tree import from_dict, to_dict
from trainables.inputs.prepare import PrepareRow
from trainables.networks.estimate import estimate
from trainables.training.alone import Alone
from trainables.training.resources import TrialResources

logger = logging.getLogger(f"seldtune.{__name__}")

ASSUMED_GFLOPS = {"cpu": 15.0, "gpu": 15_000.0}
"""Of one CPU and of one GPU, in fp32, where nothing was measured: a slow one's, at the sizes that are trained here."""
ASSUMED_STEP_S = 0.05
WAIT_S = 120.0
"""A cluster that has no room for a calibration by then is busy with something else."""

_MODELS = 3
_MODEL_S = 4.0
_STEPS = 4
_ROWS = 2


@dataclass(frozen=True, kw_only=True)
class Point:
    """What an epoch of some trial took, by the step and by the evaluated window."""

    step_flops: float
    """Of one worker."""
    step_s: float
    window_flops: float
    window_s: float


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Seconds of a step are `step_overhead_s + step_flops / flops_per_s`, those of a window at evaluation likewise."""

    source: str
    """`measured on <machine>`, `assumed`, or the reports of a sweep."""
    step_overhead_s: float
    flops_per_s: float
    window_overhead_s: float
    window_flops_per_s: float

    @property
    def assumed(self) -> bool:
        return self.source.startswith("assumed")

    def step_s(self, flops: float) -> float:
        """Of an optimiser step with so many operations in each worker."""
        return self.step_overhead_s + flops / self.flops_per_s

    def window_s(self, flops: float) -> float:
        """Of a window at evaluation."""
        return self.window_overhead_s + flops / self.window_flops_per_s


def assume(resources: TrialResources) -> Calibration:
    """What to go by where nothing can be measured."""
    unit, count = (
        ("gpu", resources.gpus_per_worker) if resources.gpus_per_worker else ("cpu", resources.cpus_per_worker)
    )
    rate = 1e9 * ASSUMED_GFLOPS[unit] * count
    return Calibration(
        source=f"assumed: {ASSUMED_GFLOPS[unit]:,.0f} GFLOP/s for each {unit.upper()}",
        step_overhead_s=ASSUMED_STEP_S,
        flops_per_s=rate,
        window_overhead_s=ASSUMED_STEP_S / 10,
        window_flops_per_s=rate,
    )


def fit(points: Sequence[Point], source: str) -> Calibration:
    """Overheads and rates, none below zero, with the least relative errors over these points."""
    step = _line([p.step_flops for p in points], [p.step_s for p in points])
    window = _line([p.window_flops for p in points], [p.window_s for p in points])
    return Calibration(
        source=source,
        step_overhead_s=step[0],
        flops_per_s=step[1],
        window_overhead_s=window[0],
        window_flops_per_s=window[1],
    )


def _line(flops: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """Overhead in seconds, and operations in a second."""
    from scipy.optimize import nnls  # half a second, of which a sweep that forecasts nothing is spared

    x, y = np.array(flops), np.array(seconds)
    columns = np.stack([np.ones_like(x), x], axis=1) / y[:, None]
    # In operations of a billion, so that both columns are of one size.
    scale = np.array([1.0, 1e-9])
    overhead, slope = nnls(columns * scale, np.ones_like(y))[0]
    if len(set(flops)) < 2 or slope <= 0:
        # One size, or times that do not grow with it: all of it is put down to operations.
        return 0.0, float(x.sum() / y.sum())
    return float(overhead), float(1e9 / slope)


def from_records(
    records: Iterable[TrialRecord], workers: int, eval_windows: int, steps: Callable[[TrialConfig], int]
) -> list[Point]:
    """One point for each trial of a sweep that has reported.

    Args:
        eval_windows: of the validation split.
        steps: from a config to the steps of its epoch.
    """
    points = []
    for record in records:
        if record.reports:
            config = from_dict(record.config)
            # The first epoch of a process is slower than those after it.
            reports = record.reports[1:] or record.reports
            points.append(_point(config, reports, steps(config), eval_windows, workers))
    return points


def _point(
    config: TrialConfig, reports: Sequence[dict[str, float]], steps: int, eval_windows: int, workers: int = 1
) -> Point:
    cost, windows = estimate(config, workers), steps * config.training.batch_size
    train_s = statistics.median(windows / report["windows_per_s"] for report in reports)
    eval_s = statistics.median(report["epoch_s"] - windows / report["windows_per_s"] for report in reports)
    windows_each = eval_windows / workers
    return Point(
        step_flops=cost.step_flops / workers,
        step_s=train_s / steps,
        window_flops=cost.window_flops,
        window_s=max(eval_s, 1e-6) / windows_each,
    )


def kept_calibration(precision: str, resources: TrialResources, root: str) -> Calibration | None:
    """What was measured on such a machine before, or nothing. Needs a running Ray.

    Raises:
        TimeoutError: the cluster has no free worker to ask what machine it is.
    """
    machine = on_worker(resources, describe_machine, resources)
    uri = _uri(root, machine, precision)
    try:
        with read_back(uri, ANEW):
            points = [Point(**point) for point in json.loads(storage.read_bytes(uri))["points"]]
    except FileNotFoundError:
        return None
    return fit(points, f"measured on {machine}, {precision}")


def calibrate(
    configs: Sequence[TrialConfig], store: Store, prepare: PrepareRow, resources: TrialResources, root: str
) -> Calibration:
    """Measure such a machine, and keep what was found. Takes about half a minute, and needs a running Ray.

    Of the configs, which are of one precision, the one with the fewest operations is trained, the one with the most,
    and the one in the middle, as far as each takes seconds.

    Raises:
        TimeoutError: the cluster has no free worker.
    """
    precision = configs[0].training.precision
    machine = on_worker(resources, describe_machine, resources)
    uri = _uri(root, machine, precision)
    logger.info("measuring how fast %s trains; it is kept in %s", machine, uri)
    points = on_worker(resources, measure, [to_dict(config) for config in spread(configs)], store, prepare, resources)
    kept = {"machine": machine, "precision": precision, "points": [asdict(point) for point in points]}
    storage.write_bytes(uri, json.dumps(kept, indent=1).encode())
    return fit(points, f"measured on {machine}, {precision}")


def _uri(root: str, machine: str, precision: str) -> str:
    return storage.join(root, "calibration", f"{machine}-{precision}.json")


def on_worker(resources: TrialResources, function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function returns where a worker of a trial would run."""
    import ray

    remote = ray.remote(num_cpus=resources.cpus_per_worker, num_gpus=resources.gpus_per_worker, max_retries=0)(function)
    reference = remote.remote(*arguments)
    try:
        return ray.get(reference, timeout=WAIT_S)
    except ray.exceptions.GetTimeoutError as error:
        ray.cancel(reference, force=True)
        raise TimeoutError(f"no worker of the cluster had done its part in {WAIT_S:.0f} s") from error


def spread(configs: Sequence[TrialConfig]) -> list[TrialConfig]:
    """The fewest operations, the middle, the most; fewer where the configs are."""
    ordered = sorted(configs, key=lambda config: estimate(config).step_flops)
    places = dict.fromkeys((0, len(ordered) // 2, len(ordered) - 1))
    return [ordered[place] for place in list(places)[:_MODELS]]


def describe_machine(resources: TrialResources) -> str:
    """A name for the kind of machine that this process is on, and what of it a worker uses."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text())
        model = found.group(1) if found else model
    parts = [f"{resources.cpus_per_worker}x", model]
    if resources.gpus_per_worker:
        import torch

        parts = [f"{resources.gpus_per_worker:g}x", torch.cuda.get_device_name(), *parts]
    return re.sub(r"[^a-z0-9.]+", "-", " ".join(parts).lower()).strip("-")


def measure(
    configs: Sequence[dict[str, Any]], store: Store, prepare: PrepareRow, resources: TrialResources
) -> list[Point]:
    """Train each config for a few steps in this process, smaller batches of it where it is large.

    At least one is trained, however long it takes.
    """
    import torch

    torch.set_num_threads(resources.cpus_per_worker)
    device = torch.device("cuda" if resources.gpus_per_worker else "cpu")
    shard = store.split("train").shards[0]
    raw = read_shard(store, shard, prepare.columns, rows=range(min(_ROWS, shard.rows)))
    rows = [prepare(row) for row in raw]
    points: list[Point] = []
    rate = assume(resources).flops_per_s
    for tree in configs:
        config = from_dict(tree)
        cost = estimate(config)
        window_flops = cost.step_flops / config.training.batch_size
        batch = min(config.training.batch_size, int(rate * _MODEL_S / _STEPS / window_flops))
        if batch >= 1 or not points:
            points.append(_timed(config, max(1, batch), rows, device, rate, cost.window_flops))
    return points


def _timed(
    config: TrialConfig, batch: int, rows: list[PreparedRow], device: Any, rate: float, window_flops: float
) -> Point:
    from trainables.training.checkpoint import TrialStore
    from trainables.training.loop import train_trial
    from trainables.training.memory import keep_freed_memory

    keep_freed_memory()
    training = replace(
        config.training,
        batch_size=batch,
        epochs=2,
        epoch_windows=batch * _STEPS,
        # These few rows need not hold what was added.
        added_share=None,
        # It may be longer than these epochs, and costs a step nothing.
        taken_frozen_epochs=0,
        compile=False,
        initial_weights=None,
    )
    config = replace(config, training=training)
    # As many evaluated windows as the time allows, and not more than there are.
    windows = max(1, int(rate * _MODEL_S / window_flops))
    length = config.inputs.window_labels
    evaluated: list[PreparedRow] = [{**row, "num_frames": min(row["num_frames"], windows * length)} for row in rows[:1]]
    session = Alone(device, {"train": HeldRows(rows), "val": HeldRows(evaluated)})
    bands = np.zeros((len(rows[0]["features"]), 1, config.inputs.n_mels), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        train_trial(config, session, TrialStore(folder), bands, bands + 1.0, {})
    sampler = session.feed("train").windows(
        config.columns,
        Sampling(
            batch_size=batch,
            epoch_windows=training.epoch_windows,
            window_labels=length,
            hop_labels=config.inputs.train_hop_labels,
        ),
        epochs=1,
    )
    # What the second epoch took; the first has paid for what a process does once.
    eval_windows = -(-evaluated[0]["num_frames"] // length)
    return _point(config, session.reports[-1:], len(sampler), eval_windows)
