"""What trials will come to by their last epoch, from the epochs that they have trained.

A learning curve is the logarithm of a trial's objective and of its validation loss at sixteen points of its training,
and of the best objective in the end. Over trials these are taken to be jointly normal, with a mean and a covariance
that are known as well as a normal-inverse-Wishart distribution says: what recorded curves have (`recorded_curves.json`)
counts as one trial for the mean and as twenty for the covariance, and each trial in full of the sweep itself as one
more (Gelman et al., Bayesian Data Analysis, section 3.6). So the end of a curve given its beginning has a t
distribution, in closed form, the wider the less the beginning is like the others. Before anything is found the
objective is flat and the loss speaks.

How large losses are hangs on data and output, so they are taken relative to the median of the first epochs of all
trials of the same output, here as in the recorded curves.

Cost: of a forecast, the cube of the points reached; after another trial in full, the trials in full.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.record.trials import COMPLETE, TrialRecord
from trainables.training.reports import LOSS, OBJECTIVE

Array = NDArray[np.float64]

POINTS = 16
RECORDED = Path(__file__).with_name("recorded_curves.json")
LEAST_LOSS, LEAST_OBJECTIVE, OF_SILENCE = 1e-6, 1e-3, 1.0
"""What is worse than silence says as little as silence."""
WORTH_OF_MEAN, WORTH_OF_COVARIANCE = 1.0, 20.0
"""Trials that the recorded curves count for."""
_READ_OFF = 1e-3
"""Variance of a point that is read off between two."""
_KNOWN = 1e-6
_MOST_EPOCHS = 32
"""Of a longer curve so many are looked at."""


@dataclass(frozen=True, kw_only=True)
class CurvePrior:
    """Curves as points: objectives, losses, and the best objective; logarithms."""

    mean: Array
    """(2 * POINTS + 1,)"""
    covariance: Array

    @classmethod
    def of(cls, curves: Array, diagonal: float = 0.05) -> CurvePrior:
        """That of (trials, 2 * POINTS + 1) curves; as much of what two points share is taken for chance as said."""
        covariance = np.cov(curves.T)
        own = np.diag(np.diag(covariance))
        return cls(mean=curves.mean(axis=0), covariance=(1 - diagonal) * covariance + diagonal * own)

    def write(self, path: Path) -> None:
        rows = [[float(f"{value:.4g}") for value in row] for row in (self.mean, *self.covariance)]
        path.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")

    @classmethod
    def read(cls, path: Path) -> CurvePrior:
        mean, *covariance = json.loads(path.read_text())
        return cls(mean=np.array(mean), covariance=np.array(covariance))


@cache
def recorded() -> CurvePrior:
    """What is known of curves before a sweep has any."""
    return CurvePrior.read(RECORDED)


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The best objective that a trial will have had after its last epoch: its logarithm has a t distribution."""

    centre: float
    scale: float
    degrees: float

    def quantile(self, probability: float) -> float:
        """The objective that is not exceeded with this probability."""
        from scipy.stats import t

        return min(math.exp(self.centre + self.scale * float(t.ppf(probability, self.degrees))), OF_SILENCE)

    def spread(self) -> tuple[float, float, float]:
        """The quantiles of 5, 50 and 95 %."""
        return self.quantile(0.05), self.quantile(0.5), self.quantile(0.95)

    def chance_below(self, objective: float) -> float:
        from scipy.stats import t

        return float(t.cdf((math.log(objective) - self.centre) / self.scale, self.degrees))

    def chance_below_that_of(self, other: Forecast) -> float:
        """That this trial ends better than another one, as if both were normal and independent."""
        from scipy.stats import norm

        return float(norm.cdf((other.centre - self.centre) / math.hypot(self.scale, other.scale)))


@dataclass
class Curve:
    """A trial's reports so far."""

    epochs: int
    """It will have."""
    output: str
    """Losses of one output are of one size."""
    reached: list[int] = field(default_factory=list)
    """Epochs that were reported."""
    objectives: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    is_full: bool = False
    """Whether there is no more to come."""

    @property
    def teaches(self) -> bool:
        """Whether all of it is known."""
        return len(self.reached) >= self.epochs and not any(map(math.isnan, self.losses))

    @property
    def best(self) -> float:
        return min(self.objectives)


