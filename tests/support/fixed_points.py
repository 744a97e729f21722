"""Points of a space, as a trial that suggests them."""

from __future__ import annotations


class FixedPoint:
    """An Optuna trial that suggests one point."""

    def __init__(self, point: dict[str, object]) -> None:
        self._point = point

    def __getattr__(self, name: str) -> object:
        return lambda key, *args, **kwargs: self._point[key]
