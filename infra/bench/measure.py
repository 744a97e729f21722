"""Timing ways to the same result in turns, so that what a shared machine does to one it does to the others as well.

What counts is the ratio; milliseconds are for the machine and hour they were taken on. A benchmark prints a table for
people, then one line of JSON, and keeps that line in `results/` on request.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from trainables.evaluation.latency import cpu_name

RESULTS = Path(__file__).parent / "results"
OURS = "ours"


def parser(description: str | None, repeats: int) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--threads", type=int, default=1, help="threads of each side (default %(default)s)")
    options.add_argument("--repeats", type=int, default=repeats, help="timed runs of each side (default %(default)s)")
    options.add_argument("--save", action="store_true", help="keep the result in infra/bench/results/")
    return options


def alternate(
    sides: Mapping[str, Callable[[], object]], repeats: int, per: float = 1, warmup: int = 1, settle: int = 1
) -> dict[str, list[float]]:
    """Milliseconds of each run of each side, in the order A B A B...

    Args:
        per: what one run is divided by, e.g. the chunks in a batch.
        warmup: rounds at the start that are not counted.
        settle: runs before each counted one that are not, so that no side pays for what the one before it left in the
            caches and took from the memory allocator.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(warmup + repeats):
        for name, run in sides.items():
            for _ in range(settle):
                run()
            started = time.perf_counter()
            run()
            if turn >= warmup:
                times[name].append(1000 * (time.perf_counter() - started) / per)
    return times


def result(
    benchmark: str,
    unit: str,
    times: Mapping[str, list[float]],
    parameters: Mapping[str, Any],
    device: str | None = None,
    **more: Any,
) -> dict[str, Any]:
    """What one line of JSON says: each side's median and quartiles, and how many times faster `ours` is than each peer.

    Args:
        unit: what the milliseconds are for, e.g. `chunk`.
        times: milliseconds of each side's runs, taken in turns; one side is named `ours`.
        device: nothing: this machine's CPU.
        more: facts that only this benchmark has.
    """
    ours = times[OURS]
    ratios = {
        # Neighbouring runs saw the same machine: their ratios are the spread, the ratio of medians is the figure.
        name: _spread([theirs / mine for theirs, mine in zip(runs, ours, strict=True)])
        | {"median": statistics.median(runs) / statistics.median(ours)}
        for name, runs in times.items()
        if name != OURS
    }
    return {
        "benchmark": benchmark,
        "unit": unit,
        "sides_ms": {name: _spread(runs) for name, runs in times.items()},
        "ratio": ratios,
        "parameters": dict(parameters),
        **more,
        "repeats": len(ours),
        **stamp(device),
    }


def stamp(device: str | None = None) -> dict[str, Any]:
    """Where and when a figure was taken, and with what."""
    return {
        "device": device or cpu_name(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "commit": _commit(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def _spread(values: list[float]) -> dict[str, float]:
    low, median, high = statistics.quantiles(values, n=4) if len(values) > 1 else (values[0],) * 3
    return {"median": median, "low": low, "high": high}


def show(outcome: Mapping[str, Any], save: bool = False) -> None:
    """Print the table and, last, the line of JSON; with `save` keep the line."""
    show_table(outcome)
    finish(outcome, save)


def show_table(outcome: Mapping[str, Any]) -> None:
    """Print the table of a result."""
    threads = _threads(outcome["threads"])
    print(f"{outcome['benchmark']}: {outcome['device']}, {threads}, torch {outcome['torch']}")
    print(f"{'side':<24}{'ms per ' + outcome['unit']:>16}{'quartiles':>22}{'ours is faster by':>20}{'quartiles':>16}")
    for name, taken in outcome["sides_ms"].items():
        line = f"{name:<24}{taken['median']:>16.3f}{taken['low']:>12.3f} {taken['high']:>9.3f}"
        ratio = outcome["ratio"].get(name)
        if ratio is not None:
            line += f"{ratio['median']:>18.2f} x{ratio['low']:>9.2f} {ratio['high']:>6.2f}"
        print(line)


def finish(outcome: Mapping[str, Any], save: bool = False) -> None:
    """Print the line of JSON, the last one of a benchmark; with `save` keep it."""
    line = _rounded_json(outcome)
    print(line)
    if save:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{outcome['benchmark']}-{_slug(outcome['device'], outcome['threads'])}.json"
        path.write_text(line + "\n", encoding="utf-8")


def _threads(count: int) -> str:
    return f"{count} thread" + ("s" if count > 1 else "")


def _slug(device: str, threads: int) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    return f"{words}-{_threads(threads).replace(' ', '-')}"


def _rounded_json(outcome: Mapping[str, Any]) -> str:
    def rounded(value: Any) -> Any:
        if isinstance(value, float):
            return float(f"{value:.4g}")
        if isinstance(value, Mapping):
            return {key: rounded(entry) for key, entry in value.items()}
        return value

    return json.dumps(rounded(outcome))


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    return found.stdout.strip() or "unknown"
