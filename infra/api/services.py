"""The services that a function works with, and the embedded stack that may give them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infra.stack import embedded
from infra.stack.home import find_home
from infra.stack.places import is_name
from infra.stack.settings import SERVICE_NAMES, Settings, load_settings


def settled(settings: Settings | None, need: Iterable[str] = SERVICE_NAMES) -> Settings:
    """These settings, or where there are none those of the environment and the embedded stack; exported either way.

    Args:
        need: services that have to be there where the settings are looked for.

    Raises:
        UserError: a needed service is neither in the environment nor running here.
    """
    found = load_settings(need) if settings is None else settings
    found.export()
    return found


def settled_for(settings: Settings | None, *places: Path | str | None) -> Settings:
    """`settled`, with an object store where one of the places lies on it, or is a name below the root."""
    remote = any(str(place).startswith("s3://") or (place and is_name(str(place))) for place in places)
    return settled(settings, ("s3",) if remote else ())


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What `down` did."""

    processes_ended: int
    home: str
    deleted: bool

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def down(*, purge: bool = False) -> Ended:
    """Stop the embedded stack and keep its data; a service of the environment is left alone.

    Args:
        purge: delete the stack's folder as well, with all runs, models and data in it.

    Raises:
        UserError: the folder to delete is no stack's.
    """
    home, ended = find_home(), embedded.down()
    return Ended(processes_ended=ended, home=str(home), deleted=(embedded.purge() if purge else None) is not None)
