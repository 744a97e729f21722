"""What a user asks of a sweep, in Python's words or in the command line's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from data.durations import parse_duration_s
from data.errors import UserError
from data.near import near
from infra.console.arguments import parse_assignments, parse_bytes

if TYPE_CHECKING:
    from infra.record.retries import Retries
    from infra.sweep.request import SweepRequest
    from search_spaces.space import SearchSpace

Fixed = Mapping[str, Any] | Sequence[str]
"""Fields by dotted name, `{"training.epochs": 4}`, or as `--set` takes them, `["training.epochs=4"]`."""


class SweepOptions(TypedDict, total=False):
    """What `sweep` and `plan` take besides the space. `None` is what is not given: then the space decides."""

    name: str | None
    """Name of the sweep; an existing one is continued."""
    data: str | None
    """Chunk store; `<root>/data/<space>` if not given."""
    trials: int | None
    """Trials in all."""
    budget: str | float | None
    """Wall-clock time in all: seconds, or `90s`, `15m`, `12h`, `7d`."""
    gpu_hours: float | None
    """GPU-hours that trials may hold in all, failed ones too."""
    cpu_hours: float | None
    """The same of CPUs."""
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
    """How trials are chosen: tpe, random, gp or nsga2."""
    stopper: str
    """Early stopping: asha, hyperband, median, pbt or none."""
    against: Sequence[str] | None
    """Further objectives: parameters or latency."""
    warm_start: Sequence[str] | None
    """Earlier sweeps to learn from."""
    seed: int
    """Seed of the search and of every trial."""
    fixed: Fixed | None
    """Fields that every trial takes."""
    plugins: str | Sequence[str] | None
    """Python files that register parts of your own (`data.registry.plugins`)."""


def sweep_request(space: str | SearchSpace, **options: Unpack[SweepOptions]) -> SweepRequest:
    """What `run_sweep` and `plan_space` take.

    Args:
        space: itself, or its name or file (`find_space`).

    Raises:
        UserError: an unknown space, or an option in a form that it does not take.
        TypeError: an unknown option.
    """
    from data.registry.plugins import load_plugins
    from infra.record.retries import Retries, parse_retries
    from infra.sweep.request import SweepRequest
    from search_spaces.registry import find_space

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
    values: dict[str, Any] = {"space": find_space(space) if isinstance(space, str) else space}
    for option, value in options.items():
        if option not in SweepOptions.__annotations__:
            raise TypeError(f"{option!r} is no option of a sweep{near(option, SweepOptions.__annotations__)}")
        if value is not None:
            field, convert = converted.get(option, (option, _same))
            values[field] = convert(value)
    return SweepRequest(**values)


def _same(value: Any) -> Any:
    return value


def seconds(value: str | float) -> float:
    """`15m` or 900 -> 900.0. Raises UserError for a text of another form."""
    return parse_duration_s(value) if isinstance(value, str) else float(value)


def num_bytes(value: str | int) -> int:
    """`20GB` or 20_000_000_000 -> the number. Raises UserError for a text of another form, or less than one."""
    if isinstance(value, str):
        return parse_bytes(value)
    if value < 1:
        raise UserError(f"{value} bytes hold nothing; give a number of bytes, or e.g. 500MB")
    return value


def names(value: str | Sequence[str]) -> tuple[str, ...]:
    """Several names, or one."""
    return (value,) if isinstance(value, str) else tuple(value)


def fields_of(value: Fixed | None) -> Mapping[str, Any]:
    """Fields by dotted name. Raises UserError for an assignment that is none."""
    return value if isinstance(value, Mapping) else parse_assignments(value or ())
