"""A sweep on one screen: while it runs, in its driver's terminal, and from any other by `seldtune status SWEEP`."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from infra.record.claim import RUNNING
from infra.watch.overview import Overview, RunningTrial, Spending

if TYPE_CHECKING:
    from infra.watch.publish import SweepFeed

REFRESHES_PER_S = 0.5
"""About 10 ms of CPU each, for a thousand trials."""
SHOWN_TRIALS = 12
BAR_COLUMNS = 20
STATE_STYLES = {"running": "green", "finished": "bold", "interrupted": "yellow", "failed": "red", "gone": "red"}


def wants_live(*, as_json: bool) -> bool:
    """Whether a sweep of this process should be shown live: on a terminal, unless lines are wanted."""
    if as_json or os.environ.get("SELDTUNE_NO_LIVE") or logging.getLogger().isEnabledFor(logging.INFO):
        return False
    return sys.stderr.isatty() and not Console(stderr=True).is_dumb_terminal


@contextmanager
def live_screen(feed: SweepFeed) -> Iterator[None]:
    """Show a sweep on stderr while the context lasts; what is logged meanwhile, from WARNING on, stands above it."""
    console = Console(stderr=True, highlight=False)
    with (
        Live(
            console=console,
            get_renderable=lambda: render(feed.overview()),
            refresh_per_second=REFRESHES_PER_S,
            transient=True,
            redirect_stdout=False,
        ),
        _logging_above(console),
    ):
        yield


@contextmanager
def _logging_above(console: Console) -> Iterator[None]:
    """Log through the console, which prints above its live part and so does not tear it."""
    handler = _ConsoleHandler(console)
    loggers = [one for one in (logging.getLogger(), logging.getLogger("ray")) if one.handlers]
    before = [one.handlers for one in loggers]
    for one in loggers:
        handler.setFormatter(handler.formatter or one.handlers[0].formatter)
        one.handlers = [handler]
    try:
        yield
    finally:
        for one, handlers in zip(loggers, before, strict=True):
            one.handlers = handlers


class _ConsoleHandler(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.print(Text(self.format(record)))


def watch(look: Callable[[], Overview], every_s: float) -> None:
    """Show overviews on stdout until the sweep runs no more."""
    overview = look()
    with Live(render(overview), console=Console(highlight=False), auto_refresh=False) as live:
        while overview.state == RUNNING:
            time.sleep(every_s)
            overview = look()
            live.update(render(overview), refresh=True)


def render(overview: Overview) -> RenderableType:
    """The overview for a terminal of 80 columns or more."""
    facts, driver = overview.facts, overview.driver
    head = Text.assemble(
        ("sweep ", "dim"),
        (overview.name, "bold"),
        ("  space ", "dim"),
        facts.space,
        "  ",
        (overview.state, STATE_STYLES[overview.state]),
        (" since " if overview.state == RUNNING else " at ", "dim"),
        _clock(driver.since if overview.state == RUNNING else driver.beat),
        f"  pid {driver.pid} on {driver.host}",
    )
    lines = Table.grid(padding=(0, 1))
    lines.add_column(style="dim", no_wrap=True)
    lines.add_column(overflow="fold")
    lines.add_row("data", facts.data)
    for one in overview.spending:
        lines.add_row(one.unit if one.unit != "s" else "time", _bar(one))
    if overview.eta_s is not None:
        lines.add_row("ends in", f"about {_duration(overview.eta_s)}")
    counts = [f"{count} {state}" for state, count in overview.counts.items()]
    if overview.waiting:
        what = "waiting for resources" if overview.state == RUNNING else "to be continued"
        counts[0] += f" ({overview.waiting} {what})"
    lines.add_row("states", ", ".join(counts))
    if overview.best is not None:
        best = overview.best
        scores = "  ".join(f"{n} {v:.1f} deg" if n == "LE" else f"{n} {v:.3f}" for n, v in best.scores.items())
        words = ", ".join(
            f"{name} {f'{value:.3g}' if isinstance(value, float) else value}" for name, value in best.params.items()
        )
        lines.add_row("best", Text(f"trial {best.number} {best.label}, epoch {best.epoch}: {scores}", style="bold"))
        lines.add_row("", words)
    lines.add_row("cluster", _cluster(overview))
    if overview.state == RUNNING:
        for what, since in facts.away.items():
            for_long = _duration(max(0.0, time.time() - since))
            lines.add_row("waits", Text(f"{what} has not been possible for {for_long}", style="yellow"))
    for event in overview.events:
        lines.add_row(_clock(event.at), Text(f"trial {event.number} {event.text}", overflow="ellipsis", no_wrap=True))
    if step := overview.next_step():
        lines.add_row("next", step)
    running = [_running_table(overview.running)] if overview.running else []
    # On a line of its own, so that it is not broken and can be copied.
    return Group(head, *running, lines, Text(facts.mlflow, overflow="fold", style="dim"))


def _running_table(trials: list[RunningTrial]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("trial", "variant", "epoch", "loss", "SELD", "windows/s", "since", ""):
        table.add_column(heading, justify="left" if heading in ("variant", "") else "right", no_wrap=True)
    for trial in trials[:SHOWN_TRIALS]:
        table.add_row(
            str(trial.number),
            trial.label,
            f"{trial.epoch}/{trial.epochs}",
            *("-" if v is None else f"{v:{spec}}" for v, spec in _measured(trial)),
            _duration(trial.seconds),
            "" if trial.attempt == 1 else f"attempt {trial.attempt}",
        )
    if len(trials) > SHOWN_TRIALS:
        table.add_row("", f"and {len(trials) - SHOWN_TRIALS} more")
    return table


def _measured(trial: RunningTrial) -> list[tuple[float | None, str]]:
    return [(trial.train_loss, ".4f"), (trial.objective, ".3f"), (trial.windows_per_s, ".0f")]


def _bar(one: Spending) -> RenderableType:
    """A limit as a bar, what is spent of it, and what is left."""
    text = _duration if one.unit == "s" else (lambda value: f"{value:.0f}" if one.unit == "trials" else f"{value:.2f}")
    if one.limit is None:
        return f"{text(one.spent)} spent"
    row = Table.grid(padding=(0, 1))
    row.add_row(
        ProgressBar(total=one.limit, completed=min(one.spent, one.limit), width=BAR_COLUMNS),
        f"{text(one.spent)} of {text(one.limit)}, {text(max(0.0, one.limit - one.spent))} left",
    )
    return row


def _cluster(overview: Overview) -> str:
    use = overview.facts.cluster
    parts = [f"{name} {use[name][0]:g} of {use[name][1]:g}" for name in ("CPU", "GPU") if name in use]
    if "object_store_memory" in use:
        used, total = use["object_store_memory"]
        parts.append(f"object store {used / 1e9:.1f} of {total / 1e9:.1f} GB")
    parts.append(f"driver {overview.facts.rss_bytes / 1e6:.0f} MB")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    """`45 s`, `12 m 05 s`, `3 h 07 m`, `2 d 04 h`."""
    whole = round(seconds)
    for size, small, unit, small_unit in ((86_400, 3600, "d", "h"), (3600, 60, "h", "m"), (60, 1, "m", "s")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // small:02d} {small_unit}"
    return f"{whole} s"


def _clock(at: float) -> str:
    """Time of day, with the date when it is not today's."""
    then = time.localtime(at)
    same_day = then[:3] == time.localtime()[:3]
    return time.strftime("%H:%M:%S" if same_day else "%m-%d %H:%M", then)
