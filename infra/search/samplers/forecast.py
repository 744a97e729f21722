"""A sampler that goes by what trials are forecast to come to, and by all of their parameters.

What a trial comes to (`infra.search.forecast`) is known for those in full, and with a spread for those that run or were
stopped: all of them teach it something. Over the space it is a Gaussian process whose kernel has a part for each
parameter alone, shared by all branches that have it, and a product of all, where trials of different branches have
little in common. A parameter that only one of two trials has sets them apart. Kernels are drawn once from a prior and
weighed by how well they explain the trials; the point that is proposed has the largest expected improvement (Jones et
al., 1998) among points drawn at random and variations of the best trials.

Cost of a proposal: the cube of the trials, of which no more than `MOST_TRIALS` are looked at, for each kernel.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.samplers import RandomSampler

from data.errors import UserError
from infra.search.forecast import Forecast, Forecasts
from infra.search.samplers.contract import SAMPLERS, Known, Sampler
from search_spaces.space import SearchSpace

Array = NDArray[np.float64]

STARTUP_TRIALS = 4
"""Trials before a model of them says anything; they are spread out."""
STARTUP_POINTS = 8
"""Of which the one is tried that is least like the others: of all, it would lie on an edge of the space."""
RANDOM_POINTS, VARIATIONS = 160, 40
VARIED = 4
"""Of so many of the best trials."""
KEPT = 0.7
"""Of the parameters of a trial in a variation of it."""
KERNELS, HEAVIEST = 32, 6
MOST_TRIALS = 300
NOISE = 0.06
"""Standard deviation of an objective's logarithm over seeds."""
LEVEL_VARIANCE = 0.5
"""Of an objective's logarithm over all that one could search."""


class Drawn:
    """A point of a space, drawn at random but for what is kept of another one; to a space, a trial."""

    def __init__(self, rng: np.random.Generator, kept: Mapping[str, Any] | None = None) -> None:
        self._rng, self._kept = rng, kept or {}
        self.params: dict[str, Any] = {}
        self.ranges: dict[str, tuple[float, float, bool]] = {}
        """Lowest, highest and whether logarithmic, of what is a number."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        if name in self._kept and self._kept[name] in choices:
            value = self._kept[name]
        else:
            value = choices[int(self._rng.integers(len(choices)))]
        self.params[name] = value
        return value

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        self.ranges[name] = (low, high, log)
        kept = self._kept.get(name)
        if kept is not None and low <= kept <= high:
            value = float(kept)
        elif log:
            value = math.exp(self._rng.uniform(math.log(low), math.log(high)))
        else:
            value = self._rng.uniform(low, high)
        if step:
            # The end of a range need not be a step.
            value = low + step * min(round((value - low) / step), math.floor((high - low) / step + 1e-9))
        self.params[name] = min(max(value, low), high)
        return self.params[name]

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        self.ranges[name] = (low, high, log)
        kept = self._kept.get(name)
        if kept is not None and low <= kept <= high:
            value = int(kept)
        elif log:
            value = int(math.exp(self._rng.uniform(math.log(low), math.log(high + 1))))
        else:
            value = low + step * int(self._rng.integers((high - low) // step + 1))
        self.params[name] = min(max(value, low), high)
        return self.params[name]


def choose(known: Known) -> Mapping[str, Any]:
    """The next point."""
    rng = np.random.default_rng(known.seed)
    tried = [record for record in known.records if record.reports or not record.ended]
    forecasts = Forecasts.after(tried)
    ends = {place: forecasts.of(place) for place, record in enumerate(tried) if record.reports}
    ends = dict(sorted(ends.items(), key=lambda end: end[1].centre)[:MOST_TRIALS])
    heard, waiting = list(ends), [place for place, record in enumerate(tried) if not record.reports]
    starting = len(tried) < STARTUP_TRIALS or not heard
    best = [tried[place].params for place in heard[:VARIED]]
    points = _points(known.space, rng, [{}] * STARTUP_POINTS if starting else _keeping(rng, best))
    if not any(point.params for point in points):
        return {}
    model = _Model(
        [tried[place].params for place in (*heard, *waiting)],
        [point.params for point in points],
        {name: limits for point in points for name, limits in point.ranges.items()},
    )
    if starting:
        return points[int(np.argmax(model.unlikeness()))].params
    mean, deviation = model.predict(np.array([end.centre for end in ends.values()]), _variances(ends.values()))
    in_full = [end.centre for place, end in ends.items() if forecasts.curve(place).is_full]
    incumbent = min(in_full) if in_full else min(end.centre for end in ends.values())
    deviation = np.hypot(deviation, NOISE)
    ahead = (incumbent - mean) / deviation
    from scipy.stats import norm  # takes a second to import

    return points[int(np.argmax(deviation * (ahead * norm.cdf(ahead) + norm.pdf(ahead))))].params


def _variances(ends: Iterable[Forecast]) -> Array:
    return np.array([end.scale**2 + NOISE**2 for end in ends])


def _keeping(rng: np.random.Generator, best: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each point that is to be drawn, what it keeps of another one."""
    variations = [
        {name: value for name, value in best[i % len(best)].items() if rng.random() < KEPT} for i in range(VARIATIONS)
    ]
    return [*({} for _ in range(RANDOM_POINTS)), *variations]


def _points(space: SearchSpace, rng: np.random.Generator, kept: Sequence[Mapping[str, Any]]) -> list[Drawn]:
    """Points of the space that can be built, one at least.

    Raises:
        UserError: none can be.
    """
    points, refusal = [], None
    for keeping in kept:
        point = Drawn(rng, keeping)
        try:
            space.suggest(point)
        except UserError as error:
            refusal = error
        else:
            points.append(point)
    if refusal is not None and not points:
        raise refusal
    return points


