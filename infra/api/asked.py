"""What a user asks of a sweep, in Python's words or in the command line's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, overload

from data.durations import parse_duration_s
from data.errors import UserError
from data.names import near
from infra.console.arguments import parse_assignments, parse_bytes

if TYPE_CHECKING:
    from infra.record.retries import Retries
    from infra.sweep.request import SweepRequest
    from search_spaces.space import SearchSpace

Fixed = Mapping[str, Any] | str | Sequence[str]
"""Fields by dotted name, `{"training.epochs": 4}`, or as `--set` takes them, `["training.epochs=4"]` or one alone."""


class SweepOptions(TypedDict, total=False):
    """What `sweep` and `plan` take besides the space. `None` is what is not given: then the space decides."""

    name: str | None
    """Name of the sweep; an existing one is continued."""
    data: Path | str | None
    """Chunk store; `<root>/data/<space>` if not given."""
    trials: int | None
    """Trials in all."""
    budget: str | float | None
    """Wall-clock time in all: seconds, or `90s`, `15m`, `12h`, `7d`."""
    gpu_hours: float | None
    """GPU-hours that trials may hold in all, failed ones too."""
    cpu_hours: float | None
    """The same of CPUs."""
    least_gain: float | None
    """It ends when ten more trials are expected to better the best SELD by less."""
    retries: int | str | Retries | None
    """Times a failed trial is tried again: 2, or by kind: `2,diverged=0,node-lost=50`."""
    workers: int
    """Ray Train workers of a trial; two or more train with DDP."""
    cpus: int | None
    """CPUs of a worker."""
    gpus: float | None
    """GPUs of a worker."""
    concurrency: int | None
    """Trials at a time; as many as fit if not given."""
    data_memory: str | int | None
    """For decoded data: bytes, or `20GB`; what does not fit is streamed."""
    sampler: str
    """How trials are chosen: tpe, forecast, random, gp or nsga2."""
    stopper: str
    """Early stopping: asha, hyperband, median, forecast, pbt or none."""
    by: str | None
    """What early stopping is fair to: fusion, visual, audio, schedule or depth; what differs if not given."""
    against: Sequence[str] | None
    """Further objectives: parameters or latency."""
    warm_start: Sequence[str] | None
    """Earlier sweeps to learn from."""
    seed: int
    """Seed of the search and of every trial."""
    fixed: Fixed | None
    """Fields that every trial takes."""
    plugins: Path | str | Sequence[Path | str] | None
    """Python files that register parts of your own (`data.registry.plugins`)."""


def load_plugins(*files: Path | str) -> None:
    """Load files of parts, as `--plugin` does, before the first call that joins Ray: it hands them to every worker.

    Raises:
        UserError: a file is not there, is no Python, raises, registers a name that is taken, or registers nothing.
    """
    from data.registry.plugins import load_plugins as load

    load(names(files))


def sweep_request(space: str | Path | SearchSpace, **options: Unpack[SweepOptions]) -> SweepRequest:
    """What `run_sweep` and `plan_space` take.

    Args:
        space: itself, or its name or file (`find_space`).

    Raises:
        UserError: an unknown space, or an option of a type or in a form that it does not take.
        TypeError: an unknown option.
    """
    from data.registry.plugins import load_plugins
    from infra.record.retries import Retries, parse_retries
    from infra.sweep.request import SweepRequest
    from search_spaces.registry import find_space
    from search_spaces.space import SearchSpace

    def retries(value: int | str | Retries) -> Retries:
        return value if isinstance(value, Retries) else parse_retries(str(value))

    converted: dict[str, tuple[str, Callable[[Any], Any]]] = {
        "budget": ("budget_s", seconds),
        "retries": ("retries", retries),
        "cpus": ("cpus_per_worker", _same),
        "gpus": ("gpus_per_worker", _same),
        "data_memory": ("data_memory_bytes", num_bytes),
        "against": ("against", names),
        "warm_start": ("warm_start", names),
        "fixed": ("fixed", fields_of),
        "plugins": ("plugins", _same),
    }
    # Before anything is looked up by its name.
    options["plugins"] = load_plugins(names(options.get("plugins") or ()))  # type: ignore[typeddict-item]
    values: dict[str, Any] = {"space": space if isinstance(space, SearchSpace) else find_space(text_of(space, "space"))}
    for option, value in options.items():
        if option not in SweepOptions.__annotations__:
            raise TypeError(f"{option!r} is no option of a sweep{near(option, SweepOptions.__annotations__)}")
        if value is not None:
            field, convert = converted.get(option, (option, _same))
            values[field] = convert(str(value) if isinstance(value, Path) else value)
    return SweepRequest(**values)


def _same(value: Any) -> Any:
    return value


def seconds(value: str | float) -> float:
    """`15m` or 900 -> 900. Raises UserError for a text of another form."""
    return parse_duration_s(value) if isinstance(value, str) else value


def num_bytes(value: str | int) -> int:
    """`20GB` or 20_000_000_000 -> the number. Raises UserError for a text of another form, or less than one."""
    if isinstance(value, str):
        return parse_bytes(value)
    if not isinstance(value, int) or value < 1:
        raise UserError(f"{value} bytes hold nothing; give a number of bytes, or e.g. 500MB")
    return value


@overload
def text_of(value: Path | str, name: str) -> str: ...
@overload
def text_of(value: Path | str | None, name: str) -> str | None: ...
def text_of(value: Path | str | None, name: str) -> str | None:
    """A path as text; text and `None` as they are. Raises UserError with the argument's name for anything else."""
    if value is not None and not isinstance(value, str | Path):
        raise UserError(f"{name} = {value!r}: has to be text or a path")
    return None if value is None else str(value)


def names(value: Path | str | Sequence[Path | str]) -> tuple[str, ...]:
    """Several names or paths, or one. Raises UserError for anything else."""
    several = [value] if isinstance(value, str | Path) else value
    if not isinstance(several, Sequence) or not all(isinstance(one, str | Path) for one in several):
        raise UserError(f"{value!r}: has to be a text or a path, or a list of such")
    return tuple(map(str, several))


def fields_of(value: Fixed | None) -> Mapping[str, Any]:
    """Fields by dotted name. Raises UserError for an assignment that is none, or a field whose name is no text."""
    if not isinstance(value, Mapping):
        return parse_assignments(names(value or ()))
    for name in value:
        if not isinstance(name, str):
            raise UserError(f"{name!r}: a field's name has to be text, e.g. 'training.epochs'")
    return value
