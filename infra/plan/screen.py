"""A plan on one screen."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from infra.costs.forecast import TrialForecast
from infra.plan.plan import Plan, hours
from infra.plan.preflight import OK, REFUSED, WARNING, Check

_STYLES = {OK: "green", WARNING: "yellow", REFUSED: "bold red"}


def show_plan(plan: Plan, console: Console) -> None:
    """The models by fusion, what they come to, and the checks."""
    if plan.trials:
        console.print(variants_table(plan))
        console.print(facts_table(plan))
    console.print(checks_table(plan.checks))


def variants_table(plan: Plan) -> Table:
    """One line for each fusion; ranges are over the sampled configs."""
    table = Table(title=f"Plan of sweep {plan.name}: {len(plan.trials)} of {plan.samples} sampled configs", box=None)
    table.title_justify = "left"
    table.add_column("fusion")
    for column in ("configs", "parameters", "memory GB", "GFLOPs/step", "steps", "s/epoch", "h/trial"):
        table.add_column(column, justify="right")
    for name, trials in plan.variants().items():
        table.add_row(name, str(len(trials)), *_variant(trials))
    if len(plan.variants()) > 1:
        table.add_row("all", str(len(plan.trials)), *_variant(plan.trials), style="bold")
    return table


def _variant(trials: Sequence[TrialForecast]) -> list[str]:
    return [
        _span([trial.cost.parameters / 1e6 for trial in trials], " M"),
        _span([trial.cost.memory_bytes / 1e9 for trial in trials]),
        _span([trial.cost.step_flops / 1e9 for trial in trials]),
        _span([trial.steps for trial in trials]),
        _span([trial.epoch_s for trial in trials]),
        _span([trial.seconds / 3600 for trial in trials]),
    ]


def _span(values: Sequence[float], unit: str = "") -> str:
    """The least and the most, or the one that both are written as."""
    low, high = _number(min(values)), _number(max(values))
    return f"{low}{unit}" if low == high else f"{low}-{high}{unit}"


def _number(value: float) -> str:
    """Counts as they are, the rest in three figures at most."""
    if isinstance(value, int):
        return f"{value:,}"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2g}"


def facts_table(plan: Plan) -> Table:
    """What the sweep comes to."""
    table = Table(box=None, show_header=False)
    table.add_column(style="bold")
    table.add_column()
    sweep, calibration = plan.sweep, plan.calibration
    if sweep is None or calibration is None:
        return table
    early = f"{sweep.epochs:.1f} epochs a trial with early stopping"
    table.add_row("trials", f"{sweep.trials}, {sweep.concurrency} at a time; about {early}")
    table.add_row("time", f"about {hours(sweep.wall_s)}; {hours(sweep.whole_wall_s)} if no trial is stopped")
    spent = f"{sweep.gpu_hours:,.1f} GPU-hours, " if sweep.gpus else ""
    table.add_row("cost", f"{spent}{sweep.cpu_hours:,.1f} CPU-hours; {sweep.stored_bytes / 1e9:,.2f} GB on storage")
    rate = calibration.flops_per_s / 1e9
    table.add_row(
        "speed",
        f"{calibration.source}: {_number(rate)} GFLOP/s a worker, "
        f"{1000 * calibration.step_overhead_s:.0f} ms a step beside",
    )
    return table


def checks_table(checks: Sequence[Check]) -> Table:
    """One line for each check."""
    table = Table(box=None, show_header=False)
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        table.add_row(Text(check.state, _STYLES[check.state]), check.name, Text(check.text))
    return table
