"""The stack's home folder and the one private file in it that says what `seldtune up` started, and with which secrets.

The folder is for its owner alone (mode 0700) and so is the file (0600). The file is replaced as a whole, so that a
reader sees either the old state or the new one, and a crash in between leaves the old one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from data.errors import UserError
from data.fields import typed

HOME_NAME = ".seldtune"
STATE_NAME = "settings.json"
STATE_VERSION = 1


@dataclass
class ServiceRecord:
    """What is known of one service that this home has started."""

    ports: dict[str, int] = field(default_factory=dict)
    inputs: str = ""
    """Hash of everything the service was started with, so that a change is seen."""
    pid: int | None = None
    created: float | None = None
    """The process's start time, seconds since 1970: a pid alone may belong to someone else by now."""


@dataclass
class StackState:
    """The contents of the private file."""

    root: str | None = None
    """The root URI that `up` was last run with."""
    artifacts: dict[str, str] = field(default_factory=dict)
    """`destination` of MLflow's artifacts and the `endpoint` it is on: fixed by the first `up`, as runs refer to it."""
    buckets: list[str] = field(default_factory=list)
    """Buckets that are known to exist on the embedded object store."""
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    run_dir: str | None = None
    """A folder under /tmp for sockets and Ray's sessions: socket paths must stay below 108 bytes."""
    services: dict[str, ServiceRecord] = field(default_factory=dict)


def find_home(start: Path | None = None) -> Path:
    """The stack's home: $SELDTUNE_HOME, or the nearest `.seldtune` of ours at or above `start`, or `start/.seldtune`.

    A `.seldtune` that belongs to another user is passed over: its settings would be theirs.
    """
    named = os.environ.get("SELDTUNE_HOME")
    if named:
        return Path(os.path.expanduser(named)).absolute()
    start = (start or Path.cwd()).absolute()
    for folder in (start, *start.parents):
        candidate = folder / HOME_NAME
        try:
            if candidate.is_dir() and candidate.stat().st_uid == os.getuid():
                return candidate
        except OSError:
            continue
    return start / HOME_NAME


def create_home(home: Path) -> None:
    """Make the home folder, for its owner alone. Raises UserError where that cannot be."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        (home / "logs").mkdir(exist_ok=True)
        home.chmod(0o700)
    except OSError as error:
        raise UserError(
            f"cannot keep the stack in {home}: {error.strerror}; set SELDTUNE_HOME to a folder of yours"
        ) from error


def write_private(path: Path, text: str) -> None:
    """Replace `path` by `text` at once, readable by its owner alone."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp: mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def write_state(home: Path, state: StackState) -> None:
    """Write the private file of `home`."""
    write_private(home / STATE_NAME, json.dumps({"version": STATE_VERSION, **asdict(state)}, indent=1) + "\n")


def read_state(home: Path) -> StackState | None:
    """The private file of `home`, or None where no stack was ever started.

    Raises UserError when the file is not one that this version wrote.
    """
    path = home / STATE_NAME
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    try:
        fields: dict[str, Any] = json.loads(content)
        version = fields.pop("version")
        if version != STATE_VERSION:
            raise UserError(f"{path} has version {version}, this program reads {STATE_VERSION}: use its own program")
        services = {name: ServiceRecord(**_typed(ServiceRecord, of)) for name, of in fields.pop("services").items()}
        return StackState(**_typed(StackState, fields), services=services)
    except UserError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} is not a settings file of seldtune; move it away and run `seldtune up`") from error


def _typed(kind: type, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a dataclass, each of its type. Raises KeyError for an unknown one, TypeError for another type."""
    hints = get_type_hints(kind)
    return {name: typed(value, hints[name]) for name, value in fields.items()}


@contextlib.contextmanager
def locked(home: Path) -> Iterator[None]:
    """Keep two `up` or `down` of one home apart: the second waits for the first."""
    with open(home / "lock", "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