class _Model:
    """A Gaussian process over points of a space.

    Args:
        tried: what is known of comes first.
        asked: points to predict.
        ranges: lowest, highest and whether logarithmic, of the parameters that are numbers.
    """

    def __init__(
        self,
        tried: Sequence[Mapping[str, Any]],
        asked: Sequence[Mapping[str, Any]],
        ranges: Mapping[str, tuple[float, float, bool]],
    ) -> None:
        points, rng = [*tried, *asked], np.random.default_rng(0)
        self._num_tried = len(tried)
        names = sorted({name for point in asked for name in point})
        likeness = [_likeness([point.get(name) for point in points], ranges.get(name), len(tried)) for name in names]
        self._kernels = [_kernel(likeness, rng) for _ in range(KERNELS)]

    def unlikeness(self) -> Array:
        """(asked,): variances, of a model that knows nothing but where others were tried."""
        return np.mean([self._conditional(kernel, NOISE**2)[1] for kernel in self._kernels], axis=0)

    def predict(self, centres: Array, variances: Array) -> tuple[Array, Array]:
        """(asked,) means and standard deviations, from (known,) centres and variances of the first that were tried."""
        known, level = len(centres), float(np.average(centres, weights=1 / (variances + NOISE)))
        weighed = []
        for kernel in self._kernels:
            lower = np.linalg.cholesky(kernel.among[:known, :known] + np.diag(variances))
            whitened = np.linalg.solve(lower, centres - level)
            evidence = -0.5 * float(whitened @ whitened) - float(np.log(np.diag(lower)).sum())
            weighed.append((evidence, kernel, lower, whitened))
        weighed = sorted(weighed, key=lambda one: -one[0])[:HEAVIEST]
        weights = np.exp([evidence - weighed[0][0] for evidence, *_ in weighed])
        means, seconds = [], []
        for _, kernel, lower, whitened in weighed:
            # Those that wait for their first report are taken to come to what is expected of them.
            expected = level + np.linalg.solve(lower, kernel.among[:known, known:]).T @ whitened
            values = np.concatenate([centres - level, expected - level])
            spread = np.concatenate([variances, np.full(len(expected), NOISE)])
            mean, variance = self._conditional(kernel, spread, values)
            means.append(level + mean)
            seconds.append(variance + means[-1] ** 2)
        mean = np.average(means, axis=0, weights=weights)
        variance = np.average(seconds, axis=0, weights=weights) - mean**2
        return mean, np.sqrt(np.maximum(variance, 1e-9))

    def _conditional(self, kernel: _Kernel, spread: Any, values: Array | None = None) -> tuple[Array, Array]:
        """(asked,) means and variances, given what was tried."""
        lower = np.linalg.cholesky(kernel.among + spread * np.eye(self._num_tried))
        across = np.linalg.solve(lower, kernel.across)
        mean = across.T @ np.linalg.solve(lower, np.zeros(self._num_tried) if values is None else values)
        return mean, np.maximum(kernel.variance - (across**2).sum(axis=0), 0)


@dataclass(frozen=True)
class _Kernel:
    among: Array
    """(tried, tried)"""
    across: Array
    """(tried, asked)"""
    variance: float
    """Of each point by itself."""


@dataclass(frozen=True)
class _Likeness:
    """(tried, tried + asked) of one parameter: whether both have it, and how far apart they are as numbers."""

    same: Array
    """1, or 0 where only one has it or a choice differs."""
    apart: Array
    """In units of the range."""


def _likeness(values: Sequence[Any], limits: tuple[float, float, bool] | None, tried: int) -> _Likeness:
    there = np.array([value is not None for value in values])
    same = (there[:tried, None] == there[None]).astype(float)
    if limits is None:
        codes = {value: code for code, value in enumerate(dict.fromkeys(map(repr, values)))}
        of = np.array([codes[repr(value)] for value in values])
        return _Likeness((of[:tried, None] == of[None]).astype(float), np.zeros_like(same))
    low, high, log = limits
    scaled = [low if value is None else min(max(float(value), low), high) for value in values]
    places, ends = (np.log(scaled), np.log([low, high])) if log else (np.array(scaled), np.array([low, high]))
    width = float(ends[1] - ends[0]) or 1.0
    apart = (places[:tried, None] - places[None]) / width
    return _Likeness(same, np.where(there[:tried, None] & there[None], apart, 0.0))


def _kernel(likeness: Sequence[_Likeness], rng: np.random.Generator) -> _Kernel:
    """One drawn from the prior."""
    tried = len(likeness[0].same)
    alone, together, total = np.zeros_like(likeness[0].same), np.ones_like(likeness[0].same), 0.0
    for one in likeness:
        length, share, apart = math.exp(rng.uniform(math.log(0.07), 0.0)), rng.uniform(), rng.uniform(0.1, 1.0)
        alike = one.same * np.exp(-0.5 * (one.apart / length) ** 2)
        alone, total = alone + share * alike, total + share
        together = together * (1 - apart + apart * alike)
    alone = alone / total
    first, second, third = rng.dirichlet(np.ones(3))
    size = math.exp(rng.uniform(math.log(0.2), math.log(1.2))) ** 2
    kernel = size * (first * alone + second * alone**2 + third * together) + LEVEL_VARIANCE
    return _Kernel(kernel[:, :tried], kernel[:, tried:], size + LEVEL_VARIANCE)


SAMPLERS.register(Sampler(name="forecast", make=lambda seed: RandomSampler(seed=seed), choose=choose))
