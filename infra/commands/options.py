"""Options that several commands share."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from infra.api import asked
from search_spaces.registry import SPACES

if TYPE_CHECKING:
    from infra.sweep.request import SweepRequest

PluginOption = Annotated[
    list[str] | None, typer.Option(help="A .py file that registers parts of your own; repeat for several.")
]
AmbisonicsOption = Annotated[
    Literal["ambix", "n3d", "fuma"],
    typer.Option(help="Channels, where the file does not say: W Y Z X in SN3D, in N3D, or W X Y Z as FuMa has them."),
]
ClassesOption = Annotated[
    str | None,
    typer.Option(
        help="YAML file that lists classes and what label files call them, or starss23, dcase2020, dcase2021."
    ),
]
CpusOption = Annotated[int | None, typer.Option(help="CPUs of a worker.")]
GpusOption = Annotated[float | None, typer.Option(help="GPUs of a worker.")]
DataMemoryOption = Annotated[
    str | None,
    typer.Option(envvar="SELDTUNE_DATA_MEMORY", help="For decoded data, e.g. 20GB; what does not fit is streamed."),
]
ModelNameOption = Annotated[str, typer.Option(help="Name in the registry for the best model.")]
SearchedDataOption = Annotated[
    str | None, typer.Option(help="Chunk store; the one that the sweep was on if not given.")
]
TrainingWorkersOption = Annotated[int, typer.Option(help="Ray Train workers of a training.")]
TrainingsAtATimeOption = Annotated[int | None, typer.Option(help="Trainings at a time; as many as fit if not given.")]
FaithfulOption = Annotated[bool, typer.Option("--faithful/--fixed", help="As the authors' code, or as their paper.")]


@dataclass(kw_only=True)
class SweepOptions:
    """What `sweep` is asked for, and so whatever speaks of a sweep before it runs."""

    space: Annotated[
        str, typer.Argument(help=f"Search space: {', '.join(SPACES)}, or a .py or .yaml file with your own.")
    ]
    name: Annotated[str | None, typer.Option(help="Name of the sweep; an existing one is continued.")] = None
    data: Annotated[str | None, typer.Option(help="Chunk store; <root>/data/<space> if not given.")] = None
    trials: Annotated[int | None, typer.Option(help="Trials in all.")] = None
    budget: Annotated[str | None, typer.Option(help="Wall-clock time in all: 90s, 15m, 12h, 7d.")] = None
    gpu_hours: Annotated[float | None, typer.Option(help="GPU-hours that trials may hold in all, failed ones too.")] = (
        None
    )
    cpu_hours: Annotated[float | None, typer.Option(help="The same of CPUs.")] = None
    least_gain: Annotated[
        float | None, typer.Option(help="Ends it when ten more trials are expected to gain less SELD, e.g. 0.002.")
    ] = None
    retries: Annotated[
        str | None,
        typer.Option(help="Times a failed trial is tried again: 2, or by kind: 2,diverged=0,node-lost=50."),
    ] = None
    workers: Annotated[int, typer.Option(help="Ray Train workers of a trial; two or more train with DDP.")] = 1
    cpus: CpusOption = None
    gpus: GpusOption = None
    concurrency: Annotated[int | None, typer.Option(help="Trials at a time; as many as fit if not given.")] = None
    data_memory: DataMemoryOption = None
    sampler: Annotated[str, typer.Option(help="How trials are chosen: tpe, forecast, random, gp or nsga2.")] = "tpe"
    stopper: Annotated[str, typer.Option(help="Early stopping: asha, hyperband, median, forecast, pbt or none.")] = (
        "asha"
    )
    by: Annotated[
        str | None, typer.Option(help="What early stopping is fair to: fusion, visual, audio, schedule or depth.")
    ] = None
    against: Annotated[list[str] | None, typer.Option(help="A second objective: parameters or latency.")] = None
    warm_start: Annotated[list[str] | None, typer.Option(help="An earlier sweep to learn from.")] = None
    seed: Annotated[int, typer.Option(help="Seed of the search and of every trial.")] = 0
    fix: Annotated[
        list[str] | None, typer.Option("--set", help="A field that every trial takes, e.g. training.epochs=4.")
    ] = None
    plugin: PluginOption = None

    def besides_space(self) -> asked.SweepOptions:
        """All but the space, as Python's `sweep` and `plan` take it."""
        values = vars(self).copy()
        del values["space"]
        values["fixed"], values["plugins"] = values.pop("fix"), values.pop("plugin")
        return cast(asked.SweepOptions, values)

    def request(self) -> SweepRequest:
        """The same as `run_sweep` takes it.

        Raises:
            UserError: an unknown space, or an option in another form than its help says.
        """
        return asked.sweep_request(self.space, **self.besides_space())

    def arguments(self) -> list[str]:
        """The words behind the command that say the same; what is as by default is left out."""
        hints = typing.get_type_hints(SweepOptions, include_extras=True)
        words: list[str] = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value == field.default or value in (None, []):
                continue
            (words_of,) = hints[field.name].__metadata__
            if isinstance(words_of, typer.models.ArgumentInfo):
                words.append(str(value))
                continue
            flag = words_of.default if isinstance(words_of.default, str) else f"--{field.name.replace('_', '-')}"
            for one in value if isinstance(value, list) else [value]:
                words += [flag, str(one)]
        return words


def with_sweep_options(command: Callable[..., None], *, space: Any = inspect.Parameter.empty) -> Callable[..., None]:
    """A command whose first parameter is a `SweepOptions`, as typer sees it: with each of its fields as an option.

    Args:
        space: what it is where none is given; nothing: one has to be.
    """
    hints = typing.get_type_hints(SweepOptions, include_extras=True)
    names = [field.name for field in dataclasses.fields(SweepOptions)]

    @functools.wraps(command)
    def called(**given: Any) -> None:
        command(SweepOptions(**{name: given.pop(name) for name in names}), **given)

    parameters = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=space if field.default is dataclasses.MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in dataclasses.fields(SweepOptions)
    ]
    own_hints = typing.get_type_hints(command, include_extras=True)
    own = list(inspect.signature(command).parameters.values())[1:]
    parameters += [p.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=own_hints[p.name]) for p in own]
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    del called.__wrapped__
    return called
