"""Bytes under local paths and the URIs of object stores, and errors that say what is wrong with the place.

Stores are reached as `data.object_stores` says. A write appears whole or not at all: locally by renaming, on an object
store because it shows no object before all of it is there.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from data import object_stores
from data.errors import Unavailable, UserError
from data.object_stores import Access
from data.patience import insist

# What a full disk, a used-up quota and a limit on the size of files are called.
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

# Names under which local files are until they are whole.
_HALF_WRITTEN = ".*.tmp*"


def is_s3(uri: str) -> bool:
    return uri.startswith("s3://")


def is_remote(uri: str) -> bool:
    """Whether it is on an object store, which every machine sees. UserError for a scheme that is not known."""
    return object_stores.scheme_of(uri) is not None


def absolute(place: str) -> str:
    """A folder or file for processes that work in another folder, as Ray's workers do; an address stays as it is."""
    return place if "://" in place else str(_local(place).absolute())


def join(root: str, *parts: str) -> str:
    """`root` and the parts below it, whichever kind `root` is."""
    return "/".join([root.rstrip("/") if "://" in root or root != "/" else "", *parts])


def read_bytes(uri: str) -> bytes:
    """All bytes of a file; FileNotFoundError where there is none."""
    if not is_remote(uri):
        return _local(uri).read_bytes()
    content: bytes = object_stores.ask(uri, lambda files, path: files.cat_file(path))
    return content


def write_bytes(uri: str, content: bytes) -> None:
    """Write or replace a file. Other readers see the old bytes or the new ones, never a part."""
    if is_remote(uri):
        object_stores.ask(uri, lambda files, path: files.pipe_file(path, content), writing=True)
        return

    def write() -> None:
        with written_whole(_local(uri)) as temporary, open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    insist(f"writing to {_local(uri).parent}", write)


def write_new(uri: str, content: bytes) -> None:
    """Write a file that must not be there yet, whole: of several writers at a time exactly one succeeds.

    On an object store it is a conditional put (S3: `If-None-Match: *`), which Amazon S3 and SeaweedFS honour. A service
    that ignores the condition would let every writer win; a second put, which has to be refused, tells.

    Raises:
        FileExistsError: there is one already.
        UserError: the service ignores the condition, or the folder cannot be written.
    """
    if is_remote(uri):
        _put_new(uri, content)
        if not _is_there(uri, content):
            raise UserError(
                f"{object_stores.service_of(uri)} ignores If-None-Match, which {uri} cannot be written safely without; "
                "use a service that knows conditional writes, or a local folder"
            )
        return
    path = _local(uri)
    # A link appears with the content or not at all; a file opened exclusively is empty at first.
    ending = f".tmp{path.suffix}"
    with _writing(path), tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.stem}.", suffix=ending) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        os.link(file.name, path)


def _put_new(uri: str, content: bytes) -> None:
    object_stores.ask(uri, lambda files, path: files.pipe_file(path, content, mode="create"), writing=True)


