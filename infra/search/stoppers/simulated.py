"""How many epochs a rule lets trials train, by asking it about trials that are made up."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping

import numpy as np

from infra.record.trials import TrialRecord
from trainables.training.decision import Decision
from trainables.training.reports import OBJECTIVE

Judge = Callable[[TrialRecord, Mapping[str, float]], Decision]

# More than that many trials change the mean by less than the draws differ; the cost grows with the square.
_MOST_TRIALS = 128
_MOST_REPORTS = 200
"""Trials of more epochs are taken to report after several at a time, so that however many take no longer to simulate;
those that are stopped are then stopped a little later."""
_DRAWS = 8
_FALL = 3.0
"""The objective's distance to where it ends falls by e^3 over a trial. ASHA trains 0.44 of all epochs of these trials,
as of the quickstart's recorded ones (`infra/bench/results/quickstart_curves.json.gz`); the median rule 0.67 and 0.80.
"""


def simulated_epochs(new: Callable[[], Judge], max_epochs: int, trials: int, concurrency: int) -> float:
    """Epochs of the mean trial, by asking a rule about trials of random quality.

    Each trial's objective falls from 1 to its quality. A trial's rank is thus the same at all epochs, which is when
    halving saves least wrongly.

    Args:
        new: gives a rule that remembers nothing, as its `judge`.
    """
    totals, trials = [], min(trials, _MOST_TRIALS)
    stride = math.ceil(max_epochs / _MOST_REPORTS)
    for draw in range(_DRAWS):
        rng, judge = np.random.default_rng(draw), new()
        config = {"training": {"epochs": max_epochs}}
        records = [TrialRecord(number=number, params={}, distributions={}, config=config) for number in range(trials)]
        waiting = [(record, rng.random()) for record in records]
        running: list[tuple[TrialRecord, float, int]] = []
        spent = 0
        while waiting or running:
            while waiting and len(running) < concurrency:
                running.append((*waiting.pop(0), 0))
            after = []
            for record, quality, before in running:
                done = min(before + stride, max_epochs)
                spent += done - before
                objective = quality + (1 - quality) * math.exp(-_FALL * done / max_epochs)
                decision = judge(record, {"epoch": done, OBJECTIVE: objective})
                if decision.go_on and done < max_epochs:
                    after.append((record, quality, done))
            running = after
        totals.append(spent / trials)
    return statistics.mean(totals)
