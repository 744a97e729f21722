"""Ray's Job API as a laptop reaches it: where the cluster is, the token it asks for, and whether the versions agree.

Needs a way to the dashboard and nothing else: no port of the cluster itself, no object store.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import ray
import requests
from ray.job_submission import JobSubmissionClient

from data.errors import UserError
from infra.cluster.ray_private import read_environment_again
from infra.stack.settings import Settings

logger = logging.getLogger(f"seldtune.{__name__}")

HOW_TO_ADDRESS = "give --address http://HEAD:8265, or set RAY_API_SERVER_ADDRESS"
HOW_TO_TOKEN = "set RAY_AUTH_TOKEN to it, or RAY_AUTH_TOKEN_PATH to a file that holds it"
TIMEOUTS_S = (5.0, 60.0)
"""To connect, and for an answer."""
_DEFAULT_TOKEN_FILE = Path("~/.ray/auth_token")
"""Ray's own place, used where the mode is `token` and nothing else is said."""
_TALKATIVE = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
)
"""Loggers of Ray's that tell what this project says itself."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A running cluster."""

    url: str
    """Of its dashboard."""
    token: str | None = field(default=None, repr=False)
    embedded: bool = False
    """Whether it is the stack's own."""


@dataclass(frozen=True)
class Versions:
    """What a job runs on."""

    ray: str
    python: str | None
    """Nothing: the cluster does not tell."""


def find_cluster(address: str | None, settings: Settings) -> Cluster:
    """The cluster to submit to: the given one, the environment's, or the embedded one.

    A token goes to the cluster that it is for: the stack's own is never shown to another.

    Raises:
        UserError: none is known, the address is no dashboard's, or the token cannot be read.
    """
    from_ray = os.environ.get("RAY_ADDRESS", "")
    url = (
        address
        or os.environ.get("RAY_API_SERVER_ADDRESS")
        or (from_ray if from_ray.startswith(("http://", "https://")) else None)
        or settings.ray_dashboard_url
    )
    if not url:
        raise UserError(f"no Ray cluster to submit to: {HOW_TO_ADDRESS}, or run `seldtune up`")
    url = (url if "://" in url else f"http://{url}").rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"{url} is no URL of a Ray dashboard: {HOW_TO_ADDRESS}")
    if url == settings.ray_dashboard_url:
        return Cluster(url=url, token=settings.ray_auth_token, embedded=True)
    token = token_of_environment()
    if token and parts.scheme == "http" and not _is_loopback(parts.hostname):
        logger.warning("the token goes to %s unencrypted; use https, or a tunnel to it", parts.hostname)
    return Cluster(url=url, token=token)


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def token_of_environment() -> str | None:
    """The token that Ray's own variables give.

    Raises:
        UserError: they speak of a token, and there is none.
    """
    mode, path = os.environ.get("RAY_AUTH_MODE"), os.environ.get("RAY_AUTH_TOKEN_PATH")
    if mode == "disabled":
        return None
    if token := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return token
    if not path and mode != "token":
        return None
    file = Path(path) if path else _DEFAULT_TOKEN_FILE
    try:
        token = file.expanduser().read_text().strip()
    except OSError as error:
        named = f"RAY_AUTH_TOKEN_PATH names {path}" if path else "RAY_AUTH_MODE is token"
        raise UserError(f"{named}, but there is no token ({error.strerror}): {HOW_TO_TOKEN}") from error
    if not token:
        raise UserError(f"{file} is empty: {HOW_TO_TOKEN}")
    return token


class JobClient(JobSubmissionClient):
    """Ray's client, which waits for no answer without end."""

    def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:
        return super()._do_request(method, endpoint, timeout=TIMEOUTS_S, **options)

    def ask(self, endpoint: str) -> dict[str, Any] | None:
        """The JSON that the dashboard has there; nothing where it has none."""
        answer = self._do_request("GET", endpoint)
        if answer.status_code != requests.codes.ok:
            return None
        document = answer.json()
        return document if isinstance(document, dict) else None


def open_client(cluster: Cluster) -> JobClient:
    """A client that has been answered.

    Raises:
        UserError: nothing answers there, it is no dashboard, or it wants a token, or another one.
    """
    # Ray prefers these variables to the address it is given.
    os.environ["RAY_API_SERVER_ADDRESS"] = cluster.url
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    read_environment_again()
    headers = {"Authorization": f"Bearer {cluster.token}"} if cluster.token else {}
    try:
        client = JobClient(cluster.url, headers=headers)
    except ray.exceptions.AuthenticationError as error:
        if cluster.token is None:
            raise UserError(f"the Ray cluster at {cluster.url} asks for a token: {HOW_TO_TOKEN}") from error
        raise UserError(f"the Ray cluster at {cluster.url} takes another token: {HOW_TO_TOKEN}") from error
    except (OSError, requests.RequestException) as error:
        raise UserError(f"nothing answers at {cluster.url}: {HOW_TO_ADDRESS}") from error
    except (RuntimeError, ValueError, KeyError) as error:
        raise UserError(f"no Ray dashboard answers at {cluster.url}: {HOW_TO_ADDRESS}") from error
    if cluster.token is None:
        logger.warning(
            "%s asks for no token: whoever reaches it can run programs there; start Ray with RAY_AUTH_MODE=token",
            cluster.url,
        )
    return client


def versions_here() -> Versions:
    return Versions(importlib.metadata.version("ray"), platform.python_version())


def versions_of(client: JobClient) -> Versions:
    """Ray and Python of the cluster's head."""
    told = (client.ask("/api/v0/cluster_metadata") or {}).get("data") or {}
    version = client.ask("/api/version") or {}
    return Versions(str(version.get("ray_version")), told.get("pythonVersion"))


def check_versions(theirs: Versions, ours: Versions, url: str) -> None:
    """Refuse a cluster of another Ray, or another minor version of Python, than ours.

    Raises:
        UserError: naming both.
    """
    other_python = theirs.python is not None and _minor(theirs.python) != _minor(ours.python or "")
    if theirs.ray != ours.ray or other_python:
        raise UserError(
            f"the cluster at {url} runs Ray {theirs.ray} on Python {theirs.python or '(not told)'}, here is Ray "
            f"{ours.ray} on Python {ours.python}: submit from an environment like the cluster's image, or start the "
            "cluster with an image like this environment"
        )


def _minor(version: str) -> str:
    """ "3.11.7" -> "3.11"."""
    return ".".join(version.split(".")[:2])
