"""Bytes under local paths and `s3://` URIs, and errors that say what is wrong with the place.

S3 is reached by the standard environment: AWS_ENDPOINT_URL (any S3 service), AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_REGION. Timeouts are short: an endpoint that does not answer is reported in seconds.
A write appears whole or not at all (locally by renaming, on S3 by a single put).
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from data.errors import UserError

CONNECT_TIMEOUT_S = 3
READ_TIMEOUT_S = 20

# What a full disk, a used-up quota and a limit on the size of files are called.
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

_CREDENTIAL_CODES = {
    "401",
    "403",
    "AccessDenied",
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
}

# Names under which local files are until they are whole.
_HALF_WRITTEN = ".*.tmp*"

# The condition does not hold, or another conditional write of the same name is under way.
_CONDITION_CODES = {"412", "409", "PreconditionFailed", "ConditionalRequestConflict"}


def is_s3(uri: str) -> bool:
    return uri.startswith("s3://")


def join(root: str, *parts: str) -> str:
    """`root` and the parts below it, whichever kind `root` is."""
    return "/".join([root.rstrip("/") if is_s3(root) or root != "/" else "", *parts])


def split_s3(uri: str) -> tuple[str, str]:
    """`s3://bucket/a/b` -> ("bucket", "a/b"); UserError where the bucket is missing."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not bucket:
        raise UserError(f"{uri!r} names no bucket; write s3://bucket/path")
    return bucket, key


def read_bytes(uri: str) -> bytes:
    """All bytes of a file; FileNotFoundError where there is none."""
    if not is_s3(uri):
        return _local(uri).read_bytes()
    bucket, key = split_s3(uri)
    with _s3_errors(uri):
        return _client().get_object(Bucket=bucket, Key=key)["Body"].read()


def write_bytes(uri: str, content: bytes) -> None:
    """Write or replace a file. Other readers see the old bytes or the new ones, never a part."""
    if is_s3(uri):
        bucket, key = split_s3(uri)
        with _s3_errors(uri):
            _client().put_object(Bucket=bucket, Key=key, Body=content)
        return
    with written_whole(_local(uri)) as temporary, open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_new(uri: str, content: bytes) -> None:
    """Write a file that must not be there yet, whole: of several writers at a time exactly one succeeds.

    On S3 it is a conditional put (`If-None-Match: *`), which Amazon S3 and SeaweedFS honour. A service that ignores the
    condition would let every writer win; a second put, which has to be refused, tells.

    Raises:
        FileExistsError: there is one already.
        UserError: the service ignores the condition.
    """
    if is_s3(uri):
        _put_new(uri, content)
        if not _is_there(uri, content):
            raise UserError(
                f"{_endpoint() or 'Amazon S3'} ignores If-None-Match, which {uri} cannot be written safely without; "
                "use a service that knows conditional writes, or a local folder"
            )
        return
    path = _local(uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A link appears with the content or not at all; a file opened exclusively is empty at first.
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.stem}.", suffix=f".tmp{path.suffix}") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        os.link(file.name, path)


def _put_new(uri: str, content: bytes) -> None:
    from botocore.exceptions import ClientError

    bucket, key = split_s3(uri)
    with _s3_errors(uri):
        try:
            _client().put_object(Bucket=bucket, Key=key, Body=content, IfNoneMatch="*")
        except ClientError as error:
            if str(error.response.get("Error", {}).get("Code", "")) not in _CONDITION_CODES:
                raise
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), uri) from error


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
    # The ending stays: some writers go by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose a folder that can be written") from error
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        free = shutil.disk_usage(path.parent).free
        raise UserError(
            f"cannot write {path}: {os.strerror(error.errno)} ({free / 1e6:.1f} MB free); make room there, or choose "
            "another place, and give the same command again"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def remove_half_written(folder: Path) -> None:
    """Delete what killed processes left below a local folder under the names of `written_whole`."""
    for path in folder.rglob(_HALF_WRITTEN):
        path.unlink(missing_ok=True)


def open_file(uri: str, size_bytes: int | None = None) -> BinaryIO:
    """A file to read parts of; on S3 each read asks for just its range. FileNotFoundError where there is none.

    `size_bytes` saves a question to S3 where the size is known.
    """
    if not is_s3(uri):
        return open(_local(uri), "rb")
    found = size(uri) if size_bytes is None else size_bytes
    if found is None:
        raise FileNotFoundError(f"no file {uri}")
    return _S3File(uri, found)  # type: ignore[return-value]


class _S3File(io.RawIOBase):
    """An object as a seekable file."""

    def __init__(self, uri: str, size_bytes: int) -> None:
        self._uri, self._size, self._position = uri, size_bytes, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, count: int = -1) -> bytes:
        stop = self._size if count < 0 else min(self._position + count, self._size)
        if stop <= self._position:
            return b""
        bucket, key = split_s3(self._uri)
        with _s3_errors(self._uri):
            wanted = f"bytes={self._position}-{stop - 1}"
            content = _client().get_object(Bucket=bucket, Key=key, Range=wanted)["Body"].read()
        self._position = stop
        return content


