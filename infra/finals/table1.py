"""Table 1 of the paper on a store of one's own: every published system trained alike, then scored on the test split.

Each system's best epoch is chosen on validation, and only that model sees the test split, once: its counts are kept
beside the sweep. Systems that share their inputs are one sweep for each seed; interrupting loses what a sweep loses.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

from data import storage
from data.errors import UserError
from data.fields import check_plain
from data.registry.plugins import Plugin
from data.stores.mix import parts_text
from infra.finals.held_out import SPLIT, held_out
from infra.stack.settings import Settings
from infra.sweep.outcome import SweepOutcome
from infra.sweep.request import SweepRequest
from infra.sweep.run import run_sweep
from search_spaces.presets import PRESETS, Pretrained
from search_spaces.space import PRESET, SearchSpace
from search_spaces.table1 import groups, table1_space
from trainables.config.tree import from_dict
from trainables.networks.model import count_parameters
from trainables.scores.metrics import Average, SeldCounts, pooled
from trainables.scores.recordings import table_of

logger = logging.getLogger(f"seldtune.{__name__}")

BOXES_PRESET = "dcase2023-audio_visual"
AVERAGES: tuple[Average, ...] = ("macro", "micro")


@dataclass(frozen=True, kw_only=True)
class Table1Request:
    """What the user asked for."""

    data: str
    name: str = "table1"
    presets: Sequence[str]
    size: str = "paper"
    faithful: bool = False
    pretrained: Pretrained = field(default_factory=Pretrained)
    seeds: int = 1
    cpus_per_worker: int | None = None
    gpus_per_worker: float | None = None
    concurrency: int | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)
    plugins: tuple[Plugin, ...] = ()
    trained_on: tuple[str, ...] = ()
    """What a reader of the table has to know of that; nothing: what the store says of itself."""

    def __post_init__(self) -> None:
        check_plain(self)
        if self.seeds < 1:
            raise UserError(f"--seeds {self.seeds}: has to be 1 or more")

    def trainings(self, space: SearchSpace, name: str, data: str, seed: int = 0) -> SweepRequest:
        """A sweep that trains every point of a space in full, as was asked."""
        return SweepRequest(
            space=space,
            name=name,
            data=data,
            cpus_per_worker=self.cpus_per_worker,
            gpus_per_worker=self.gpus_per_worker,
            concurrency=self.concurrency,
            stopper="none",
            seed=seed,
            fixed=self.fixed,
            plugins=self.plugins,
        )


@dataclass(frozen=True, kw_only=True)
class SystemScores:
    """A row of the table: one system, its counts summed over the seeds."""

    preset: str
    parameters: int
    seeds: int
    scores: dict[str, dict[str, float]]
    """By average, then by score; F and LR as shares, LE in degrees."""
    intervals: dict[str, dict[str, tuple[float, float]]]
    """The same with the jackknife's 95 % bounds; empty where the split has a single recording."""
    trained_on: tuple[str, ...]
    """With hours and hashes."""

    def as_json(self) -> dict[str, Any]:
        preset = PRESETS[self.preset]
        return {
            "preset": self.preset,
            "visual": preset.visual,
            "fusion": preset.fusion,
            "parameters": self.parameters,
            "seeds": self.seeds,
            **self.scores,
            "intervals": self.intervals,
            "trained_on": self.trained_on,
            "published": preset.published,
        }


def default_presets(pretrained: Pretrained) -> list[str]:
    """Every published system, but for the one that reads boxes where there are none."""
    if pretrained.boxes or pretrained.detector:
        return list(PRESETS)
    logger.warning("%s is left out: it needs --boxes or --detector-weights", BOXES_PRESET)
    return [name for name in PRESETS if name != BOXES_PRESET]


