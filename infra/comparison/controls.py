"""What pictures, or sound, are worth to a fusion: trials against the same trial with its eyes, or ears, closed.

Two fusions are two networks, and what one of them sees is the least of their differences: `gru` beats `audio_only` on
scenes where it does as well with its pictures taken away. Only a trial's twin, the same network from the same seed with
its `fusion.closed` set, tells what the modality is worth.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from infra.comparison.statistics import Interval, mean_interval
from infra.comparison.trials import ComparedTrial
from trainables.parts.controls import CLOSED, worth


@dataclass(frozen=True, kw_only=True)
class ControlGain:
    """SELD of a fusion's closed twins minus that of the trials themselves, at equal epochs; above 0: it helps."""

    fusion: str
    closed: str
    pairs: Sequence[tuple[str, str]]
    """Labels of trials, each with its twin's."""
    own: Sequence[float]
    """SELD of the trials."""
    without: Sequence[float]
    """And of their twins."""
    interval: Interval | None
    """Of the mean over pairs."""
    classes: Mapping[str, Sequence[float]]
    """F of the trial minus that of its twin by class, each at its best epoch; classes that all reports tell of."""

    @property
    def gains(self) -> list[float]:
        return [without - own for own, without in zip(self.own, self.without, strict=True)]

    @property
    def mean(self) -> float:
        return float(np.mean(self.gains))

    def __str__(self) -> str:
        interval = self.interval
        verdict = f"too few pairs to tell whether {CLOSED[self.closed]} input helps"
        if interval is not None:
            verdict = worth(self.closed, interval.low, interval.high, "pairs")
        bounds = "" if interval is None else f", 95 % interval {interval.low:+.3f} to {interval.high:+.3f}"
        count = f"{len(self.gains)} pair" + "s" * (len(self.gains) > 1)
        itself = f"{self.fusion} against itself with its {self.closed} closed"
        return f"{itself}: SELD better by {self.mean:+.3f}{bounds}, {count}: {verdict}."


def control_gains(trials: Sequence[ComparedTrial]) -> list[ControlGain]:
    """Of every fusion that has a trial and its closed twin with a score."""
    scored = [trial for trial in trials if trial.score is not None]
    open_ones = {_key(trial.record.config): trial for trial in scored if _closed(trial) is None}
    found: dict[tuple[str, str], list[tuple[ComparedTrial, ComparedTrial]]] = {}
    for twin in scored:
        closed, own = _closed(twin), open_ones.get(_key(twin.record.config))
        if closed is not None and own is not None:
            found.setdefault((str(twin.record.config["fusion"]["name"]), closed), []).append((own, twin))
    gains = []
    for (fusion, closed), pairs in sorted(found.items()):
        scores = [(own.score or 0.0, twin.score or 0.0) for own, twin in pairs]
        differences = [without - own for own, without in scores]
        gains.append(
            ControlGain(
                fusion=fusion,
                closed=closed,
                pairs=[(own.label, twin.label) for own, twin in pairs],
                own=[own for own, _ in scores],
                without=[without for _, without in scores],
                interval=mean_interval(differences),
                classes=_class_gains(pairs),
            )
        )
    return gains


def _class_gains(pairs: Sequence[tuple[ComparedTrial, ComparedTrial]]) -> dict[str, list[float]]:
    bests = [(own.record.best or {}, twin.record.best or {}) for own, twin in pairs]
    told = set.intersection(*(set(best) for both in bests for best in both))
    names = sorted(key for key in told if key.startswith("class/") and key.endswith("/F"))
    return {key.split("/")[1]: [own[key] - twin[key] for own, twin in bests] for key in names}


def _closed(trial: ComparedTrial) -> str | None:
    return trial.record.config["fusion"].get("closed")


def _key(config: Mapping[str, Any]) -> str:
    """The same for twins."""
    fusion = {name: value for name, value in config["fusion"].items() if name != "closed"}
    return json.dumps({**config, "fusion": fusion}, sort_keys=True)
