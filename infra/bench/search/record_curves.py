"""Learning curves of real trials on a grid over the `quickstart` space, as a table that searches can be simulated on.

    seldtune up && python -m infra.bench.search.record_curves

Each of the 160 trials (fusion x depth x schedule x 10 rates) is trained in full by a sweep without early stopping; the
sweep goes on where it was when it is run again. Models and recipe are `quickstart`'s, rates those of someone who does
not know them yet (`infra.bench.search.wide_rates`); windows, pictures and epochs are smaller (`FIXED`), so that a trial
takes half a minute of one core and still learns.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import itertools
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from data.scenes.synth import SynthSettings, synthesise
from infra.bench.measure import RESULTS, stamp
from infra.bench.search.wide_rates import HIGHEST, LOWEST, with_rates
from infra.record.trials import TrialRecord
from infra.stack.settings import load_settings
from infra.sweep.request import SweepRequest
from infra.sweep.run import run_sweep
from search_spaces.quickstart import QUICKSTART
from trainables.training.reports import FOUND, LOSS, OBJECTIVE

TABLE = RESULTS / "quickstart_curves.json.gz"
GRID: dict[str, tuple[Any, ...]] = {
    "fusion": ("audio_only", "av_conformer", "gru", "cmaf"),
    "depth": (1, 2),
    "schedule": ("one_cycle", "warmup_cosine"),
    "lr": tuple(float(f"{rate:.3g}") for rate in np.geomspace(LOWEST, HIGHEST, 10)),
}
FIXED = {
    "inputs.window_s": 1.0,
    "inputs.frame_width": 48,
    "inputs.frame_height": 24,
    "training.epochs": 16,
    "training.batch_size": 8,
    "training.epoch_windows": 128,
}
SCENES = SynthSettings(
    train_clips=16,
    val_clips=4,
    test_clips=1,
    clip_s=30.0,
    train_rooms=8,
    scene={"classes": (0, 1, 5, 8), "polyphony": 1},
)
KEPT = (OBJECTIVE, LOSS, FOUND, "epoch_s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--concurrency", type=int, default=1, help="trials at a time")
    parser.add_argument("--out", type=Path, default=TABLE)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    settings = load_settings()
    settings.export()
    data = f"{settings.root}/data/curves"
    synthesise(SCENES, data)
    points = [dict(zip(GRID, values, strict=True)) for values in itertools.product(*GRID.values())]
    # In an order of its own, so that an unfinished table is a sample of the whole grid.
    np.random.default_rng(0).shuffle(points)
    space = dataclasses.replace(with_rates(LOWEST, HIGHEST), first=tuple(points), trials=len(points))
    request = SweepRequest(
        space=space,
        data=data,
        budget_s=7 * 86_400,
        concurrency=arguments.concurrency,
        stopper="none",
        fixed=FIXED,
    )
    with run_sweep(request, settings) as outcome:
        logging.info("%d trials at %s", len(outcome.records), outcome.tracker.url)
    if not outcome.finished:
        return
    arguments.out.write_bytes(gzip.compress(json.dumps(table(outcome.records), indent=1).encode(), mtime=0))
    print(f"{len(outcome.records)} trials in {arguments.out}")


def table(records: list[TrialRecord]) -> dict[str, Any]:
    """What a simulation needs: parameters and curves of the trials that trained in full."""
    trials = [
        {"params": record.params, **{key: [round(report[key], 6) for report in record.reports] for key in KEPT}}
        for record in records
        if len(record.reports) == FIXED["training.epochs"]
    ]
    return {"space": QUICKSTART.name, "fixed": FIXED, "data": SCENES.to_dict(), **stamp(), "trials": trials}


if __name__ == "__main__":
    main()
