"""A comparison as tables: for the terminal, as Markdown, and as CSV with every figure unrounded."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from infra.comparison.compare import Comparison
from infra.comparison.cost import SearchCost
from infra.comparison.variants import Variant
from search_spaces.space import GROUPINGS
from trainables.scores.flat import AVERAGES
from trainables.scores.metrics import SCORE_NAMES

WIDTH = 118
"""Columns of the terminal table at most, with the names of variants there are today."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table for people."""

    title: str
    explained: str
    right: bool = True


COLUMNS = (
    Column(title="trials", explained="all trials of the variant"),
    Column(title="done", explained="trained all their epochs"),
    Column(title="early", explained="stopped early"),
    Column(title="failed", explained="raised an error; not compared"),
    Column(title="best", explained="best SELD of any epoch of any trial"),
    Column(title="median", explained="of the configs' SELD at equal epochs"),
    Column(title="95 % interval", explained="of the median over configs, or of the mean over seeds"),
    Column(title="n", explained="configs or seeds that interval and test rest on"),
    Column(title="P(better)", explained="probability that one of this variant beats one of the reference"),
    Column(title="p", explained="of the rank test against the reference, corrected for all comparisons (Holm)"),
    Column(title="verdict", explained="at 5 %", right=False),
)


def variant_cells(variant: Variant) -> list[str]:
    """What stands under `COLUMNS`, rounded to what the figures bear."""
    interval, test = variant.interval, variant.test
    return [
        str(variant.trials),
        str(variant.complete),
        str(variant.stopped),
        str(variant.failed),
        score_text(None if variant.best is None else variant.best.best_score),
        score_text(variant.median),
        "too few" if interval is None else f"{interval.low:.3f} - {interval.high:.3f}",
        str(interval.n if interval else variant.configs),
        "-" if test is None else f"{test.superiority:.2f}",
        "-" if variant.p_holm is None else p_text(variant.p_holm),
        variant.verdict,
    ]


def terminal_table(comparison: Comparison) -> Table:
    """The main table, for a terminal of `WIDTH` columns."""
    title = f"{', '.join(comparison.sweeps)}: validation SELD after {comparison.epochs} epochs, classes present"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(comparison.by, no_wrap=True)
    for column in COLUMNS:
        table.add_column(column.title, justify="right" if column.right else "left", no_wrap=True)
    for index, variant in enumerate(comparison.variants):
        table.add_row(variant.name, *variant_cells(variant), style="bold" if index == 0 else "")
    return table


def summary_lines(comparison: Comparison) -> list[str]:
    """What stands under the terminal table."""
    reference = comparison.references[comparison.by]
    lines = [f"decided   {decision['sentence']}" for decision in comparison.decisions]
    if comparison.in_full:
        lines.append(f"in full   {in_full_text(comparison)}")
    lines.append(f"against   {reference}: {_tests_named(comparison)}")
    methods = dict.fromkeys(f"{v.interval.method}" for v in comparison.variants if v.interval)
    if methods:
        lines.append(f"interval  {', '.join(methods)}; n counts configs, or seeds of one config")
    if comparison.tie is None:
        everything = cost_text(comparison.cost)
        each = "; ".join(f"{v.name} {cost_text(v.cost)}" for v in comparison.variants)
        lines.append(f"to reach  SELD {comparison.target:.3f}: {everything} of all trials; {each}")
    else:
        lines.append(f"tied      {comparison.tie}")
    if comparison.importances:
        shares = ", ".join(f"{name} {value:.2f}" for name, value in comparison.importances[0].spread.items())
        lines.append(f"matters   {shares} (fANOVA over {comparison.importances[0].trials} trials)")
    if comparison.classes is not None:
        lines += [f"classes   {line}" for line in comparison.classes.lines()]
    return [*lines, *(f"note      {note}" for note in comparison.notes)]


def in_full_text(comparison: Comparison) -> str:
    """The best full trial of each variant, and what would say how sure that is."""
    scores = ", ".join(f"{variant} {score:.3f}" for variant, score in comparison.in_full.items())
    if comparison.decisions or len(comparison.in_full) < 2:
        return f"SELD {scores}"
    by = "" if comparison.by == "fusion" else f" --by {comparison.by}"
    return f"SELD {scores}; `seldtune decide {next(iter(comparison.sweeps))}{by}` says whether that holds"


