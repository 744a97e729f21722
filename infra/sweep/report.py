"""What a sweep found, as a table and a picture: in the terminal, and attached to its run in MLflow."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from infra.console.palette import COLOURS
from infra.record.trials import TrialRecord, best_trial
from infra.search.objectives import SELD, pareto_front, values_of
from trainables.config import FUSIONS
from trainables.config.tree import from_dict
from trainables.networks.model import count_parameters
from trainables.scores.metrics import SCORE_NAMES
from trainables.training.reports import OBJECTIVE

COLUMNS = ("trial", "fusion", "depth", "schedule", "lr", "epochs", "state", *SCORE_NAMES, "parameters", "seconds")
OBJECTIVE_AVERAGE = OBJECTIVE.split("/")[0]


def rows_of_table(records: list[TrialRecord]) -> list[dict[str, Any]]:
    """One row per trial, best first; scores are those of the trial's best epoch, over the classes present."""
    rows = []
    for record in records:
        config, best = from_dict(record.config), record.best
        rows.append(
            {
                "trial": record.number,
                "fusion": config.fusion.name,
                "depth": config.fusion.depth,
                "schedule": config.schedule.name,
                "lr": config.optimiser.lr,
                "epochs": len(record.reports),
                "state": record.state,
                **{name: best[f"{OBJECTIVE_AVERAGE}/{name}"] if best else None for name in SCORE_NAMES},
                "parameters": count_parameters(config),
                "seconds": record.seconds,
            }
        )
    return sorted(rows, key=lambda row: (row["SELD"] is None, row["SELD"], row["trial"]))


def front_of(records: Iterable[TrialRecord], objectives: Sequence[str]) -> list[dict[str, float]]:
    """What a sweep with several objectives found: `trial` and each objective, best score first; else an empty list."""
    if len(objectives) < 2:
        return []
    front = pareto_front(records, objectives)
    return [
        {"trial": record.number, **dict(zip(objectives, values_of(record, objectives) or (), strict=True))}
        for record in front
    ]


def front_lines(front: Sequence[Mapping[str, float]]) -> list[str]:
    """The front for a terminal, a line a trial."""
    lines = []
    for index, point in enumerate(front):
        said = ", ".join(_objective_text(name, value) for name, value in point.items() if name != "trial")
        lines.append(f"{'' if index else 'front':<8} trial {int(point['trial'])}: {said}")
    return lines


def _objective_text(name: str, value: float) -> str:
    if name == SELD:
        return f"SELD {value:.3f}"
    return f"{name} {value:.1f} ms" if name == "latency" else f"{name} {value:,.0f}"


def terminal_table(rows: list[dict[str, Any]], title: str) -> Table:
    """The table for a terminal of about 110 columns; the best trial stands out."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in ("fusion", "schedule", "state") else "right", no_wrap=True)
    for index, row in enumerate(rows):
        table.add_row(*(_text(column, row[column]) for column in COLUMNS), style="bold" if index == 0 else "")
    return table


def markdown_table(rows: list[dict[str, Any]]) -> str:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(_text(column, row[column]) for column in COLUMNS) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def csv_table(rows: list[dict[str, Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def plot_sweep(records: list[TrialRecord], path: Path, title: str) -> None:
    """Left: the objective of every trial over its epochs. Right: the best of each fusion, trial by trial."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    curves, strip = figure.subplots(1, 2, width_ratios=(3, 2))
    colours = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(FUSIONS)}
    winner = best_trial(records)
    present = [name for name in FUSIONS if any(r.config["fusion"]["name"] == name for r in records)]
    for record in records:
        name = record.config["fusion"]["name"]
        if record.best is None:
            continue
        epochs = [report["epoch"] for report in record.reports]
        values = [report[OBJECTIVE] for report in record.reports]
        bold = winner is not None and record.number == winner.number
        curves.plot(epochs, values, color=colours[name], linewidth=2.5 if bold else 1.1, alpha=1.0 if bold else 0.7)
        curves.plot(epochs[-1], values[-1], marker="o", markersize=4, color=colours[name])
        strip.plot(record.best[OBJECTIVE], present.index(name), "o", color=colours[name], alpha=0.8)
        strip.annotate(
            str(record.number),
            (record.best[OBJECTIVE], present.index(name)),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    for name in present:
        curves.plot([], [], color=colours[name], label=name)
    curves.xaxis.get_major_locator().set_params(integer=True)
    curves.set(xlabel="epoch", ylabel="validation SELD (smaller is better)")
    curves.legend(frameon=False)
    strip.set_yticks(range(len(present)), present)
    strip.set_ylim(len(present) - 0.5, -0.5)
    strip.set(xlabel="best validation SELD, by trial number")
    for axes in (curves, strip):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    figure.savefig(path, dpi=120)


def _text(column: str, value: Any) -> str:
    if value is None:
        return "-"
    if column == "parameters":
        return f"{value:,}"
    if column == "lr":
        return f"{value:.1e}"
    if column in ("LE", "seconds"):
        return f"{value:.1f}"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
