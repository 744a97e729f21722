"""Why a trial failed, told apart by what can be done about it.

diverged        its loss was no number any more: try again from the checkpoint with other random numbers
out of memory   of the GPU, the process or the node: the same again would fail again
node lost       a process or its node is gone, by no fault of the trial: the same again, from the checkpoint
raised          anything else: a mistake, which the same again would repeat
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import ray.exceptions
from ray.train import WorkerGroupError
from ray.train.v2.api.exceptions import ControllerError, PreemptionError

from data.errors import WaitedInVain
from infra.record.trials import DIVERGED, FAILURES, NODE_LOST, OUT_OF_MEMORY, RAISED
from trainables.training.reports import Diverged

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

_GONE = (
    ray.exceptions.RayActorError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.LocalRayletDiedError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.ObjectLostError,
    PreemptionError,
)

_GONE_NAMES = "|".join(
    (*(gone.__name__ for gone in _GONE), "ActorDiedError", "ActorUnavailableError", "OwnerDiedError")
)

# How the same shows in the text of an error: by the class that was raised, at the start of a line as Python and Ray
# write it, or by words that nothing else uses. Ray's guesses at why a process died are not among them.
_PATTERNS = {
    DIVERGED: rf"^(\w+\.)*{Diverged.__name__}\b",
    OUT_OF_MEMORY: (
        r"^(\w+\.)*(OutOfMemoryError|MemoryError)\b|CUDA out of memory|can't allocate memory|"
        r"due to (the )?node running low on memory|memory usage threshold"
    ),
    NODE_LOST: rf"^(\w+\.)*({_GONE_NAMES})\b|^The actor (died unexpectedly|is dead because)|its node has died",
}


def error_of(trial: Trial) -> BaseException | str:
    """What a trial of Tune failed of, or its text, as callbacks see it in `on_trial_error`."""
    # `Trial.get_pickled_error` and `get_error` look on storage, where Tune has not put the files yet. These were
    # written by this process, below the folder of its own Ray session.
    if trial.pickled_error_file and Path(trial.pickled_error_file).exists():
        return cast(BaseException, pickle.loads(Path(trial.pickled_error_file).read_bytes()))
    if trial.error_file:
        return Path(trial.error_file).read_text()
    # Tune writes one of them for everything but a process that vanished.
    return ray.exceptions.RayActorError(error_msg="its process vanished")


def kind_of(error: BaseException | str) -> str:
    """One of `infra.record.trials.FAILURES`, from an error or from its text.

    Where workers of one trial failed differently, the first of these counts: the others only lost their partner.
    """
    kinds = {_kind_of_text(error)} if isinstance(error, str) else {_kind_of_one(one) for one in _all(error)}
    return next(kind for kind in FAILURES if kind in kinds)


def waited_in_vain(error: BaseException | str) -> WaitedInVain | None:
    """Whether it is that a service was away for as long as the operator allows; as the driver would have raised it."""
    if isinstance(error, str):
        return None
    found = next((one for one in _all(error) if isinstance(one, WaitedInVain)), None)
    return None if found is None else WaitedInVain(str(getattr(found, "cause", None) or found).splitlines()[0])


def _all(error: BaseException) -> Iterator[BaseException]:
    """The error, what it wraps, and what failed in each worker of a group."""
    yield error
    if isinstance(error, WorkerGroupError):
        inner = [*error.worker_failures.values()]
    elif isinstance(error, ControllerError):
        inner = [error.controller_failure]
    else:
        inner = [error.cause] if isinstance(error, ray.exceptions.RayTaskError) else [error.__cause__]
    for one in inner:
        if isinstance(one, BaseException) and one is not error:
            yield from _all(one)


def _kind_of_one(error: BaseException) -> str:
    kind = _kind_of_text(f"{type(error).__name__}: {error}")
    return NODE_LOST if kind == RAISED and isinstance(error, _GONE) else kind


def _kind_of_text(text: str) -> str:
    found = (kind for kind, pattern in _PATTERNS.items() if re.search(pattern, text, re.MULTILINE))
    return next(found, RAISED)