def markdown(comparison: Comparison) -> str:
    """The whole report but its pictures."""
    parts = [f"# {' and '.join(comparison.sweeps)}: validation SELD after {comparison.epochs} epochs"]
    parts += [f"Decided: {decision['sentence']}" for decision in comparison.decisions]
    if comparison.in_full:
        parts.append(f"Trained in full: {in_full_text(comparison)}.")
    for grouping in ordered_groupings(comparison):
        rows = [[variant.name, *variant_cells(variant)] for variant in comparison.groups[grouping]]
        head = [grouping, *(column.title for column in COLUMNS)]
        aligned = [False, *(column.right for column in COLUMNS)]
        parts.append(f"Against {comparison.references[grouping]}:\n\n{_markdown_table(head, rows, aligned)}")
    classes = comparison.classes
    if classes is not None:
        head = [f"best of {comparison.by}", *(f"{a} {name}" for a in AVERAGES for name in SCORE_NAMES)]
        rows = [
            [variant, *(_score_cell(key.split("/")[1], value) for key, value in values.items())]
            for variant, values in classes.averages.items()
        ]
        parts.append(_markdown_table(head, rows, [False] + [True] * len(head[1:])))
        if classes.lines():
            parts.append("\n".join(classes.lines()))
    if comparison.tie is None:
        costs = [[v.name, cost_text(v.cost)] for v in comparison.variants]
        costs.append(["all trials", cost_text(comparison.cost)])
        head = [comparison.by, f"until SELD {comparison.target:.3f}"]
        parts.append(_markdown_table(head, costs, [False, False]))
    else:
        parts.append(f"Tied: {comparison.tie}.")
    parts.append("\n".join(f"- {note}" for note in comparison.notes))
    return "\n\n".join(parts) + "\n"


OUTLOOK = ("would end low", "would end at", "would end high")
"""Columns of what a trial that was stopped early would have come to."""


def trials_csv(comparison: Comparison) -> str:
    """A row for each trial with all its figures: the report of its best epoch, its parameters, and what it cost."""
    fronts = {name: {id(trial) for trial in front} for name, front in comparison.fronts.items()}
    rows = []
    for trial in comparison.trials:
        best = trial.record.best or {}
        rows.append(
            {
                "sweep": trial.sweep,
                "trial": trial.record.number,
                "state": trial.record.state,
                **trial.variants,
                "seed": trial.seed,
                "epochs": len(trial.record.reports),
                f"SELD after {comparison.epochs}": trial.score,
                "best_epoch": best.get("epoch"),
                **dict(zip(OUTLOOK, trial.outlook or (None,) * len(OUTLOOK), strict=True)),
                "parameters": trial.parameters,
                "seconds": trial.seconds,
                **{f"on front of {name}": id(trial) in members for name, members in fronts.items()},
                **{f"param.{name}": value for name, value in trial.record.params.items()},
                **{name: value for name, value in best.items() if "/" in name},
            }
        )
    return _csv(rows)


def variants_csv(comparison: Comparison) -> str:
    """A row for each variant of each grouping with all its figures."""
    rows = []
    for grouping, variants in comparison.groups.items():
        for variant in variants:
            best, interval, test, reached = variant.best, variant.interval, variant.test, variant.cost.reached
            scores = (best.record.best or {}) if best else {}
            counts = ("trials", "complete", "stopped", "failed", "running", "compared", "configs", "median")
            rows.append(
                {
                    "grouping": grouping,
                    "variant": variant.name,
                    "reference": comparison.references[grouping],
                    **{name: getattr(variant, name) for name in counts},
                    "low": interval and interval.low,
                    "high": interval and interval.high,
                    "interval_of": interval and interval.of,
                    "interval_method": interval and interval.method,
                    "test": test and test.method,
                    "statistic": test and test.statistic,
                    "superiority": test and test.superiority,
                    "p": test and test.p,
                    "p_holm": variant.p_holm,
                    "verdict": variant.verdict,
                    "epochs": variant.cost.epochs,
                    "seconds": variant.cost.seconds,
                    "target": comparison.target,
                    "epochs_to_target": reached and reached.epochs,
                    "seconds_to_target": reached and reached.seconds,
                    "best_trial": best and best.label,
                    **{name: value for name, value in scores.items() if "/" in name},
                }
            )
    return _csv(rows)


def ordered_groupings(comparison: Comparison) -> list[str]:
    """The main one first."""
    return [comparison.by, *(name for name in GROUPINGS if name in comparison.groups and name != comparison.by)]


def score_text(score: float | None) -> str:
    return "-" if score is None else f"{score:.3f}"


def p_text(p: float) -> str:
    """Two digits that mean something, and never a zero."""
    return "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def cost_text(cost: SearchCost) -> str:
    if cost.reached is None:
        return f"not in {cost.epochs:,} epochs"
    return f"{cost.reached.epochs:,} epochs, {duration_text(cost.reached.seconds)}"


def duration_text(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 600:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} h"


def _tests_named(comparison: Comparison) -> str:
    methods: dict[str, list[str]] = {}
    for variant in comparison.variants:
        if variant.test is not None:
            methods.setdefault(variant.test.method, []).append(variant.name)
    if not methods:
        return "nothing to test"
    return "; ".join(method if len(methods) == 1 else f"{method} ({', '.join(v)})" for method, v in methods.items())


def _score_cell(name: str, value: float) -> str:
    return f"{value:.1f}" if name == "LE" else f"{value:.3f}"


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]) -> str:
    rule = "|" + "|".join("---:" if side else "---" for side in right) + "|"
    return "\n".join(["| " + " | ".join(head) + " |", rule, *("| " + " | ".join(row) + " |" for row in rows)])


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    buffer = io.StringIO()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
