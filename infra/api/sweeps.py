"""Sweeps: planned, run, watched and compared."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack, overload

from data.errors import UserError
from infra.api.asked import SweepOptions, names, sweep_request, text_of
from infra.api.services import settled
from infra.console.arguments import parse_model
from infra.stack.settings import Settings

if TYPE_CHECKING:
    from infra.comparison.compare import Comparison
    from infra.plan.plan import Plan
    from infra.stack.status import StackStatus
    from infra.sweep.conclude import Conclusion
    from infra.sweep.request import SweepRequest
    from infra.sweep.run import Screen
    from infra.watch.overview import Overview
    from infra.watch.reader import SweepReader
    from search_spaces.space import SearchSpace

logger = logging.getLogger(f"seldtune.{__name__}")


def plan(
    space: str | Path | SearchSpace,
    *,
    samples: int = 64,
    calibrate: bool = True,
    settings: Settings | None = None,
    **options: Unpack[SweepOptions],
) -> Plan:
    """What a sweep would take, and whether it can run; nothing is trained.

    Args:
        space: itself, its name, or the .py or .yaml file that says it.
        samples: configs that are drawn from the space.
        calibrate: measure the cluster's speed where it is not known; else assume one.
        options: as `sweep` takes them (`SweepOptions`).

    Returns:
        The plan; what makes the sweep impossible is in its `checks`, and `refused` says whether anything does.

    Raises:
        UserError: an unknown space, or an option in a form that it does not take.
    """
    if not isinstance(samples, int) or samples < 1:
        raise UserError(f"samples = {samples!r}: has to be a whole number from 1 on")
    settings = settled(settings, ())
    from infra.plan.plan import plan_space

    return plan_space(_request(space, settings, options), settings, samples=samples, measure=calibrate)


def sweep(
    space: str | Path | SearchSpace,
    *,
    model: str = "seld",
    screen: Screen | None = None,
    settings: Settings | None = None,
    **options: Unpack[SweepOptions],
) -> Conclusion | None:
    """Search a space: run trials, compare them, and register the best model as challenger.

    Args:
        space: itself, its name, or the .py or .yaml file that says it.
        model: name in the registry for the best model.
        screen: shows how it stands, in place of a logged line a report.
        options: name, data, trials, budget, gpu_hours, cpu_hours, least_gain, retries, workers, cpus, gpus,
            concurrency, data_memory, sampler, stopper, by, against, warm_start, seed, fixed and
            plugins (`SweepOptions`).

    Returns:
        What it found; None when it was interrupted: the same call goes on from there.

    Raises:
        UserError: it cannot be carried out as asked, or another process runs it; nothing was written then.
    """
    parse_model(model)
    settings = settled(settings)
    from infra.sweep.conclude import conclude
    from infra.sweep.run import run_sweep

    with run_sweep(_request(space, settings, options), settings, screen) as outcome:
        if outcome.finished:
            return conclude(outcome, model)
    logger.warning("interrupted; the same command goes on from here (`seldtune status %s`)", outcome.name)
    return None


def _request(space: str | Path | SearchSpace, settings: Settings, options: SweepOptions) -> SweepRequest:
    """What is asked, with models of MLflow that trials are to begin with where workers can read them."""
    from infra.models.own_weights import is_own
    from trainables.config.tree import leaves

    request = sweep_request(space, **options)
    if not any(is_own(value) for _, value in leaves(request.fixed)):
        return request
    from infra.models.import_weights import bring_own_weights

    return replace(request, fixed=bring_own_weights(request.fixed, settings.root))


@overload
def status(sweep: None = None, *, settings: Settings | None = None) -> StackStatus: ...
@overload
def status(sweep: str, *, settings: Settings | None = None) -> Overview: ...
def status(sweep: str | None = None, *, settings: Settings | None = None) -> StackStatus | Overview:
    """What of S3, MLflow and Ray runs where; or how a sweep stands, whoever runs it.

    Args:
        sweep: its name.

    Raises:
        UserError: there is no such sweep.
    """
    if sweep is not None:
        return reader(sweep, settings=settings).look()
    from infra.stack import embedded

    return embedded.status()


def reader(sweep: str, *, settings: Settings | None = None) -> SweepReader:
    """Looks at a sweep again and again.

    Raises:
        UserError: there is no such sweep.
    """
    settings = settled(settings, ("s3",))
    from infra.watch.reader import SweepReader

    return SweepReader(settings.root, sweep)


def compare(
    sweeps: str | Sequence[str],
    *,
    by: str = "fusion",
    reference: str | None = None,
    epochs: int | None = None,
    target: float | None = None,
    plugins: Path | str | Sequence[Path | str] | None = None,
    settings: Settings | None = None,
) -> Comparison:
    """Which variant of one or several sweeps is better, and how sure that is; nothing is written.

    Args:
        sweeps: names; several are taken together.
        by: what is compared: fusion, visual, audio, schedule or depth.
        reference: variant to test the others against; audio_only or none if it is there.
        epochs: compare after so many; as many as all trials have if not given.
        target: SELD score to reach; what the best tenth reached if not given.
        plugins: the Python files of parts that the sweeps were run with.

    Raises:
        UserError: there is no such sweep, or the sweeps cannot be compared so.
    """
    settings = settled(settings, ("s3",))
    from data.registry.plugins import load_plugins
    from infra.comparison.compare import compare as compare_loaded
    from infra.comparison.report import load_sweeps
    from search_spaces.space import check_grouping

    load_plugins(names(plugins or ()))
    check_grouping(by)
    loaded = load_sweeps(settings.root, names(sweeps), by)
    return compare_loaded(loaded, by=by, reference=reference, target=target, epochs=epochs)


@dataclass(frozen=True, kw_only=True)
class WrittenComparison:
    """Where a comparison was written."""

    page: str
    """A file that a browser shows without a network; tables lie beside it."""
    mlflow: list[str]
    """Pages of the runs that keep it too."""


def write_comparison(
    comparison: Comparison, out: Path | str | None = None, *, settings: Settings | None = None
) -> WrittenComparison:
    """Write a comparison as tables and a page, and keep them with each sweep's run in MLflow.

    Args:
        out: folder or s3:// for them; `./<sweep>-comparison` if not given.

    Raises:
        UserError: they cannot be written there.
    """
    settings = settled(settings, ("s3",))
    from infra.comparison.report import log_comparison, report_files, write_files

    files = report_files(comparison)
    page = write_files(files, text_of(out, "out") or f"{'-'.join(comparison.sweeps)}-comparison")
    return WrittenComparison(page=page, mlflow=log_comparison(comparison, files, settings.mlflow_tracking_uri))