@contextmanager
def local_copy(uri: str) -> Iterator[Path]:
    """The path of a local file with the content of `uri`: itself where it is local, else a copy that is removed after.

    For libraries that read files by name. FileNotFoundError where there is none on S3.
    """
    if not is_s3(uri):
        yield _local(uri)
        return
    with tempfile.TemporaryDirectory(prefix="seldtune-") as folder:
        path = Path(folder) / uri.rpartition("/")[2]
        bucket, key = split_s3(uri)
        with _s3_errors(uri):
            _client().download_file(bucket, key, os.fspath(path))
        yield path


def size(uri: str) -> int | None:
    """Bytes in a file, or None where there is none."""
    if not is_s3(uri):
        path = _local(uri)
        return path.stat().st_size if path.is_file() else None
    bucket, key = split_s3(uri)
    try:
        with _s3_errors(uri):
            return int(_client().head_object(Bucket=bucket, Key=key)["ContentLength"])
    except FileNotFoundError:
        return None


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
    if not is_s3(root):
        base = _local(root)
        for path in base.rglob("*"):
            # Others may write and delete here meanwhile.
            with suppress(FileNotFoundError):
                found = path.stat()
                if stat.S_ISREG(found.st_mode) and (half_written or not path.match(_HALF_WRITTEN)):
                    yield path.relative_to(base).as_posix(), found.st_size, str(found.st_mtime_ns)
        return
    bucket, key = split_s3(root)
    prefix = key.rstrip("/") + "/" if key else ""
    with _s3_errors(root):
        pages = _client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for page in pages:
            for found in page.get("Contents", []):
                yield found["Key"][len(prefix) :], int(found["Size"]), found["ETag"].strip('"')


def delete(uri: str) -> None:
    """Remove a file; nothing happens where there is none."""
    if not is_s3(uri):
        _local(uri).unlink(missing_ok=True)
        return
    bucket, key = split_s3(uri)
    with _s3_errors(uri):
        _client().delete_object(Bucket=bucket, Key=key)


def check_root(uri: str) -> None:
    """UserError unless a store can live at `uri`.

    On S3 it tells apart a missing bucket, wrong credentials and an endpoint that does not answer. It must be called
    before a first write: some services make a missing bucket on the fly instead of refusing.
    """
    if not is_s3(uri):
        path = _local(uri)
        if path.exists() and not path.is_dir():
            raise UserError(f"{uri} is a file; a folder is needed")
        return
    bucket, _ = split_s3(uri)
    with _s3_errors(uri):
        _client().list_objects_v2(Bucket=bucket, MaxKeys=1)


def make_bucket(uri: str) -> None:
    """Make the bucket of an `s3://` URI; nothing happens where it is there already."""
    bucket, _ = split_s3(uri)
    with _s3_errors(uri):
        client = _client()
        try:
            client.create_bucket(Bucket=bucket)
        except (client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
            client.list_objects_v2(Bucket=bucket, MaxKeys=1)


def _local(uri: str) -> Path:
    scheme, separator, rest = uri.partition("://")
    if separator and scheme != "file":
        raise UserError(f"{uri!r}: unknown scheme {scheme!r}; use a local path or s3://bucket/path")
    return Path(rest if separator else uri)


def _endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def _client() -> Any:
    # Sockets must not be shared with a forked child, hence the process id; tests and workers change the environment.
    names = (
        "AWS_ENDPOINT_URL_S3",
        "AWS_ENDPOINT_URL",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
    )
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    return _make_client(os.getpid(), region, tuple(os.environ.get(name) for name in names))


@lru_cache(maxsize=4)
def _make_client(_pid: int, region: str, _environment: tuple[str | None, ...]) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"total_max_attempts": 2, "mode": "standard"},
        s3={"addressing_style": "path" if _endpoint() else "auto"},
        # Services other than Amazon's do not all know the newer checksum trailers.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.session.Session().client("s3", region_name=region, config=config)


@contextmanager
def _s3_errors(uri: str) -> Iterator[None]:
    """Turn what S3 answers into FileNotFoundError (no such file) or a UserError that says what to change."""
    from botocore import exceptions as botocore

    endpoint = _endpoint() or "Amazon S3"
    try:
        yield
    except botocore.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        bucket = split_s3(uri)[0]
        if code in ("NoSuchKey", "404"):
            raise FileNotFoundError(f"no file {uri}") from error
        if code == "NoSuchBucket":
            raise UserError(f"no bucket {bucket!r} at {endpoint}; make it or correct {uri}") from error
        if code in _CREDENTIAL_CODES:
            raise UserError(
                f"{endpoint} refuses the credentials for {uri} ({code}); "
                "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ) from error
        detail = error.response.get("Error", {}).get("Message", "")
        raise UserError(f"{endpoint} refuses {uri}: {code} {detail}".rstrip()) from error
    except (botocore.NoCredentialsError, botocore.PartialCredentialsError) as error:
        raise UserError(f"no credentials for {uri}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") from error
    except botocore.ParamValidationError as error:
        raise UserError(f"{uri} is no valid S3 URI: {' '.join(str(error).split())}") from error
    except (botocore.BotoCoreError, ValueError) as error:
        # No connection, or none that lasts; ValueError: an endpoint that is no URL at all.
        if isinstance(error, UserError):
            raise
        raise UserError(f"{endpoint} does not answer (asked for {uri}); check AWS_ENDPOINT_URL") from error
