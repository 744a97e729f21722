"""Quick questions to services that the environment gives: does anything answer there at all?

Each answers True, False, or None when it cannot be asked (a database file, Amazon's S3, `ray.init`'s own words).
"""

from __future__ import annotations

import base64
import os
import socket
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping

from data.errors import UserError
from infra.stack.settings import Settings

TIMEOUT_S = 4.0
_BEGINNING = 500
_MOST_SHOWN = 100


def http_status(
    url: str, timeout_s: float = TIMEOUT_S, *, proxied: bool = True, headers: Mapping[str, str] | None = None
) -> int | None:
    """HTTP status of a GET, or None when nothing answers."""
    answer = http_answer(url, timeout_s, proxied=proxied, headers=headers)
    return answer and answer[0]


def http_answer(
    url: str, timeout_s: float = TIMEOUT_S, *, proxied: bool = True, headers: Mapping[str, str] | None = None
) -> tuple[int, str] | None:
    """The same, with how the answer begins."""
    handlers = [] if proxied else [urllib.request.ProxyHandler({})]
    try:
        request = urllib.request.Request(url, headers=dict(headers or {}))
        with urllib.request.build_opener(*handlers).open(request, timeout=timeout_s) as answer:
            return int(answer.status), answer.read(_BEGINNING).decode(errors="replace")
    except urllib.error.HTTPError as error:
        return int(error.code), error.read(_BEGINNING).decode(errors="replace")
    except (OSError, ValueError):
        return None


def s3_answers(endpoint_url: str | None) -> bool | None:
    """Whether something answers at an S3 endpoint; any HTTP status will do, since nobody signed the question."""
    return None if not endpoint_url else http_status(endpoint_url) is not None


def mlflow_answers(uri: str | None) -> bool | None:
    """Whether a tracking server answers; servers behind a login answer too."""
    if not uri or not uri.startswith(("http://", "https://")):
        return None
    answer = http_status(f"{uri.rstrip('/')}/health")
    return answer is not None and answer < 500


def mlflow_login_refused(uri: str | None) -> str | None:
    """Why a tracking server that answers takes no requests from us; nothing where it does, or is no server."""
    if not uri or not uri.startswith(("http://", "https://")):
        return None
    from mlflow.utils.credentials import read_mlflow_creds

    ours, token = read_mlflow_creds(), os.environ.get("MLFLOW_TRACKING_TOKEN")
    headers, login = {}, "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    if ours.username and ours.password:
        both = f"{ours.username}:{ours.password}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(both).decode()}"
    elif token:
        headers["Authorization"], login = f"Bearer {token}", "MLFLOW_TRACKING_TOKEN"
    url = f"{uri.rstrip('/')}/api/2.0/mlflow/experiments/search?max_results=1"
    status, said = http_answer(url, headers=headers) or (0, "")
    if status not in (401, 403):
        return None
    if "host header" in said.lower():
        host = urllib.parse.urlsplit(uri).hostname
        return (
            f"MLflow at {uri} takes no requests for the host name {host}: start the server with --allowed-hosts "
            f"{host} (or MLFLOW_SERVER_ALLOWED_HOSTS={host}), or reach it under a name that it allows"
        )
    if status == 403:
        reason = " ".join(said.split())[:_MOST_SHOWN]
        fix = f"correct {login}" if headers else f"set {login} if it wants a login"
        return f"MLflow at {uri} takes no requests from here (403: {reason}): {fix}, or ask who runs it to let you in"
    wrong = f"refuses {login} of this environment: correct them" if headers else f"asks for a login: set {login}"
    return f"MLflow at {uri} {wrong}"


def ray_answers(address: str | None) -> bool | None:
    """Whether something takes connections at a Ray address."""
    host, separator, port = (address or "").removeprefix("ray://").rpartition(":")
    if not separator or not port.isdigit():
        return None
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=TIMEOUT_S):
            return True
    except OSError:
        return False


def require_answers(settings: Settings) -> None:
    """Raise UserError unless MLflow and Ray answer, in seconds. (The root is `data.storage.check_root`'s to check.)"""
    address = settings.ray_address or ""
    if address.startswith(("http://", "https://")):
        raise UserError(f"RAY_ADDRESS is {address}, a dashboard's URL: give host:port of the cluster")
    if mlflow_answers(settings.mlflow_tracking_uri) is False:
        raise UserError(f"MLflow does not answer at {settings.mlflow_tracking_uri}: check MLFLOW_TRACKING_URI")
    if refused := mlflow_login_refused(settings.mlflow_tracking_uri):
        raise UserError(refused)
    if ray_answers(address) is False:
        raise UserError(f"Ray does not answer at {address}: check RAY_ADDRESS")