def run_table1(request: Table1Request, settings: Settings) -> list[SystemScores] | None:
    """Train and score the systems; nothing when interrupted: the same call goes on from there.

    Writes `<root>/sweeps/<name>/table1.{md,csv,json}` and attaches them to the sweeps' runs in MLflow.

    Raises:
        UserError: an unknown preset, or a sweep that cannot run; see `run_sweep`.
    """
    counts: dict[str, list[list[SeldCounts]]] = {}
    parameters: dict[str, int] = {}
    with ExitStack() as opened:
        outcomes = []
        for number, names in enumerate(groups(request.presets, request.size)):
            space = table1_space(names, request.size, request.faithful, request.pretrained)
            for seed in range(request.seeds):
                asked = request.trainings(space, f"{request.name}-{number}-{seed}", request.data, seed)
                outcome = opened.enter_context(run_sweep(asked, settings))
                outcomes.append(outcome)
                if not outcome.finished:
                    return None
                for record, tested in held_out(outcome, settings):
                    preset = record.params[PRESET]
                    counts.setdefault(preset, []).append(tested.counts)
                    parameters[preset] = count_parameters(from_dict(record.config))
        trained_on = request.trained_on or (f"training: {parts_text(outcomes[0].store)}",)
        rows = [
            _system(preset, counts[preset], parameters[preset], trained_on)
            for preset in request.presets
            if preset in counts
        ]
        _write(request, rows, outcomes, settings)
    return rows


def _system(
    preset: str, per_seed: list[list[SeldCounts]], parameters: int, trained_on: tuple[str, ...]
) -> SystemScores:
    per_recording = pooled(per_seed)
    tables = {average: table_of(per_recording, average) for average in AVERAGES}
    return SystemScores(
        preset=preset,
        parameters=parameters,
        seeds=len(per_seed),
        scores={average: scores for average, (scores, _) in tables.items()},
        intervals={average: bounds for average, (_, bounds) in tables.items() if bounds},
        trained_on=trained_on,
    )


def _write(request: Table1Request, rows: list[SystemScores], outcomes: list[SweepOutcome], settings: Settings) -> None:
    document = {
        "data": outcomes[0].store.manifest.sha256,
        "split": SPLIT,
        "size": request.size,
        "faithful": request.faithful,
        "systems": [row.as_json() for row in rows],
    }
    files = {"table1.md": markdown(rows), "table1.json": json.dumps(document, indent=2)}
    for name, text in files.items():
        storage.write_bytes(f"{settings.root}/sweeps/{request.name}/{name}", text.encode())
        for outcome in outcomes:
            outcome.tracker.log_text(name, text)


_MACRO = ("ER", "F", "LE", "LR", "SELD")
HEADINGS = ("visual", "fusion", *_MACRO, "micro F", "LE", "LR", "paper ER", *_MACRO[1:])


def _cells(row: SystemScores) -> list[str]:
    preset = PRESETS[row.preset]
    macro, micro = row.scores["macro"], row.scores["micro"]
    cells = [preset.visual, preset.fusion, f"{macro['ER']:.2f}", *_percent_deg_percent(macro), f"{macro['SELD']:.2f}"]
    cells += _percent_deg_percent(micro)
    if preset.published is None:
        return [*cells, *["-"] * 5]
    formats = {"ER": ".2f", "F": ".1f", "LE": ".1f", "LR": ".1f", "SELD": ".2f"}
    return [*cells, *(f"{preset.published[name]:{spec}}" for name, spec in formats.items())]


def _percent_deg_percent(scores: Mapping[str, float]) -> list[str]:
    return [f"{100 * scores['F']:.1f}", f"{scores['LE']:.1f}", f"{100 * scores['LR']:.1f}"]


def markdown(rows: Sequence[SystemScores]) -> str:
    """The table in the paper's form: macro, micro beside it, and what was published for STARSS23's dev-test."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|" + "---|" * len(HEADINGS)]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in rows]
    told = "".join(f"\n- {line}" for line in (rows[0].trained_on if rows else ()))
    return "\n".join(lines) + f"\n\nF and LR in percent, LE in degrees; ER to SELD macro. Trained on:\n{told}\n"


def terminal_table(rows: Sequence[SystemScores], title: str) -> Table:
    """The same for a terminal."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for index, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="left" if index < 2 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*_cells(row))
    return table