class Forecasts:
    """Hears reports and says what they will come to.

    Args:
        prior: what is known of curves beforehand; the recorded ones if not given.
    """

    def __init__(self, prior: CurvePrior | None = None) -> None:
        self._prior = prior or recorded()
        self._curves: dict[int, Curve] = {}
        self._first_losses: dict[str, list[float]] = {}
        self._posterior: tuple[Array, Array, float] | None = None
        """Mean, scale matrix and degrees of freedom of the next curve."""

    @classmethod
    def after(cls, records: Iterable[TrialRecord]) -> Forecasts:
        """What has heard all reports of these trials; each is known by its place among them."""
        forecasts = cls()
        for place, record in enumerate(records):
            for report in record.reports:
                forecasts.hear(place, record.config, report)
            if record.reports and record.state == COMPLETE:
                # Of a trial of an earlier sweep only the best epoch may be known.
                forecasts._curves[place].is_full = True
        return forecasts

    def hear(self, number: int, config: Mapping[str, Any], report: Mapping[str, float]) -> None:
        """The next report of a trial.

        Args:
            config: the trial's, nested.
        """
        curve = self._curves.setdefault(
            number, Curve(epochs=int(config["training"]["epochs"]), output=str(config.get("output")))
        )
        if not curve.objectives and LOSS in report:
            self._first_losses.setdefault(curve.output, []).append(report[LOSS])
            self._posterior = None
        curve.reached.append(int(report["epoch"]))
        curve.objectives.append(report[OBJECTIVE])
        curve.losses.append(report.get(LOSS, math.nan))
        if curve.reached[-1] >= curve.epochs:
            curve.is_full, self._posterior = True, None

    def curve(self, number: int) -> Curve:
        return self._curves[number]

    def of(self, number: int) -> Forecast:
        """What a trial will come to that has reported, or has come to."""
        curve = self._curves[number]
        if curve.is_full:
            return Forecast(centre=math.log(_clipped(curve.best)), scale=_KNOWN, degrees=math.inf)
        mean, matrix, degrees = self._next_curve()
        count = len(curve.reached)
        looked_at = np.unique(np.linspace(0, count - 1, min(count, _MOST_EPOCHS)).round().astype(int))
        reading = _reading(np.array(curve.reached)[looked_at] / curve.epochs)
        seen = np.block([[reading, np.zeros_like(reading)], [np.zeros_like(reading), reading]])
        values = np.concatenate([_objectives(curve)[looked_at], self._losses(curve)[looked_at]])
        seen, values = seen[~np.isnan(values)], values[~np.isnan(values)]
        within = seen @ matrix[:-1, :-1] @ seen.T + _READ_OFF * np.eye(len(values))
        with_best = seen @ matrix[:-1, -1]
        weights = np.linalg.solve(within, with_best)
        off = values - seen @ mean[:-1]
        surprise = float(off @ np.linalg.solve(within, off))
        variance = max(float(matrix[-1, -1] - weights @ with_best), _READ_OFF)
        return Forecast(
            centre=min(float(mean[-1] + weights @ off), math.log(_clipped(curve.best))),
            scale=math.sqrt(variance * (degrees + surprise) / (degrees + len(values))),
            degrees=degrees + len(values),
        )

    def points(self, number: int) -> Array:
        """(2 * POINTS + 1,) of a trial in full."""
        curve = self._curves[number]
        at, asked = np.array(curve.reached) / curve.epochs, np.arange(1, POINTS + 1) / POINTS
        objectives, losses = _objectives(curve), self._losses(curve)
        return np.concatenate([np.interp(asked, at, objectives), np.interp(asked, at, losses), [objectives.min()]])

    def _losses(self, curve: Curve) -> Array:
        first = self._first_losses.get(curve.output, [1.0])
        return np.log(np.maximum(curve.losses, LEAST_LOSS)) - math.log(max(statistics.median(first), LEAST_LOSS))

    def _next_curve(self) -> tuple[Array, Array, float]:
        if self._posterior is None:
            worth, degrees = WORTH_OF_MEAN, WORTH_OF_COVARIANCE
            mean, scatter = self._prior.mean, self._prior.covariance * degrees
            own = [self.points(number) for number, curve in self._curves.items() if curve.teaches]
            if own:
                curves, count = np.array(own), len(own)
                off = curves.mean(axis=0) - mean
                around = curves - curves.mean(axis=0)
                scatter = scatter + around.T @ around + worth * count / (worth + count) * np.outer(off, off)
                mean = mean + count / (worth + count) * off
                worth, degrees = worth + count, degrees + count
            self._posterior = mean, scatter * (worth + 1) / (worth * degrees), degrees
        return self._posterior


def _clipped(objective: float) -> float:
    return min(max(objective, LEAST_OBJECTIVE), OF_SILENCE)


def _objectives(curve: Curve) -> Array:
    return np.log(np.clip(curve.objectives, LEAST_OBJECTIVE, OF_SILENCE))


def _reading(positions: Array) -> Array:
    """(positions, POINTS): how much of each point is in the value at each position, from 0 to 1, of a curve."""
    places = np.clip(positions * POINTS - 1, 0, POINTS - 1)
    below = np.minimum(places.astype(int), POINTS - 2)
    reading = np.zeros((len(places), POINTS))
    rows = np.arange(len(places))
    reading[rows, below] = 1 - (places - below)
    reading[rows, below + 1] = places - below
    return reading
