"""What the test split said of one model, in a form that is kept with it and that a gate can judge years later.

It holds the counts of each recording rather than scores alone, so that any two models which were measured on the same
recordings can be compared pairwise, with neither of them run again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from data.classes import STARSS23, ClassList
from data.errors import UserError
from trainables.evaluation.latency import Latency
from trainables.scores.flat import AVERAGES, counts_from_array, counts_to_array
from trainables.scores.metrics import SCORE_NAMES, Average, SeldCounts
from trainables.scores.recordings import class_figures, overall, table_of

PROTOCOL = "test, once"
"""The test split was read by named finalists alone, once, after all their choices were made on validation."""
EVIDENCE_NAME = "evidence.json"
BETTER, WORSE, EQUIVALENT, UNDECIDED = "better", "worse", "equivalent", "undecided"
"""What a decision says of a variant against another."""
_LATER = ("gains", "verdicts")
"""Fields that earlier versions did not write."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One training of a finalist on the test split, and what else has to be known before it is promoted."""

    sweep: str
    """The sweep that found the config."""
    finals: str
    """The sweep that trained it again, and whose trial this is."""
    trial: int
    """Its number there."""
    epoch: int
    """Chosen on validation."""
    seed: int
    seeds: tuple[int, ...]
    """Of all trainings of the config that were tested."""
    data_sha256: str
    test_sha256: str
    """Identity of the test split alone (`infra.finals.held_out.split_sha256`)."""
    weights_sha256: str
    commit: str | None
    """That trained it; nothing outside a checkout."""
    changed: bool
    """Whether the checkout had changes that are not in the commit."""
    parameters: int
    bytes: int
    latency: Latency
    counts: tuple[tuple[float, ...], ...]
    """Of each recording, in their order in the split (`trainables.scores.flat.counts_to_array`)."""
    gains: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    """By control of the finals: SELD of the closed twins minus that of the config, and its 95 % interval."""
    verdicts: Mapping[str, str] = field(default_factory=dict)
    """By variant that a decision set it against: what the model's own variant is to it."""

    classes: ClassList = STARSS23

    @property
    def per_recording(self) -> list[SeldCounts]:
        return [counts_from_array(np.array(row)) for row in self.counts]

    @property
    def total(self) -> SeldCounts:
        return sum(self.per_recording, SeldCounts.zero())

    def score(self, average: Average, name: str = "SELD") -> float:
        return float(overall(self.total, average)[SCORE_NAMES.index(name)])

    def to_json(self) -> str:
        """As it is kept; `summary` is for people and follows from the rest."""
        tables = {average: table_of(self.per_recording, average) for average in AVERAGES}
        summary = {
            "protocol": PROTOCOL,
            "recordings": len(self.counts),
            "scores": {average: values for average, (values, _) in tables.items()},
            "intervals": {average: bounds for average, (_, bounds) in tables.items()},
            "classes": class_figures(self.total, self.classes),
        }
        values = asdict(self)
        for later in _LATER:
            if not values[later]:
                # As it was before there were any: its hash stands in the registry.
                del values[later]
        values["classes"] = self.classes.to_json()
        if self.classes == STARSS23:
            del values["classes"]
        return json.dumps({"summary": summary, **values}, indent=1) + "\n"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @classmethod
    def from_json(cls, text: str) -> Evidence:
        """Inverse of `to_json`.

        Raises:
            UserError: something else, or written by another version.
        """
        try:
            document = json.loads(text)
            document = {**{later: {} for later in _LATER}, "classes": STARSS23.to_json(), **document}
            values: dict[str, Any] = {field.name: document[field.name] for field in fields(cls)}
            values["classes"] = ClassList.from_json(values["classes"])
            values["gains"] = {control: tuple(gain) for control, gain in values["gains"].items()}
            values["seeds"] = tuple(values["seeds"])
            values["latency"] = Latency(**values["latency"])
            values["counts"] = tuple(map(tuple, values["counts"]))
            return cls(**values)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{EVIDENCE_NAME} is none that this version reads ({error}); run finals again") from error


def flat_counts(per_recording: Sequence[SeldCounts]) -> tuple[tuple[float, ...], ...]:
    """As `Evidence.counts` holds them."""
    return tuple(tuple(counts_to_array(counts).tolist()) for counts in per_recording)
