"""Scalable pictures written by hand: axes that find their own ticks, and marks that carry the number of their trial.

Colours are classes (`v0`, `v1`, ...), so that the page's style sheet decides them, in light and in dark.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from matplotlib.ticker import LogLocator, MaxNLocator

NUM_COLOURS = 7
MARKS = (
    '<circle r="3.6"/>',
    '<path d="M-3.4-3.4h6.8v6.8h-6.8z"/>',
    '<path d="M0-4.4 4.2 3.2h-8.4z"/>',
    '<path d="M0-4.8 4.2 0 0 4.8-4.2 0z"/>',
    '<path d="M0 4.4 4.2-3.2h-8.4z"/>',
    '<path d="M-4-1.4h2.6V-4h2.8v2.6H4v2.8H1.4V4h-2.8V1.4H-4z"/>',
    '<path d="M-3.8-1.2-2-4H2l1.8 2.8L2.4 4h-4.8z"/>',
)
"""A shape for each colour, so that neither has to be told apart alone."""


class Axis:
    """Numbers onto a stretch of the picture.

    Args:
        values: what has to fit in; a little room is left on both sides.
        start, end: pixels of the smallest and the largest number.
        log: by orders of magnitude; needs positive numbers.
        ends: the axis ends at the values themselves.
        whole: ticks at whole numbers only.
    """

    def __init__(
        self,
        values: Iterable[float],
        start: float,
        end: float,
        *,
        log: bool = False,
        ends: bool = False,
        whole: bool = False,
    ) -> None:
        known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        self.log, self._whole = log and min(known) > 0, whole
        low, high = self._scaled(min(known)), self._scaled(max(known))
        room = 0.0 if ends and high > low else 0.04 * (high - low) or 0.5
        self._low, self._high, self._start, self._end = low - room, high + room, start, end

    def __call__(self, value: float) -> float:
        share = (self._scaled(value) - self._low) / (self._high - self._low)
        return self._start + share * (self._end - self._start)

    def ticks(self, most: int = 6) -> list[tuple[float, str]]:
        """Pixel and label of round numbers."""
        if self.log:
            low, high = 10**self._low, 10**self._high
            values = LogLocator(subs=(1, 2, 5), numticks=50).tick_values(low, high)
            if sum(low <= value <= high for value in values) > most:
                values = LogLocator(numticks=50).tick_values(low, high)
        else:
            low, high = self._low, self._high
            round_ones = [1, 2, 5, 10] if self._whole else [1, 2, 2.5, 5, 10]
            values = MaxNLocator(most, steps=round_ones, integer=self._whole).tick_values(low, high)
        inside = [float(value) for value in values if low <= value <= high]
        return [(self(value), number_text(value)) for value in inside]

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.log else value


def number_text(value: float) -> str:
    """Short: 0.25, 400, 1.2M, 1e-4."""
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:.3g}M"
    if size >= 1e4:
        return f"{value / 1e3:.3g}k"
    if 0 < size < 1e-2:
        digits, power = f"{value:.1e}".split("e")
        return f"{digits.removesuffix('.0')}e{int(power)}"
    return f"{value:.4g}"


def picture(width: int, height: int, described: str, parts: Iterable[str]) -> str:
    """The parts as one picture, with what it shows for those who do not see it."""
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(described)}">' + "".join(parts) + "</svg>"
    )


def frame(x: Axis, y: Axis, box: tuple[float, float, float, float], x_label: str, y_label: str) -> str:
    """Grid, ticks and labels around `box` (left, top, right, bottom)."""
    left, top, right, bottom = box
    parts = [f'<path class="grid" d="M{px:.1f} {top:g}V{bottom:g}"/>' for px, _ in x.ticks()]
    parts += [f'<path class="grid" d="M{left:g} {py:.1f}H{right:g}"/>' for py, _ in y.ticks()]
    parts += [text(px, bottom + 16, label, "middle") for px, label in x.ticks()]
    parts += [text(left - 7, py + 4, label, "end") for py, label in y.ticks()]
    parts.append(text((left + right) / 2, bottom + 35, x_label, "middle", "label"))
    parts.append(text(left, top - 9, y_label, "start", "label"))
    return "".join(parts)


def text(x: float, y: float, content: str, anchor: str = "start", kind: str = "tick") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(content)}</text>'


def mark(x: float, y: float, colour: int, trial: int, extra: str = "") -> str:
    """The variant's shape at a point."""
    index = colour % NUM_COLOURS
    return f'<use href="#k{index}" x="{x:.1f}" y="{y:.1f}" class="m v{index}{extra}" data-t="{trial}"/>'


def line(points: Sequence[tuple[float, float]], colour: int, trial: int | None = None, extra: str = "") -> str:
    """A line through the points, of a trial or of a variant as a whole."""
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    whose = "" if trial is None else f' data-t="{trial}"'
    return f'<polyline class="l v{colour % NUM_COLOURS}{extra}" points="{joined}"{whose}/>'


def whisker(low: float, high: float, y: float) -> str:
    """An interval between two pixels."""
    return f'<path class="interval" d="M{low:.1f} {y}H{high:.1f}M{low:.1f} {y - 4}v8M{high:.1f} {y - 4}v8"/>'


def steps(points: Sequence[tuple[float, float]], colour: str) -> str:
    """A staircase: each height holds until the next point."""
    (x, y), *others = points
    path = f"M{x:.1f} {y:.1f}" + "".join(f"H{x:.1f}V{y:.1f}" for x, y in others)
    return f'<path class="step {colour}" d="{path}"/>'
