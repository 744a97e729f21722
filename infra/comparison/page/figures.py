"""The pictures of a comparison, each a string of SVG whose size does not grow with the sweep.

Beyond a few hundred trials, a picture shows the best trial of each variant and the others evenly from best to worst.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from infra.comparison.compare import COSTS, Comparison
from infra.comparison.importance import Importance
from infra.comparison.page.svg import NUM_COLOURS, Axis, frame, line, mark, number_text, picture, steps, text, whisker
from infra.comparison.trials import ComparedTrial
from infra.comparison.variants import Variant
from trainables.training.reports import OBJECTIVE

MOST_MARKS, MOST_LINES, MOST_POINTS = 600, 240, 60
"""Marks of a scatter, lines of a picture, and points of a line at most."""
MOST_PARAMETERS = 9
WIDTH, HALF, HEIGHT = 1120, 552, 320
SCORE = "validation SELD"


@dataclass(frozen=True)
class Shown:
    """Trials with a score, the best first, and what they are called in the page."""

    trials: list[ComparedTrial]
    numbers: dict[str, int]
    """Label of a trial -> its number in the page."""
    colours: dict[str, int]
    """Variant -> colour; by name, so that it keeps it when a sweep goes on."""
    by: str

    @classmethod
    def of(cls, comparison: Comparison) -> Shown:
        scored = [trial for trial in comparison.trials if trial.best_score is not None]
        scored.sort(key=lambda trial: (trial.best_score or 0.0, trial.label))
        numbers = {trial.label: number for number, trial in enumerate(scored)}
        colours = {name: index for index, name in enumerate(sorted(v.name for v in comparison.variants))}
        return cls(scored, numbers, colours, comparison.by)

    def thinned(self, most: int) -> list[ComparedTrial]:
        """At most so many, the worst first, so that the best are drawn on top."""
        if len(self.trials) <= most:
            return self.trials[::-1]
        first = {trial.variants[self.by]: trial for trial in reversed(self.trials)}
        room = max(1, most - len(first))
        even = [self.trials[index * len(self.trials) // room] for index in range(room)]
        kept = {trial.label: trial for trial in [*even, *first.values()]}
        return sorted(kept.values(), key=lambda trial: -self.number(trial))

    def number(self, trial: ComparedTrial) -> int:
        return self.numbers[trial.label]

    def colour(self, trial: ComparedTrial) -> int:
        return self.colours[trial.variants[self.by]]

    def is_best(self, trial: ComparedTrial) -> bool:
        return self.number(trial) == 0


def scores_by_variant(comparison: Comparison, shown: Shown) -> str:
    """Every score at equal epochs, with median and interval of its variant."""
    rows = [variant for variant in comparison.variants if variant.median is not None]
    row_height, left = 46, max(150, 32 + 7 * max(len(variant.name) for variant in rows))
    bottom = 20 + row_height * len(rows)
    trials = [trial for trial in shown.thinned(MOST_MARKS) if trial.score is not None]
    ends = [end for v in rows if v.interval for end in (v.interval.low, v.interval.high)]
    x = Axis([*(trial.score or 0.0 for trial in trials), *ends], left, WIDTH - 20)
    parts = [f'<path class="grid" d="M{px:.1f} 14V{bottom}"/>' for px, _ in x.ticks(10)]
    parts += [text(px, bottom + 16, label, "middle") for px, label in x.ticks(10)]
    parts.append(
        text((left + WIDTH) / 2, bottom + 36, f"{SCORE} after {comparison.epochs} epochs (left is better)", "middle")
    )
    height_of = {variant.name: 20 + row_height * (index + 0.5) for index, variant in enumerate(rows)}
    for variant in rows:
        parts.append(text(left - 12, height_of[variant.name] + 4, variant.name, "end", "label"))
    for trial in trials:
        y = height_of[trial.variants[comparison.by]] + 9 + 10 * _jitter(shown.number(trial))
        parts.append(mark(x(trial.score or 0.0), y, shown.colour(trial), shown.number(trial)))
    parts += [_median_bar(variant, x, height_of[variant.name] - 11) for variant in rows]
    return picture(WIDTH, bottom + 46, f"{SCORE} of every trial, by {comparison.by}; lower is better", parts)


def best_so_far(comparison: Comparison, shown: Shown) -> str:
    """The best score over the time that trials trained, for each variant and (dotted) over all."""
    box = (56.0, 26.0, WIDTH - 110.0, HEIGHT - 46.0)
    costs = [
        (comparison.cost, "all"),
        *((v.cost, f"v{shown.colours[v.name] % NUM_COLOURS}") for v in comparison.variants),
    ]
    costs = [(cost, colour) for cost, colour in costs if cost.steps]
    spent = [seconds for cost, _ in costs for seconds in (cost.steps[0].seconds, cost.seconds)]
    x = Axis(spent, box[0], box[2], log=True, ends=True)
    y = Axis([comparison.target, *(step.score for cost, _ in costs for step in cost.steps)], box[3], box[1])
    parts = [frame(x, y, box, "training time of all trials together (s)", f"best {SCORE} so far")]
    target = y(comparison.target)
    parts.append(f'<path class="target" d="M{box[0]} {target:.1f}H{box[2]}"/>')
    parts.append(text(box[2] + 6, target + 4, f"to reach: {comparison.target:.3f}"))
    for cost, colour in costs:
        points = [(x(step.seconds), y(step.score)) for step in cost.steps]
        parts.append(steps([*points, (x(cost.seconds), points[-1][1])], colour))
    return picture(WIDTH, HEIGHT, f"Best {SCORE} so far over training time, for each {comparison.by}", parts)


def learning_curves(comparison: Comparison, shown: Shown) -> tuple[str, str]:
    """The score of each trial over its epochs, and over its own training time."""
    trials, ceiling = shown.thinned(MOST_LINES), worst_drawn(shown)
    curves = []
    for trial in trials:
        seconds, points = 0.0, []
        for report in trial.record.reports:
            seconds += report["epoch_s"]
            points.append((report["epoch"], seconds, min(report[OBJECTIVE], ceiling)))
        stride = math.ceil(len(points) / MOST_POINTS)
        curves.append([*points[::stride], *([points[-1]] if (len(points) - 1) % stride else [])])
    pictures = []
    for axis, label in ((0, "epoch"), (1, "training time of the trial (s)")):
        box = (50.0, 26.0, HALF - 14.0, HEIGHT - 46.0)
        spent = [point[axis] for points in curves for point in points]
        x = Axis([0.0, *spent], box[0], box[2], ends=True, whole=axis == 0)
        y = Axis([point[2] for points in curves for point in points], box[3], box[1])
        parts = [frame(x, y, box, label, SCORE)]
        if axis == 0:
            parts.append(f'<path class="target" d="M{x(comparison.epochs):.1f} {box[1]}V{box[3]}"/>')
        for trial, points in zip(trials, curves, strict=True):
            places = [(x(point[axis]), y(point[2])) for point in points]
            extra = " best" if shown.is_best(trial) else ""
            parts.append(line(places, shown.colour(trial), shown.number(trial), extra))
            if len(places) == 1:
                parts.append(mark(*places[0], shown.colour(trial), shown.number(trial)))
        pictures.append(picture(HALF, HEIGHT, f"{SCORE} of each trial by {label}", parts))
    return pictures[0], pictures[1]


def worst_drawn(shown: Shown) -> float:
    """A model that has learned nothing may score far above one, and would press all others together."""
    return max(1.0, *(trial.best_score or 0.0 for trial in shown.trials))


def parallel_coordinates(comparison: Comparison, shown: Shown) -> str:
    """A line for each trial through its parameters to its score."""
    names = varying_parameters(shown)[:MOST_PARAMETERS]
    trials = shown.thinned(MOST_LINES)
    top, bottom = 48.0, 310.0
    places = {name: 90 + index * (WIDTH - 190) / len(names) for index, name in enumerate([*names, SCORE])}
    axes = {name: ParameterAxis(name, shown.trials, bottom, top) for name in names}
    score_axis = Axis([trial.best_score or 0.0 for trial in trials], bottom, top, ends=True)
    parts = []
    for trial in trials:
        points = [
            (places[name], axes[name].place(trial.record.params.get(name)) + axes[name].spread(shown.number(trial), 16))
            for name in names
        ]
        points.append((places[SCORE], score_axis(trial.best_score or 0.0)))
        parts.append(line(points, shown.colour(trial), shown.number(trial), " best" if shown.is_best(trial) else ""))
    for name in [*names, SCORE]:
        ticks = score_axis.ticks() if name == SCORE else axes[name].ticks()
        parts.append(f'<path class="axis" d="M{places[name]:.1f} {top}V{bottom}"/>')
        parts.append(text(places[name], 22, name, "middle", "label"))
        side, anchor = (9, "start") if name == SCORE else (-9, "end")
        parts += [text(places[name] + side, py + 4, label, anchor, "tick halo") for py, label in ticks]
    missing = any(name not in trial.record.params for trial in trials for name in names)
    if missing:
        parts.append(text(8, bottom + 26, "not there", "start"))
    return picture(WIDTH, int(bottom + 40), f"Parameters of each trial, joined to its {SCORE}", parts)


def slices(shown: Shown) -> list[str]:
    """The score over each single parameter."""
    names = varying_parameters(shown)[:MOST_PARAMETERS]
    # The rates first: they are what is looked for.
    names.sort(key=lambda name: "lr" not in name and "rate" not in name)
    width, height = 366, 250
    box = (46.0, 26.0, width - 12.0, height - 46.0)
    most = max(60, MOST_MARKS * 2 // max(1, len(names)))
    trials = shown.thinned(most)
    y = Axis([trial.best_score or 0.0 for trial in trials], box[3], box[1])
    pictures = []
    for name in names:
        x = ParameterAxis(name, shown.trials, box[0] + 24, box[2] - 24)
        parts = [f'<path class="grid" d="M{box[0]} {py:.1f}H{box[2]}"/>' for py, _ in y.ticks(5)]
        parts += [text(box[0] - 7, py + 4, label, "end") for py, label in y.ticks(5)]
        labels = x.ticks(4)
        parts += [f'<path class="grid" d="M{px:.1f} {box[1]}V{box[3]}"/>' for px, _ in labels]
        widest = int((box[2] - box[0]) / max(1, len(labels)) / 7)
        parts += [text(px, box[3] + 16, _cut(label, widest), "middle") for px, label in labels]
        parts.append(text((box[0] + box[2]) / 2, box[3] + 36, name, "middle", "label"))
        parts.append(text(box[0], box[1] - 9, f"best {SCORE}", "start", "label"))
        for trial in trials:
            if name in trial.record.params:
                px = x.place(trial.record.params[name]) + x.spread(shown.number(trial), 26)
                parts.append(mark(px, y(trial.best_score or 0.0), shown.colour(trial), shown.number(trial)))
        pictures.append(picture(width, height, f"Best {SCORE} by {name}", parts))
    return pictures


def trade_offs(comparison: Comparison, shown: Shown) -> list[str]:
    """The score against each cost, with the trials that no other beats in both joined."""
    trials = shown.thinned(MOST_MARKS)
    pictures = []
    for cost, label in COSTS.items():
        front = comparison.fronts[cost]
        drawn = {trial.label: trial for trial in [*trials, *front]}.values()
        box = (50.0, 26.0, HALF - 14.0, HEIGHT - 46.0)
        x = Axis([float(getattr(trial, cost)) for trial in drawn], box[0], box[2], log=True)
        y = Axis([trial.best_score or 0.0 for trial in drawn], box[3], box[1])
        place = {trial.label: (x(float(getattr(trial, cost))), y(trial.best_score or 0.0)) for trial in drawn}
        parts = [frame(x, y, box, label, f"best {SCORE}")]
        if front:
            parts.append(steps([*(place[trial.label] for trial in front), (box[2], place[front[-1].label][1])], "all"))
        on_front = {trial.label for trial in front}
        for trial in drawn:
            extra = " front" if trial.label in on_front else ""
            parts.append(mark(*place[trial.label], shown.colour(trial), shown.number(trial), extra))
        pictures.append(picture(HALF, HEIGHT, f"Best {SCORE} against {label}, with the Pareto front", parts))
    return pictures


def importance_bars(importance: Importance) -> str:
    """Two bars a parameter: for the spread of all scores, and for being among the best tenth."""
    names = list(importance.spread)[:MOST_PARAMETERS]
    width, row, left = 366, 34, 120
    height = 12 + row * len(names)
    x = Axis([0.0, 1.0], left, width - 48, ends=True)
    parts = []
    for index, name in enumerate(names):
        y = 8 + row * index
        parts.append(text(left - 8, y + 17, _cut(name, 17), "end", "label"))
        for shift, kind, value in ((0, "spread", importance.spread[name]), (12, "top", importance.top[name])):
            parts.append(f'<rect class="{kind}" x="{left}" y="{y + shift}" width="{x(value) - left:.1f}" height="10"/>')
            parts.append(text(x(value) + 5, y + shift + 9, f"{value:.2f}", "start", "tick small"))
    described = f"Importance of parameters over {importance.scope}: " + ", ".join(
        f"{name} {value:.2f}" for name, value in importance.spread.items()
    )
    return picture(width, height, described, parts)


class ParameterAxis:
    """Values of a suggested parameter along a stretch: numbers by size, anything else side by side."""

    def __init__(self, name: str, trials: Sequence[ComparedTrial], start: float, end: float) -> None:
        having = [trial.record for trial in trials if name in trial.record.params]
        values = {record.params[name] for record in having}
        upright = start > end
        self._missing = start + (22 if upright else -22)
        self.continuous = len(values) > 6 and all(
            isinstance(v, int | float) and not isinstance(v, bool) for v in values
        )
        if self.continuous:
            log = any('"log": true' in record.distributions.get(name, "") for record in having)
            self._axis = Axis([float(value) for value in values], start, end, log=log, ends=True)
        else:
            ordered = sorted(values, key=_by_size)
            if not upright:  # room for half a label
                start, end = start + 22, end - 22
            gap = (end - start) / max(1, len(ordered) - 1)
            first = start if len(ordered) > 1 else (start + end) / 2
            self._places = {value: first + gap * index for index, value in enumerate(ordered)}

    def place(self, value: Any) -> float:
        if value is None:
            return self._missing
        return self._axis(float(value)) if self.continuous else self._places[value]

    def spread(self, number: int, pixels: float) -> float:
        """What sets trials of the same value apart."""
        return 0.0 if self.continuous else pixels * _jitter(number)

    def ticks(self, most: int = 6) -> list[tuple[float, str]]:
        if self.continuous:
            return self._axis.ticks(most)
        return [(place, _value_text(value)) for value, place in self._places.items()]


def varying_parameters(shown: Shown) -> list[str]:
    """Names of the suggested parameters that not all trials share, those that most trials have first."""
    counts: dict[str, int] = {}
    values: dict[str, set[Any]] = {}
    for trial in shown.trials:
        for name, value in trial.record.params.items():
            counts[name] = counts.get(name, 0) + 1
            values.setdefault(name, set()).add(value)
    return sorted((name for name in counts if len(values[name]) > 1), key=lambda name: -counts[name])


def _jitter(number: int) -> float:
    """Evenly within half a unit of zero, and the same every time."""
    return (number * 0.618034) % 1 - 0.5


def _median_bar(variant: Variant, x: Axis, y: float) -> str:
    assert variant.median is not None
    bar = f'<path class="median" d="M{x(variant.median):.1f} {y - 6}v12"/>'
    if variant.interval is not None:
        bar += whisker(x(variant.interval.low), x(variant.interval.high), y)
    return bar


def _by_size(value: Any) -> tuple[int, float, str]:
    is_number = isinstance(value, int | float)
    return (0, float(value), "") if is_number else (1, 0.0, str(value))


def _value_text(value: Any) -> str:
    return number_text(value) if isinstance(value, float) else str(value)


def _cut(label: str, most: int) -> str:
    return label if len(label) <= max(4, most) else label[: max(3, most - 1)] + "…"
