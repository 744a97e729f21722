"""What of a laptop's files a submitted sweep takes along: its space's file, its
plugins, and the code where the cluster has none.

They are copied to a folder of their own first, so that nothing else can slip in, and measured before they are sent.
"""

from __future__ import annotations

import fnmatch
import logging
import shutil
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import PathFinder
from pathlib import Path

from data.errors import UserError
from infra.provenance.checkout import PACKAGES, PRIVATE_FILES
from infra.provenance.secrets import secrets_of

logger = logging.getLogger(f"seldtune.{__name__}")

LARGEST_NAMED = 3


def stage(folder: Path, *, files: Sequence[str], code: bool, limit_bytes: int, environment: Mapping[str, str]) -> int:
    """Copy what is needed into the empty `folder`; how many bytes it is.

    Args:
        files: a user's own space and plugins; each is found by its name alone where it arrives.
        code: whether the project's packages go along.
        environment: whose secrets may be in no file.

    Raises:
        UserError: it is more than `limit_bytes`, a file holds a secret, has a module's name, or two have one name.
    """
    for file in map(Path, files):
        _refuse_hiding(file)
        if (folder / file.name).exists():
            raise UserError(f"two of the files to send are called {file.name}: give one another name")
        shutil.copyfile(file, folder / file.name)
    if code:
        checkout = Path(__file__).parents[2]
        for package in PACKAGES:
            for path in _source_files(checkout / package):
                target = folder / path.relative_to(checkout)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
    sizes = {path: path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}
    _check_size({str(path.relative_to(folder)): size for path, size in sizes.items()}, limit_bytes)
    secrets = [secret.encode() for secret in secrets_of(environment)]
    for path in sizes:
        content = path.read_bytes()
        if any(secret in content for secret in secrets):
            raise UserError(f"{path.relative_to(folder)} holds a secret of this environment: it is not sent; remove it")
    total = sum(sizes.values())
    if sizes:
        logger.info("sending %d files, %.2f MB", len(sizes), total / 1e6)
    return total


def _refuse_hiding(file: Path) -> None:
    """UserError where the file has the name of a module that a sweep may import.

    Ray puts a job's working directory before all else on the path of its processes, so that they would import the file
    in the module's place, whether the code is sent or installed there.
    """
    name, installed = file.stem, [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    taken = {*PACKAGES, *sys.stdlib_module_names}
    if file.suffix == ".py" and (name in taken or PathFinder.find_spec(name, installed)):
        raise UserError(f"{file} would hide the module {name!r} from the job: give it another name")


def _source_files(folder: Path) -> Iterator[Path]:
    """Files of a package, without hidden ones, byte code and those whose name says that they hold secrets."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name == "__pycache__" or path.is_symlink():
            continue
        if path.is_dir():
            yield from _source_files(path)
        elif path.suffix == ".py" or not any(fnmatch.fnmatch(path.name.lower(), one) for one in PRIVATE_FILES):
            yield path


def _check_size(files: Mapping[str, int], limit_bytes: int) -> None:
    total = sum(files.values())
    if total > limit_bytes:
        largest = sorted(files, key=lambda name: -files[name])[:LARGEST_NAMED]
        named = ", ".join(f"{name} ({files[name] / 1e6:.1f} MB)" for name in largest)
        raise UserError(
            f"{total / 1e6:.1f} MB would be sent, more than {limit_bytes / 1e6:g} MB; the largest: {named}. Move them "
            "elsewhere, or raise --max-upload"
        )
