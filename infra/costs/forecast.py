"""What a sweep will take: seconds, hours and bytes, from what its configs cost and how soon its stopper stops them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.feeding.cutter import Extent
from data.feeding.windows import in_shares, training_windows, windows_of_epoch
from data.names import origin_of
from data.stores.chunks import Store, read_index
from infra.costs.calibration import Calibration
from trainables.config import InputConfig, TrialConfig
from trainables.networks.estimate import Estimate, estimate
from trainables.training.checkpoint import KEEP_CHECKPOINTS

TRIAL_OVERHEAD_S = 1.0
"""What a trial of one worker takes before and after its epochs."""
GROUP_START_S = 20.0
"""What a worker group of Ray Train takes before its first trial; it stays for the next ones."""


@dataclass(frozen=True, kw_only=True)
class DataSize:
    """How many windows there are for configs of the same inputs."""

    train_windows: int
    """Places where a training window may start."""
    eval_windows: int
    """Windows of the validation split, one after the other."""
    added_windows: int = 0
    """Of those to train on, the ones in recordings that were added to the store (`data.stores.mix`)."""

    def steps(self, config: TrialConfig) -> int:
        """Optimiser steps of an epoch (`data.feeding.windows.Windows`)."""
        share, pools = config.training.added_share, [(self.train_windows, 1.0)]
        if share is not None:
            pools = in_shares(self.train_windows - self.added_windows, self.added_windows, share)
        return max(1, windows_of_epoch(config.training.epoch_windows, pools) // config.training.batch_size)


def data_size(store: Store, inputs: InputConfig) -> DataSize:
    """Counted in the store's index alone."""
    train, val = (read_index(store, split).to_pylist() for split in ("train", "val"))
    extents = [Extent(row["start_frame"], row["num_frames"], row["num_labels"]) for row in train]
    added = np.array([bool(origin_of(row["recording"])) for row in train], dtype=bool)
    windows = training_windows(extents, inputs.window_labels, inputs.train_hop_labels)
    return DataSize(
        train_windows=len(windows),
        eval_windows=sum(math.ceil(row["num_frames"] / inputs.window_labels) for row in val),
        added_windows=int(added[windows[:, 0]].sum()),
    )


@dataclass(frozen=True, kw_only=True)
class TrialForecast:
    """One config as a trial of the sweep, trained to its last epoch."""

    config: TrialConfig
    cost: Estimate
    steps: int
    """Of an epoch."""
    epoch_s: float

    @property
    def seconds(self) -> float:
        return self.config.training.epochs * self.epoch_s

    @property
    def stored_bytes(self) -> int:
        """What it leaves on storage: its last checkpoints and its best model."""
        return KEEP_CHECKPOINTS * self.cost.checkpoint_bytes + self.cost.model_bytes


def forecast_trial(config: TrialConfig, size: DataSize, calibration: Calibration, workers: int) -> TrialForecast:
    """Workers share the steps' operations and the validation's recordings evenly; what they tell each other is free."""
    cost, steps = estimate(config, workers), size.steps(config)
    train_s = steps * calibration.step_s(cost.step_flops / workers)
    eval_s = size.eval_windows / workers * calibration.window_s(cost.window_flops)
    return TrialForecast(config=config, cost=cost, steps=steps, epoch_s=train_s + eval_s)


@dataclass(frozen=True, kw_only=True)
class SweepForecast:
    """The trials that are still owed, each like the mean of the configs that were sampled."""

    trials: int
    concurrency: int
    epochs: float
    """Mean of a trial under early stopping."""
    trial_s: float
    """Mean of a trial under early stopping."""
    whole_trial_s: float
    """Mean of a trial that no one stops."""
    gpus: float
    """Of one trial."""
    cpus: int
    """Of one trial."""
    stored_bytes: int

    @property
    def wall_s(self) -> float:
        return self._wall_s(self.trial_s)

    @property
    def whole_wall_s(self) -> float:
        """Without early stopping."""
        return self._wall_s(self.whole_trial_s)

    @property
    def gpu_hours(self) -> float:
        return self.trials * self.trial_s * self.gpus / 3600

    @property
    def cpu_hours(self) -> float:
        return self.trials * self.trial_s * self.cpus / 3600

    def _wall_s(self, trial_s: float) -> float:
        return self.trials * trial_s / max(1, min(self.concurrency, self.trials))


def forecast_sweep(
    samples: Sequence[TrialForecast],
    *,
    trials: int,
    concurrency: int,
    epochs: float,
    workers: int,
    cpus: int,
    gpus: float,
) -> SweepForecast:
    """Of so many trials, whose mean is stopped after so many epochs.

    Args:
        cpus, gpus: of one worker.
    """
    groups = min(concurrency, trials) if workers > 1 else 0
    overhead_s = TRIAL_OVERHEAD_S + GROUP_START_S * groups / max(1, trials)
    whole = statistics.mean(trial.seconds for trial in samples)
    longest = max(trial.config.training.epochs for trial in samples)
    return SweepForecast(
        trials=trials,
        concurrency=concurrency,
        epochs=epochs,
        trial_s=overhead_s + whole * epochs / longest,
        whole_trial_s=overhead_s + whole,
        gpus=workers * gpus,
        cpus=workers * cpus,
        stored_bytes=round(trials * statistics.mean(trial.stored_bytes for trial in samples)),
    )
