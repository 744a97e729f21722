"""A space of a user's own: a Python file that defines one `SearchSpace`."""

from __future__ import annotations

import functools
import runpy
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from data.errors import UserError
from data.registry.parts import forget, registered_in
from data.registry.user_code import FAILURES, said, where
from search_spaces.space import SearchSpace, Trial, source_identity
from trainables.config import TrialConfig

_MODULE = "seldtune_space"
"""What a file's code takes itself for."""


def python_space(path: str, known: Collection[SearchSpace] = ()) -> SearchSpace:
    """The one `SearchSpace` that a Python file defines, under whatever name; the file is run.

    What its function raises, or returns in place of a `TrialConfig`, becomes a UserError that names the file.

    Args:
        known: spaces of the project, which the file may import to start from.

    Raises:
        UserError: no such file, it raises when run, registers parts, or defines no space or several.
    """
    if not Path(path).is_file():
        raise UserError(f"search space {path!r}: there is no such file")
    try:
        identity = source_identity(path)
        namespace = runpy.run_path(path, run_name=_MODULE)
        registered = sorted(registered_in(_MODULE))
    except FAILURES as error:
        raise UserError(f"search space {where(path, error)}: {said(error)}") from error
    finally:
        forget(_MODULE)
    if registered:
        parts = ", ".join(f"{kind} {name!r}" for kind, name in registered)
        raise UserError(
            f"search space {path!r} registers {parts}, which no worker would know: put parts into a file of their own "
            "and give it with --plugin"
        )
    own = {
        name: value
        for name, value in namespace.items()
        if isinstance(value, SearchSpace) and not any(value is other for other in known)
    }
    if len(own) != 1:
        found = f"several ({', '.join(own)})" if own else "none"
        raise UserError(f"search space {path!r} has to define one, e.g. SPACE = SearchSpace(...); it defines {found}")
    (space,) = own.values()
    return replace(space, suggest=_guarded(space.suggest, path), identity=identity)


def _guarded(suggest: Callable[[Trial], TrialConfig], path: str) -> Callable[[Trial], TrialConfig]:
    @functools.wraps(suggest)
    def guarded(trial: Trial) -> TrialConfig:
        try:
            config = suggest(trial)
        except UserError:
            raise
        except FAILURES as error:
            raise UserError(f"search space {where(path, error)}: {said(error)}") from error
        if not isinstance(config, TrialConfig):
            raise UserError(f"search space {path!r}: its function has to return a TrialConfig, got {config!r}")
        return config

    return guarded
