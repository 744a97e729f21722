"""What finals found, as Markdown, as JSON and for a terminal.

A finalist's scores are those of its counts summed over its trainings; intervals are over recordings, the spread is over
trainings: the first says how sure the split makes us, the second how much luck there is in a training.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any

from rich.table import Table

from infra.finals.gains import Gain, gain_of
from infra.finals.training import Training
from infra.models.evidence import PROTOCOL
from trainables.config import TrialConfig
from trainables.config.tree import to_dict
from trainables.evaluation.latency import Latency
from trainables.scores.flat import AVERAGES, flat_scores
from trainables.scores.metrics import SCORE_NAMES, Average, SeldCounts, pooled
from trainables.scores.recordings import class_figures, paired_difference, table_of
from trainables.training.reports import OBJECTIVE

COMPARED: Average = "present"
COLUMNS = (
    *("trial", "fusion", "depth", "lr", "val SELD", "ER", "F", "LE", "LR", "SELD", "95 %", "seeds"),
    *("parameters", "MB", "ms"),
)
GAINED = ("recall within 20 degrees, or F", "without", "with", "gain", "95 %")


@dataclass(frozen=True, kw_only=True)
class Finalist:
    """One config, all its trainings."""

    trial: int
    """Its number in the sweep that found it."""
    config: TrialConfig
    trainings: list[Training]
    latency: Latency
    parameters: int
    bytes: int
    controls: dict[str, list[Training]] = field(default_factory=dict)
    """By `Fusion.closed`: the same config so closed; as `OTHERS_PICTURES`, its own trainings shown those."""

    @property
    def validation(self) -> list[float]:
        """The objective of each training."""
        return [training.validation for training in self.trainings]

    @property
    def best(self) -> Training:
        """The training that validation likes best."""
        return min(self.trainings, key=lambda training: (training.validation, training.seed))

    @property
    def per_recording(self) -> list[SeldCounts]:
        """Summed over the trainings."""
        return pooled([training.counts for training in self.trainings])

    def flat(self) -> dict[str, float]:
        """Test scores over all trainings."""
        return flat_scores(sum(self.per_recording, SeldCounts.zero()), self.config.classes)

    @cached_property
    def gains(self) -> list[Gain]:
        """Over each of its controls; none on a single recording."""
        if len(self.per_recording) < 2:
            return []
        return [
            gain_of(self.trial, self.config.fusion.name, self.trainings, control, twins, COMPARED)
            for control, twins in self.controls.items()
        ]

    def spread(self, average: Average) -> dict[str, tuple[float, float]]:
        """Mean and standard deviation of each test score over the trainings."""
        values = {name: [training.flat()[f"{average}/{name}"] for training in self.trainings] for name in SCORE_NAMES}
        return {name: mean_and_deviation(scores) for name, scores in values.items()}

    def as_json(self) -> dict[str, Any]:
        tables = {average: table_of(self.per_recording, average) for average in AVERAGES}
        return {
            "trial": self.trial,
            "config": to_dict(self.config),
            "validation": dict(zip(("mean", "deviation"), mean_and_deviation(self.validation), strict=True)),
            "test": {average: values for average, (values, _) in tables.items()},
            "intervals": {average: bounds for average, (_, bounds) in tables.items()},
            "spread": {average: self.spread(average) for average in AVERAGES},
            "classes": class_figures(sum(self.per_recording, SeldCounts.zero()), self.config.classes),
            "trainings": [
                {
                    "trial": training.record.number,
                    "seed": training.seed,
                    "epoch": int(training.record.best["epoch"]) if training.record.best else None,
                    "validation": training.validation,
                    "test": {key: value for key, value in training.flat().items() if not key.startswith("class/")},
                    "weights_sha256": training.weights_sha256,
                }
                for training in self.trainings
            ],
            "latency": {**vars(self.latency), "real_time_factor": self.latency.real_time_factor},
            "parameters": self.parameters,
            "bytes": self.bytes,
        }

    def cells(self) -> list[str]:
        """Its row under `COLUMNS`."""
        scores, bounds = table_of(self.per_recording, COMPARED)
        mean, deviation = self.spread(COMPARED)["SELD"]
        return [
            str(self.trial),
            self.config.fusion.name,
            str(self.config.fusion.depth),
            f"{self.config.optimiser.lr:.1e}",
            f"{statistics.fmean(self.validation):.3f}",
            *(f"{scores[name]:.1f}" if name == "LE" else f"{scores[name]:.3f}" for name in SCORE_NAMES),
            f"{bounds['SELD'][0]:.3f} to {bounds['SELD'][1]:.3f}" if bounds else "-",
            f"{mean:.3f} +- {deviation:.3f} ({len(self.trainings)})" if len(self.trainings) > 1 else "-",
            f"{self.parameters:,}",
            f"{self.bytes / 1e6:.1f}",
            f"{self.latency.ms:.0f}",
        ]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two finalists on the same recordings: the first's SELD minus the second's, each summed over its trainings."""

    first: int
    second: int
    difference: float
    low: float
    high: float

    def __str__(self) -> str:
        verdict = "no difference that these recordings show"
        if self.high < 0 or self.low > 0:
            better, worse = (self.first, self.second) if self.high < 0 else (self.second, self.first)
            verdict = f"trial {better} is better than trial {worse}"
        told = f"SELD {self.difference:+.3f}, 95 % interval {self.low:+.3f} to {self.high:+.3f}"
        return f"trial {self.first} against trial {self.second}: {told}: {verdict}"


