"""`seldtune decide`: which variant of a sweep is better, with a stated probability of being wrong."""

from __future__ import annotations

from typing import Annotated

import typer

from infra.commands.options import (
    CpusOption,
    DataMemoryOption,
    GpusOption,
    ModelNameOption,
    PluginOption,
    SearchedDataOption,
    TrainingsAtATimeOption,
    TrainingWorkersOption,
)
from infra.console.output import EXIT_INTERRUPTED, JsonOption, say


def decide(
    sweep: Annotated[str, typer.Argument(help="Name of a sweep that has ended.")],
    by: Annotated[str, typer.Option(help="What variants differ in: fusion, visual, audio, schedule or depth.")] = (
        "fusion"
    ),
    reference: Annotated[
        str | None, typer.Option(help="Set each other variant against this one; each against each if not given.")
    ] = None,
    margin: Annotated[float, typer.Option(help="SELD within which a difference does not matter.")] = 0.02,
    seeds: Annotated[int, typer.Option(help="Trainings of a variant at most, 2 or more.")] = 8,
    alpha: Annotated[float, typer.Option(help="Probability that any of the verdicts is wrong.")] = 0.05,
    budget: Annotated[
        str | None, typer.Option(help="No further round begins after it: 90s, 15m, 12h; none if not given.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what it would take, and what seeds would tell.")] = (
        False
    ),
    name: Annotated[str | None, typer.Option(help="Of the decision; <sweep>-decide if not given.")] = None,
    model: ModelNameOption = "seld",
    data: SearchedDataOption = None,
    workers: TrainingWorkersOption = 1,
    cpus: CpusOption = None,
    gpus: GpusOption = None,
    concurrency: TrainingsAtATimeOption = None,
    data_memory: DataMemoryOption = None,
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train the best config of each variant with new seeds until it is clear which is better, or that none is.

    Seeds are added only where something is open; the test split decides, and looking at it after each seed is paid for.
    The same command goes on after a crash or Ctrl-C. Example: `seldtune decide quickstart --reference audio_only`
    """
    from infra.api import decisions

    options = decisions.DecisionOptions(
        by=by,
        reference=reference,
        margin=margin,
        seeds=seeds,
        alpha=alpha,
        budget=budget,
        name=name,
        model=model,
        data=data,
        workers=workers,
        cpus=cpus,
        gpus=gpus,
        concurrency=concurrency,
        data_memory=data_memory,
        plugins=plugin,
    )
    found = decisions.plan_decision(sweep, **options) if plan else decisions.decide(sweep, **options)
    if found is None:
        raise typer.Exit(EXIT_INTERRUPTED)
    say(found.as_json(), "\n".join(found.lines()), as_json=as_json)