def _is_there(uri: str, content: bytes) -> bool:
    """Whether a put of a new file is refused, now that there is one."""
    try:
        _put_new(uri, content)
    except FileExistsError:
        return True
    return False


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A name to write a local file under, which becomes `path` when the block ends and is removed when it fails.

    UserError where the folder cannot be written or the disk is full.
    """
    # Other threads and hosts may write the same file. The ending stays: some writers go by it.
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.tmp{path.suffix}")
    try:
        with _writing(path):
            yield temporary
            os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """A block that writes a local file, in a folder that is made for it.

    UserError where the folder cannot be written or the disk is full.
    """
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from error
        yield
    except (PermissionError, NotADirectoryError, IsADirectoryError) as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose a folder that can be written") from error
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        free = shutil.disk_usage(path.parent).free
        raise Unavailable(
            f"cannot write {path}: {os.strerror(error.errno)} ({free / 1e6:.1f} MB free); make room there, or choose "
            "another place, and give the same command again"
        ) from error


def remove_half_written(folder: Path) -> None:
    """Delete what killed processes left below a local folder under the names of `written_whole`."""
    for path in folder.rglob(_HALF_WRITTEN):
        path.unlink(missing_ok=True)


def open_file(uri: str, size_bytes: int | None = None) -> BinaryIO:
    """A file to read parts of; on an object store each read asks for just its range.

    `size_bytes` saves a question to the store where the size is known. FileNotFoundError where there is no file.
    """
    if not is_remote(uri):
        return open(_local(uri), "rb")
    found = size(uri) if size_bytes is None else size_bytes
    if found is None:
        raise FileNotFoundError(f"no file {uri}")
    return object_stores.ObjectFile(uri, found)  # type: ignore[return-value]


@contextmanager
def local_copy(uri: str) -> Iterator[Path]:
    """The path of a local file with the content of `uri`: itself where it is local, else a copy that is removed after.

    For libraries that read files by name. FileNotFoundError where there is none on the store.
    """
    if not is_remote(uri):
        yield _local(uri)
        return
    with tempfile.TemporaryDirectory(prefix="seldtune-") as folder:
        copy = Path(folder) / uri.rpartition("/")[2]
        object_stores.ask(uri, lambda files, path: files.get_file(path, os.fspath(copy)))
        yield copy


def size(uri: str) -> int | None:
    """Bytes in a file, or None where there is none."""
    if not is_remote(uri):
        path = _local(uri)
        return path.stat().st_size if path.is_file() else None
    try:
        found = object_stores.ask(uri, lambda files, name: files.info(name))
    except FileNotFoundError:
        return None
    return int(found["size"]) if found["type"] == "file" else None


def exists(uri: str) -> bool:
    """Whether there is a file."""
    return size(uri) is not None


def list_files(root: str, half_written: bool = False) -> dict[str, int]:
    """Every file below `root`, at any depth: path relative to `root` -> bytes. Empty where there is nothing.

    Args:
        half_written: also local files that are still being written, or were when their writer was killed.
    """
    return {path: bytes_ for path, bytes_, _ in _walk(root, half_written)}


def list_versions(root: str) -> dict[str, str]:
    """The same files with something that changes when their content does: bytes, and time of change or ETag."""
    return {path: f"{bytes_}-{version}" for path, bytes_, version in _walk(root)}


def _walk(root: str, half_written: bool = False) -> Iterator[tuple[str, int, str]]:
    """Path relative to `root`, bytes, and time of change or ETag of every file below."""
    if not is_remote(root):
        base = _local(root)
        for path in _files_below(base):
            try:
                found = path.stat()
            except OSError as error:
                # Others may delete here meanwhile; `broken_links` tells of the links.
                if isinstance(error, FileNotFoundError) or path.is_symlink():
                    continue
                raise
            if stat.S_ISREG(found.st_mode) and (half_written or not path.match(_HALF_WRITTEN)):
                yield path.relative_to(base).as_posix(), found.st_size, str(found.st_mtime_ns)
        return
    try:
        name, below = object_stores.ask(root, lambda files, name: (name, files.find(name, detail=True)))
    except FileNotFoundError:
        return
    for file, entry in below.items():
        # What a store finds where there is nothing below may be a file of the name itself, and what ends in a slash
        # marks a folder: consoles write such keys, and pyarrow.
        if file.startswith(f"{name}/") and not file.endswith("/"):
            yield file[len(name) + 1 :], int(entry["size"]), _version(entry)


def _files_below(base: Path) -> Iterator[Path]:
    """Files at any depth, behind links to folders too: a part of a data set often lies on another disk.

    A link to a folder that it lies in itself is not followed.
    """
    for folder, below, names in os.walk(base, followlinks=True):
        below[:] = [name for name in below if not _leads_back(os.path.join(folder, name))]
        yield from (Path(folder, name) for name in names)


def _leads_back(path: str) -> bool:
    """Whether it is a link to a folder that it lies in, or that a link on the way to it does."""
    if not os.path.islink(path):
        return False
    target = f"{os.path.realpath(path)}/"
    return any(f"{os.path.realpath(folder)}/".startswith(target) for folder in Path(path).parents)


def broken_links(root: str) -> dict[str, str]:
    """Links below a local folder that lead nowhere: path relative to `root` -> where they point."""
    if is_remote(root):
        return {}
    base = _local(root)
    links = (path for path in _files_below(base) if path.is_symlink() and not path.exists())
    return {path.relative_to(base).as_posix(): os.readlink(path) for path in sorted(links)}


def list_folders(root: str) -> list[str]:
    """The names of the folders that lie in `root` itself, sorted; none where there is nothing."""
    try:
        if not is_remote(root):
            return sorted(path.name for path in _local(root).iterdir() if path.is_dir())
        there = object_stores.ask(root, lambda files, name: files.ls(name, detail=True))
    except FileNotFoundError:
        return []
    return sorted(entry["name"].rstrip("/").rpartition("/")[2] for entry in there if entry["type"] == "directory")


def _version(entry: Mapping[str, Any]) -> str:
    """What the store itself calls the content, else when it was written."""
    names = ("ETag", "etag", "last_modified", "created")
    return next((str(entry[name]).strip('"') for name in names if entry.get(name)), "")


def delete(uri: str) -> None:
    """Remove a file; nothing happens where there is none."""
    if not is_remote(uri):
        _local(uri).unlink(missing_ok=True)
        return
    with suppress(FileNotFoundError):
        object_stores.ask(uri, lambda files, path: files.rm_file(path), writing=True)


def check_root(uri: str) -> None:
    """UserError unless a store can live at `uri`.

    On an object store it tells apart a missing bucket, wrong credentials and an endpoint that does not answer. It must
    be called before a first write: some services make a missing bucket on the fly instead of refusing.
    """
    if not is_remote(uri):
        path = _local(uri)
        if path.exists() and not path.is_dir():
            raise UserError(f"{uri} is a file; a folder is needed")
        return
    bucket, _ = object_stores.split_uri(uri)
    try:
        object_stores.ask(uri, lambda files, _: files.info(bucket))
    except FileNotFoundError as error:
        raise UserError(f"no bucket {bucket!r} at {object_stores.service_of(uri)}; make it or correct {uri}") from error


def make_bucket(uri: str, access: Access | None = None) -> None:
    """Make the bucket of a URI; nothing happens where it is there already.

    Args:
        access: an S3 service that is not the environment's.
    """
    bucket, _ = object_stores.split_uri(uri)

    def make(files: Any, _: str) -> None:
        try:
            files.mkdir(bucket)
        except FileExistsError:
            files.info(bucket)

    object_stores.ask(uri, make, access, writing=True)


def _local(uri: str) -> Path:
    return Path(os.path.expanduser(uri.removeprefix("file://")))