@dataclass(frozen=True, kw_only=True)
class Finals:
    """Everything there is to say, best finalist on validation first."""

    sweep: str
    name: str
    data_sha256: str
    trained_on: str
    """Its parts, with hours and hashes (`data.stores.mix.parts_text`)."""
    test_sha256: str
    finalists: list[Finalist]
    model: str
    """URI of the version that was registered."""
    url: str

    def comparisons(self) -> list[Comparison]:
        """Every pair, k (k - 1) / 2 of them; none on a single recording."""
        found = []
        for a, b in combinations(self.finalists, 2):
            if len(a.per_recording) < 2:
                continue
            spread = paired_difference(a.per_recording, b.per_recording, COMPARED)
            seld = SCORE_NAMES.index("SELD")
            values = (float(array[seld]) for array in (spread.value, spread.low, spread.high))
            found.append(Comparison(first=a.trial, second=b.trial, **dict(zip(_BOUNDS, values, strict=True))))
        return found

    def gains(self) -> list[Gain]:
        """Of every finalist that was trained with its eyes, or ears, closed."""
        return [gain for finalist in self.finalists for gain in finalist.gains]

    def as_json(self) -> dict[str, Any]:
        winner = self.finalists[0]
        return {
            "sweep": self.sweep,
            "finals": self.name,
            "protocol": PROTOCOL,
            "data": self.data_sha256,
            "trained_on": self.trained_on,
            "test": self.test_sha256,
            "recordings": len(winner.per_recording),
            "finalists": [finalist.as_json() for finalist in self.finalists],
            "comparisons": [vars(comparison) for comparison in self.comparisons()],
            "gains": [asdict(gain) for gain in self.gains()],
            "chosen": {"trial": winner.trial, "seed": winner.best.seed, "by": f"validation {OBJECTIVE}"},
            "model": self.model,
            "mlflow": self.url,
        }

    def lines(self) -> list[str]:
        """What stands under the table."""
        winner = self.finalists[0]
        processor = winner.latency.processor
        return [
            *map(str, self.comparisons()),
            *(line for gain in self.gains() for line in (str(gain), gain.by_kind)),
            f"chosen   trial {winner.trial}, seed {winner.best.seed}, by validation alone: SELD "
            f"{winner.best.flat()[f'{COMPARED}/SELD']:.3f} of that one training",
            f"test     {len(winner.per_recording)} recordings, read once; ms a {winner.latency.window_s:g} s window "
            f"on one core of {processor}",
            f"data     {self.trained_on}",
            *self.registered(),
        ]

    def registered(self) -> list[str]:
        """Where it all is, and what comes next."""
        return [
            f"MLflow   {self.url}",
            f"model    {self.model} is {self.model.split('/')[1]}@finalist",
            f'next     seldtune promote {self.model.split("/")[1]} --reason "..."',
        ]

    def markdown(self) -> str:
        """The report that is kept: the table, comparisons, and the winner's classes."""
        winner = self.finalists[0]
        classes = class_figures(sum(winner.per_recording, SeldCounts.zero()), winner.config.classes)
        rows = [
            [name, f"{f['F']:.3f}", f"{f['LE']:.1f}", f"{f['LR']:.3f}", f"{f['tracks'] / len(winner.trainings):.0f}"]
            for name, f in classes.items()
        ]
        averages = [
            [average, *(f"{value:.3f}" for value in table_of(winner.per_recording, average)[0].values())]
            for average in AVERAGES
        ]
        parts = [
            f"# Finals of {self.sweep}",
            f"Test split {self.test_sha256[:12]}, {len(winner.per_recording)} recordings, read once. Scores: mean over "
            "the classes present, trainings summed; interval: 95 %, over recordings; seeds: SELD, mean and "
            f"standard deviation over trainings. Order and choice: validation. Trained on {self.trained_on}.",
            markdown_table(COLUMNS, [finalist.cells() for finalist in self.finalists]),
            "\n".join(f"- {said}" for said in [*self.comparisons(), *self.gains()])
            or "One finalist: nothing to compare.",
            *(
                part
                for gain in self.gains()
                for part in (f"## {gain.title.capitalize()}", markdown_table(GAINED, gain.parts()))
            ),
            f"## Trial {winner.trial}",
            markdown_table(("average", *SCORE_NAMES), averages),
            markdown_table(("class", "F", "LE", "LR", "tracks"), rows),
        ]
        return "\n\n".join(parts) + "\n"


_BOUNDS = ("difference", "low", "high")


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """The deviation is that of a sample; 0 for a single value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def terminal_table(finals: Finals) -> Table:
    """The finalists for a terminal of about 130 columns; the chosen one stands out."""
    title = f"Finals of {finals.sweep} ({PROTOCOL}; classes present)"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "fusion" else "right", no_wrap=True)
    for index, finalist in enumerate(finals.finalists):
        table.add_row(*finalist.cells(), style="bold" if index == 0 else "")
    return table


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
