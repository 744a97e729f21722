"""S3 by s3fs, and what S3 answers said so that it can be mended.

Imported when S3 is first asked for: s3fs brings aiohttp and botocore, half a second.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import io
import os
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from botocore import exceptions as botocore
from fsspec.asyn import sync_wrapper
from s3fs import S3FileSystem

from data import object_stores
from data.errors import Unavailable, UserError
from data.object_stores import Access, s3_endpoint, split_uri

# Of an answer without what S3 says of every file, and of a redirection that leads back to itself.
_NOT_S3 = (KeyError, RecursionError)

ERRORS = (botocore.ClientError, botocore.BotoCoreError, aiohttp.ClientError, OSError, ValueError, *_NOT_S3)

# More than a process has threads that read at a time; a request beyond waits for a connection.
MAX_CONNECTIONS = 50
# A copy to the disk is fetched in parts of this size, ten at a time.
PART_BYTES = 8 * 2**20
# At most what is taken from a connection at a time; it is as much as has arrived.
_PIECE_BYTES = 2**20

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}

_SESSION = ", AWS_SESSION_TOKEN"
_ALLOWED = ", and what they are allowed to do there"
# Codes of refused credentials, and what to check beside the keys themselves.
_CREDENTIAL_CODES = {
    "401": "",
    "403": _ALLOWED,
    "AccessDenied": _ALLOWED,
    "AuthorizationHeaderMalformed": ", AWS_REGION",
    "ExpiredToken": _SESSION,
    "InvalidAccessKeyId": "",
    "InvalidToken": _SESSION,
    "SignatureDoesNotMatch": "",
}

# The condition does not hold, or another conditional write of the same name is under way.
_CONDITION_CODES = {"412", "409", "PreconditionFailed", "ConditionalRequestConflict"}

# Of those that blame who asks, the ones that pass: asked too slowly, or too often.
_PASSING_STATUS = {408, 429}

_NO_ANSWER = (
    botocore.ConnectionError,
    botocore.HTTPClientError,
    botocore.IncompleteReadError,
    aiohttp.ClientError,
    TimeoutError,
)

_ON_THE_WAY = {
    botocore.SSLError: "AWS_ENDPOINT_URL and AWS_CA_BUNDLE",
    botocore.ProxyConnectionError: "HTTP_PROXY, HTTPS_PROXY and NO_PROXY",
}


class S3Files(S3FileSystem):
    """s3fs with one request for each thing asked; its own ways cost more of them or end elsewhere than they say."""

    # botocore tries again by itself.
    retries = 1

    async def _call_s3(self, method: str, *akwarglist: Any, **kwargs: Any) -> Any:
        """One request. What is written goes with its MD5, which every service knows.

        A process may be killed between the head of a put and its body. SeaweedFS takes that for a whole file of
        nothing, in the place of what was there; given a sum that does not agree, it keeps what was there.
        """
        if method in ("put_object", "upload_part") and isinstance(kwargs.get("Body"), bytes | bytearray | memoryview):
            digest = hashlib.md5(kwargs["Body"], usedforsecurity=False).digest()
            kwargs["ContentMD5"] = base64.b64encode(digest).decode()
        return await super()._call_s3(method, *akwarglist, **kwargs)

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        """A file's bytes, all or from `start` to before `end`; s3fs asks for the size first and copies once more."""
        bucket, key, _ = self.split_path(path)
        wanted = {} if start is None and end is None else {"Range": await self._process_limits(path, start, end)}
        answer = await self._call_s3("get_object", Bucket=bucket, Key=key, **wanted)
        content = io.BytesIO()
        async with answer["Body"] as body:
            while piece := await body.read(_PIECE_BYTES):
                content.write(piece)
        return content.getvalue()

    async def _info(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """A file's size and version, or that a bucket is there.

        There are no folders: where there is no file, s3fs lists what lies below its name.
        """
        bucket, key, _ = self.split_path(path)
        if not key:
            # Unlike a head request it is answered with a reason.
            await self._call_s3("list_objects_v2", Bucket=bucket, MaxKeys=1)
            return {"name": bucket, "type": "directory", "size": 0}
        found = await self._call_s3("head_object", Bucket=bucket, Key=key)
        return {"name": f"{bucket}/{key}", "type": "file", "size": found["ContentLength"], "ETag": found["ETag"]}

    async def _mkdir(self, path: str, *args: Any, **kwargs: Any) -> None:
        """Make a bucket; FileExistsError where it is there. Below one there is nothing to make."""
        bucket, key, _ = self.split_path(path)
        if not key:
            await self._call_s3("create_bucket", Bucket=bucket)

    # s3fs ties these names to its own methods.
    mkdir = sync_wrapper(_mkdir)

    def mv(self, path1: str, path2: str, **kwargs: Any) -> None:
        """Refused: S3 has no move, and what s3fs makes of it can leave a prefix at its old place or at both."""
        raise NotImplementedError(f"{path1} cannot be moved on S3; write {path2} and delete what was there")


def region() -> str:
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"


def client(access: Access | None = None) -> S3Files:
    """A client of the environment's S3, or of `access`. Timeouts are short: no answer is reported in seconds.

    Keys of the environment are left to botocore's search, so that they are in no argument that is kept or pickled.
    """
    url = access.endpoint_url if access else s3_endpoint()
    config = {
        "region_name": region(),
        "connect_timeout": object_stores.CONNECT_TIMEOUT_S,
        "read_timeout": object_stores.READ_TIMEOUT_S,
        "retries": {"total_max_attempts": 2, "mode": "standard"},
        "max_pool_connections": MAX_CONNECTIONS,
        # Otherwise botocore puts one together for each request, a twentieth of what a request costs.
        "user_agent": "seldtune",
        "s3": {"addressing_style": "path" if url else "auto"},
        # Services other than Amazon's do not all know the newer checksum trailers.
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }
    if url and urlsplit(url).hostname in _LOOPBACK:
        # A proxy of the environment cannot reach this machine's own services.
        config["proxies"] = {}
    given = {"endpoint_url": url, "key": access.access_key, "secret": access.secret_key} if access else {}
    # fsspec would hand out the client of other credentials; listings would hide what others add, reading by name too.
    return S3Files(
        config_kwargs=config,
        default_block_size=PART_BYTES,
        skip_instance_cache=True,
        use_listings_cache=False,
        **given,
    )


def arrow_client() -> Any:
    """pyarrow's own client of the environment's S3; keys stay in the environment of each node."""
    from pyarrow.fs import S3FileSystem as ArrowFiles

    scheme, _, host = (s3_endpoint() or "https://").partition("://")
    return ArrowFiles(endpoint_override=host or None, scheme=scheme, region=region())


def explain(uri: str, service: str, error: Exception) -> Exception:
    """FileNotFoundError, FileExistsError or UserError for what S3 or the way to it said; else the error itself."""
    # s3fs makes an OSError of what S3 answers, which says less.
    answer = error if isinstance(error, botocore.ClientError) else error.__cause__
    if isinstance(answer, botocore.ClientError):
        return _explain_answer(uri, service, answer)
    if isinstance(error, botocore.NoCredentialsError | botocore.PartialCredentialsError):
        return UserError(f"no credentials for {uri}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if isinstance(error, botocore.ParamValidationError):
        return UserError(f"{uri} is no valid S3 URI: {' '.join(str(error).split())}")
    if isinstance(error, _NOT_S3) or isinstance(error.__context__, RecursionError):
        return Unavailable(f"{service} answers, but not as S3 does (asked for {uri}); check AWS_ENDPOINT_URL")
    said = " ".join(str(error).split())
    for kind, variables in _ON_THE_WAY.items():
        if isinstance(error, kind):
            return Unavailable(f"{service} cannot be asked for {uri}: {said}; check {variables}")
    # No connection, or none that lasts; ValueError: an endpoint that is no URL at all.
    if isinstance(error, (*_NO_ANSWER, ValueError)):
        return Unavailable(f"{service} does not answer (asked for {uri}); check AWS_ENDPOINT_URL")
    if isinstance(error, botocore.BotoCoreError):
        return Unavailable(f"{service} cannot be asked for {uri}: {said}; check AWS_PROFILE and the other AWS_*")
    return error


def _explain_answer(uri: str, service: str, answer: botocore.ClientError) -> Exception:
    told = answer.response.get("Error", {})
    code, detail = str(told.get("Code") or ""), str(told.get("Message") or "")
    bucket = split_uri(uri)[0]
    if code in ("NoSuchKey", "404"):
        return FileNotFoundError(f"no file {uri}")
    if code == "NoSuchBucket":
        return Unavailable(f"no bucket {bucket!r} at {service}; make it or correct {uri}")
    if code in _CONDITION_CODES or code in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
        return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), uri)
    if code in _CREDENTIAL_CODES:
        reason = f"{code}: {detail}" if detail else code
        return Unavailable(
            f"{service} refuses the credentials for {uri} ({reason}); "
            f"check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY{_CREDENTIAL_CODES[code]}"
        )
    status = answer.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0
    # A page of a proxy, say, has neither.
    code = code or f"HTTP {status}"
    kind = UserError if 400 <= status < 500 and status not in _PASSING_STATUS else Unavailable
    # What many services say of a full disk too.
    hint = "; look at its log, and whether its disk is full" if code == "InternalError" else ""
    return kind(f"{service} refuses {uri}: {code} {detail}".rstrip(". ") + hint)
