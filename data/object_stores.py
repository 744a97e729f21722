"""Clients of object stores: one way to make them for the whole project, and what their errors mean.

A store is named by the scheme of its URIs and reached through fsspec. Who asks is said by the environment, as each
store's own library reads it: for S3 AWS_ENDPOINT_URL (any S3 service), AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_REGION, AWS_PROFILE. Listings are never cached: other processes write to the same place at the same time.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

from data.errors import Unavailable, UserError
from data.patience import insist

T = TypeVar("T")

CONNECT_TIMEOUT_S = 3
READ_TIMEOUT_S = 20


@dataclass(frozen=True)
class Access:
    """An S3 service and its keys, in place of those of the environment."""

    endpoint_url: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class StoreKind:
    """What is known of the stores behind one scheme."""

    service: Callable[[], str]
    """Who is asked, in words."""
    make: Callable[[Access | None], Any]
    """Makes a client, an fsspec file system. ImportError where its library is not installed."""
    explain: Callable[[str, str, Exception], Exception]
    """What an error means for a URI and who was asked; the error itself where it says nothing of the store."""
    errors: Callable[[], tuple[type[Exception], ...]]
    """What its library raises."""
    variables: tuple[str, ...]
    """What of the environment decides who asks: with another value there is another client."""
    extra: str | None = None
    """The extra of this project that installs the library; None where it is always there."""


def scheme_of(uri: str) -> str | None:
    """The scheme of a URI on an object store, None for a local path. UserError for any other scheme."""
    scheme, separator, _ = uri.partition("://")
    if not separator or scheme == "file":
        return None
    if scheme not in KINDS:
        raise UserError(
            f"{uri!r}: unknown scheme {scheme!r}; use a local path, s3://bucket/path, gs://bucket/path or "
            "az://container/path"
        )
    return scheme


def split_uri(uri: str) -> tuple[str, str]:
    """`s3://bucket/a/b` -> ("bucket", "a/b"); UserError where the bucket is missing."""
    scheme, _, path = uri.partition("://")
    bucket, _, key = path.partition("/")
    if not bucket:
        raise UserError(f"{uri!r} names no bucket; write {scheme}://bucket/path")
    return bucket, key


def service_of(uri: str) -> str:
    """Who is asked for a URI: an endpoint or a name."""
    return KINDS[scheme_of(uri) or ""].service()


def s3_endpoint() -> str | None:
    """The S3 service of the environment, None for Amazon's."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def filesystem(uri: str, access: Access | None = None) -> Any:
    """This process's client for a URI: an fsspec file system without caches.

    Args:
        access: an S3 service that is not the environment's.

    Raises:
        UserError: the client needs an extra that is not installed, or cannot be made.
    """
    scheme = scheme_of(uri)
    if scheme is None:
        raise ValueError(f"{uri} is on no object store")
    kind = KINDS[scheme]
    environment = tuple(os.environ.get(name) for name in kind.variables)
    try:
        with errors(uri, access):
            # Sockets must not be shared with a forked child, hence the process id.
            return _client(scheme, access, os.getpid(), environment)
    except ImportError as error:
        if kind.extra is None:
            raise
        raise UserError(f"{uri} needs the extra `{kind.extra}`: pip install 'seldtune[{kind.extra}]'") from error


@lru_cache(maxsize=4)
def _client(scheme: str, access: Access | None, _pid: int, _environment: tuple[str | None, ...]) -> Any:
    return KINDS[scheme].make(access)


def arrow_filesystem(uri: str) -> Any:
    """A pyarrow file system for a URI, for libraries that take no other. It holds no secret and can be pickled.

    For S3 it is pyarrow's own client, which keeps its threads outside of Python.
    """
    if scheme_of(uri) == "s3":
        from data.s3 import arrow_client

        return arrow_client()
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    return PyFileSystem(FSSpecHandler(filesystem(uri)))


@contextmanager
def errors(uri: str, access: Access | None = None) -> Iterator[None]:
    """Turn what a store answers into FileNotFoundError, FileExistsError or a UserError that says what to change."""
    kind = KINDS[scheme_of(uri) or ""]
    try:
        yield
    except UserError:
        raise
    except kind.errors() as error:
        meaning = kind.explain(uri, access.endpoint_url if access else kind.service(), error)
        if meaning is error:
            raise
        raise meaning from error


def _explain(uri: str, service: str, error: Exception) -> Exception:
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(f"no file {uri}")
    if isinstance(error, FileExistsError):
        return error
    said = " ".join(str(error).split()) or type(error).__name__
    return Unavailable(
        f"{service} cannot be used for {uri}: {said}; check the address and the environment's credentials"
    )


def _make_s3(access: Access | None) -> Any:
    from data import s3

    return s3.client(access)


def _explain_s3(uri: str, service: str, error: Exception) -> Exception:
    from data import s3

    return s3.explain(uri, service, error)


def _s3_errors() -> tuple[type[Exception], ...]:
    from data import s3

    return s3.ERRORS


def by_protocol(protocol: str) -> Callable[[Access | None], Any]:
    """Makes the clients of a library that fsspec knows."""

    def make(_access: Access | None) -> Any:
        import fsspec

        return fsspec.filesystem(protocol, use_listings_cache=False, skip_instance_cache=True)

    return make


def _google_errors() -> tuple[type[Exception], ...]:
    from gcsfs.retry import HttpError
    from google.auth.exceptions import GoogleAuthError

    return HttpError, GoogleAuthError, OSError, ValueError


def _azure_errors() -> tuple[type[Exception], ...]:
    from azure.core.exceptions import AzureError

    return AzureError, OSError, ValueError


KINDS: dict[str, StoreKind] = {
    "s3": StoreKind(
        service=lambda: s3_endpoint() or "Amazon S3",
        make=_make_s3,
        explain=_explain_s3,
        errors=_s3_errors,
        variables=(
            "AWS_ENDPOINT_URL_S3",
            "AWS_ENDPOINT_URL",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "AWS_PROFILE",
            "AWS_REGION",
            "AWS_DEFAULT_REGION",
        ),
    ),
    "gs": StoreKind(
        service=lambda: "Google Cloud Storage",
        make=by_protocol("gs"),
        explain=_explain,
        errors=_google_errors,
        variables=("GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST"),
        extra="gcs",
    ),
    "az": StoreKind(
        service=lambda: "Azure Blob Storage",
        make=by_protocol("az"),
        explain=_explain,
        errors=_azure_errors,
        variables=("AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY"),
        extra="azure",
    ),
}


def ask(uri: str, call: Callable[[Any, str], T], access: Access | None = None, *, writing: bool = False) -> T:
    """What a call gives of the client for a URI and the URI's path in it; what goes wrong is explained.

    While the store is away it is called again (`data.patience`), so it has to be one that may be.
    """
    split_uri(uri)

    def attempt() -> T:
        files = filesystem(uri, access)
        with errors(uri, access):
            return call(files, files._strip_protocol(uri))

    service = access.endpoint_url if access else service_of(uri)
    return insist(f"{'writing to' if writing else 'reading from'} {service}", attempt)


class ObjectFile(io.RawIOBase):
    """An object as a seekable file. fsspec's own asks for the object's properties before it reads."""

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
        content: bytes = ask(self._uri, lambda files, path: files.cat_file(path, start=self._position, end=stop))
        self._position = stop
        return content
