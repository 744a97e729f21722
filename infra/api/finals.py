"""Trainings whose models are put to the test split: finals of a sweep, the published systems."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from infra.api.asked import Fixed, fields_of, names, num_bytes, text_of
from infra.api.services import settled
from infra.console.arguments import parse_model
from infra.stack.settings import Settings

if TYPE_CHECKING:
    from infra.finals.report import Finals
    from infra.finals.table1 import SystemScores
    from search_spaces.presets import Pretrained


def finals(
    sweep: str,
    *,
    best: int = 3,
    seeds: int = 3,
    controls: Sequence[str] = (),
    name: str | None = None,
    model: str = "seld",
    data: Path | str | None = None,
    workers: int = 1,
    cpus: int | None = None,
    gpus: float | None = None,
    concurrency: int | None = None,
    data_memory: str | int | None = None,
    plugins: Path | str | Sequence[Path | str] | None = None,
    settings: Settings | None = None,
) -> Finals | None:
    """Train the best configs of a sweep again with several seeds, read the test split once, and register the best.

    Args:
        sweep: name of a sweep that has ended.
        best: distinct configs to take, by validation.
        seeds: trainings of each.
        controls: `eyes`, `ears`: each finalist that hears and sees is trained with them closed as well, which says what
            pictures, or sound, are worth to it.
        name: of the finals; `<sweep>-finals` if not given.
        model: name in the registry for the best model.
        data: the sweep's chunk store; the one that it was on if not given.
        workers, cpus, gpus, concurrency: of a training, as for `sweep`.
        data_memory: for decoded data: bytes, or `20GB`; what does not fit is streamed.
        plugins: the Python files of parts that the sweep was run with.

    Returns:
        What they found; None when interrupted: the same call goes on from there.

    Raises:
        UserError: no such sweep, one that has not ended, or other data than its own.
        RuntimeError: no finalist could be trained.
    """
    parse_model(model)
    settings = settled(settings)
    from data.registry.plugins import load_plugins
    from infra.finals.finals import FinalsRequest, run_finals

    request = FinalsRequest(
        sweep=sweep,
        best=best,
        seeds=seeds,
        controls=tuple(names(controls)),
        name=name,
        model=model,
        data=text_of(data, "data"),
        workers=workers,
        cpus_per_worker=cpus,
        gpus_per_worker=gpus,
        concurrency=concurrency,
        data_memory_bytes=None if data_memory is None else num_bytes(data_memory),
        plugins=load_plugins(names(plugins or ())),
    )
    return run_finals(request, settings)


def table1(
    data: Path | str,
    *,
    name: str = "table1",
    only: Sequence[str] | None = None,
    size: str = "paper",
    faithful: bool = False,
    pretrained: Pretrained | None = None,
    seeds: int = 1,
    cpus: int | None = None,
    gpus: float | None = None,
    concurrency: int | None = None,
    fixed: Fixed | None = None,
    plugins: Path | str | Sequence[Path | str] | None = None,
    settings: Settings | None = None,
) -> list[SystemScores] | None:
    """Train the published systems on a store and score them on its test split, in the form of the paper's Table 1.

    Args:
        data: chunk store: a folder or s3://bucket/path.
        name: of the table; an existing one is continued.
        only: presets; all if not given.
        size: paper, or small: minutes on a laptop.
        faithful: as the authors' code, in place of as their paper.
        pretrained: URIs of pre-trained weights; random ones if not given.
        seeds: trainings of each system.
        fixed: fields that every system takes.
        plugins: Python files that register parts of your own (`data.registry.plugins`).

    Returns:
        A row a system; None when interrupted: the same call goes on from there.

    Raises:
        UserError: an unknown preset, or a sweep that cannot run.
    """
    settings = settled(settings)
    from data.registry.plugins import load_plugins
    from infra.finals.table1 import Table1Request, default_presets, run_table1
    from search_spaces.presets import Pretrained

    weights = pretrained or Pretrained()
    request = Table1Request(
        data=text_of(data, "data"),
        name=name,
        presets=only or default_presets(weights),
        size=size,
        faithful=faithful,
        pretrained=weights,
        seeds=seeds,
        cpus_per_worker=cpus,
        gpus_per_worker=gpus,
        concurrency=concurrency,
        fixed=fields_of(fixed),
        plugins=load_plugins(names(plugins or ())),
    )
    return run_table1(request, settings)


def recipe(
    data: Path | str,
    *,
    synthetic: Path | str | None = None,
    added_share: float = 0.0,
    name: str = "paper",
    only: Sequence[str] | None = None,
    size: str = "paper",
    faithful: bool = True,
    pretrained: Pretrained | None = None,
    seeds: int = 1,
    cpus: int | None = None,
    gpus: float | None = None,
    concurrency: int | None = None,
    fixed: Fixed | None = None,
    plugins: Path | str | Sequence[Path | str] | None = None,
    settings: Settings | None = None,
) -> list[SystemScores] | None:
    """The paper's recipe from end to end: synthetic scenes, an audio encoder that learns on them, Table 1 from it.

    Args:
        data: the target: the chunk store that systems are fine-tuned and scored on.
        synthetic: the store that the audio encoder learns on; scenes are made for it if not given.
        added_share: of the fine-tuning's windows, the share that is synthetic.
        name: of all that it makes: `<name>-synthetic`, `-pretraining`, `-mixed`, `-table1`.
        only, size, faithful, pretrained, seeds, fixed, plugins: as for `table1`; `pretrained` of visual encoders.

    Returns:
        A row a system; None when interrupted: the same call goes on from there.

    Raises:
        UserError: a store is none, an unknown preset, or a sweep that cannot run.
        RuntimeError: the audio encoder could not be trained.
    """
    settings = settled(settings)
    from data.registry.plugins import load_plugins
    from infra.finals.recipe import RecipeRequest, run_recipe
    from infra.finals.table1 import Table1Request
    from search_spaces.presets import Pretrained
    from search_spaces.table1 import ROWS

    table = Table1Request(
        data=text_of(data, "data"),
        name=name,
        presets=only or ROWS,
        size=size,
        faithful=faithful,
        pretrained=pretrained or Pretrained(),
        seeds=seeds,
        cpus_per_worker=cpus,
        gpus_per_worker=gpus,
        concurrency=concurrency,
        fixed=fields_of(fixed),
        plugins=load_plugins(names(plugins or ())),
    )
    request = RecipeRequest(table=table, synthetic=text_of(synthetic, "synthetic"), added_share=added_share)
    return run_recipe(request, settings)
