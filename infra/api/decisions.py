"""Which variant of a sweep is better, with a stated probability of being wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from infra.api.asked import names, num_bytes, seconds, text_of
from infra.api.services import settled
from infra.console.arguments import parse_model
from infra.stack.settings import Settings

if TYPE_CHECKING:
    from infra.finals.decide import Decided, DecisionRequest
    from infra.finals.preview import Preview


class DecisionOptions(TypedDict, total=False):
    """What a decision takes besides the sweep."""

    by: str
    """What variants differ in: fusion, visual, audio, schedule or depth."""
    reference: str | None
    """The variant that each other one is set against; each against each if not given."""
    margin: float
    """SELD within which a difference does not matter: 0.02."""
    seeds: int
    """Trainings of a variant at most, 2 or more: 8."""
    alpha: float
    """Probability that any of the verdicts is wrong: 0.05."""
    budget: str | float | None
    """No further round begins after it: seconds, or `15m`."""
    name: str | None
    """Of the decision; `<sweep>-decide` if not given."""
    model: str
    """Name in the registry for the best model."""
    data: Path | str | None
    """The sweep's chunk store; the one that it was on if not given."""
    workers: int
    """Ray Train workers of a training."""
    cpus: int | None
    """CPUs of a worker."""
    gpus: float | None
    """GPUs of a worker."""
    concurrency: int | None
    """Trainings at a time; as many as fit if not given."""
    data_memory: str | int | None
    """For decoded data: bytes, or `20GB`; what does not fit is streamed."""
    plugins: Path | str | Sequence[Path | str] | None
    """The Python files of parts that the sweep was run with."""


def decide(sweep: str, *, settings: Settings | None = None, **options: Unpack[DecisionOptions]) -> Decided | None:
    """Train the best config of each variant with new seeds until it is clear which is better, or that none is.

    Args:
        sweep: name of a sweep that has ended.
        options: by, reference, margin, seeds, alpha, budget, name, model, data, workers, cpus, gpus, concurrency,
            data_memory and plugins (`DecisionOptions`).

    Returns:
        The verdicts, and the finals that the trainings make; None when interrupted: the same call goes on from there.

    Raises:
        UserError: no such sweep, one that has not ended, nothing to decide between, other data than its own, or another
            question than the one that this decision was begun with.
        RuntimeError: no config could be trained.
    """
    settings = settled(settings)
    request = _request(sweep, options)
    from infra.finals.decide import run_decide

    return run_decide(request, settings)


def plan_decision(sweep: str, *, settings: Settings | None = None, **options: Unpack[DecisionOptions]) -> Preview:
    """What `decide` would take, and how many seeds differences take; nothing is trained or written.

    Raises:
        UserError: as `decide`, before it trains.
    """
    settings = settled(settings, ("s3",))
    request = _request(sweep, options)
    from infra.finals.preview import preview

    return preview(request, settings)


def _request(sweep: str, options: DecisionOptions) -> DecisionRequest:
    from data.registry.plugins import load_plugins
    from infra.finals.decide import DecisionRequest
    from infra.finals.decision import Question

    budget, data_memory = options.get("budget"), options.get("data_memory")
    usual = Question()
    return DecisionRequest(
        sweep=sweep,
        question=Question(
            by=options.get("by", usual.by),
            reference=options.get("reference"),
            margin=options.get("margin", usual.margin),
            most_seeds=options.get("seeds", usual.most_seeds),
            alpha=options.get("alpha", usual.alpha),
        ),
        budget_s=None if budget is None else seconds(budget),
        name=options.get("name"),
        model=parse_model(options.get("model", "seld")),
        data=text_of(options.get("data"), "data"),
        workers=options.get("workers", 1),
        cpus_per_worker=options.get("cpus"),
        gpus_per_worker=options.get("gpus"),
        concurrency=options.get("concurrency"),
        data_memory_bytes=None if data_memory is None else num_bytes(data_memory),
        plugins=load_plugins(names(options.get("plugins") or ())),
    )
