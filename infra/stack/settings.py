"""Where things are: the root of everything stored, the object store, MLflow and Ray, and the secrets to use them.

Each of the three services comes wholly from the environment or wholly from the embedded stack (`seldtune up`), so that
one's endpoint never meets the other's keys. The environment wins.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from data.errors import UserError
from data.object_stores import KINDS
from data.storage import is_s3
from infra.stack.home import StackState, find_home, read_state

logger = logging.getLogger(f"seldtune.{__name__}")

DEFAULT_ROOT = "s3://seldtune"
SERVICE_NAMES = ("s3", "mlflow", "ray")
REGION = "us-east-1"
_S3_BUCKET = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"

# Any of these in the environment says that the user has an object store of their own.
S3_VARIABLES = (
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
)
HOW_TO_GIVE = {
    "s3": "AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or SELDTUNE_ROOT to a local folder)",
    "mlflow": "MLFLOW_TRACKING_URI",
    "ray": "RAY_ADDRESS",
}
# Ray takes 127.0.0.1 for "some address of mine" and listens on all interfaces unless it believes to be on a system
# where it supports no clusters; then it stays on loopback. Head, workers and driver must agree.
RAY_LOOPBACK_VARIABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where everything is. Made by `load_settings`; secrets are left out of its repr."""

    root: str
    """URI under which everything is stored: `s3://bucket/prefix` or an absolute local folder."""
    s3_endpoint_url: str | None = None
    """None: Amazon's own, or no object store at all (a local root)."""
    s3_access_key: str | None = field(default=None, repr=False)
    s3_secret_key: str | None = field(default=None, repr=False)
    mlflow_tracking_uri: str | None = None
    ray_address: str | None = None
    """What `ray.init(address=...)` takes: `host:port`, `auto`, `local` or `ray://host:port`."""
    ray_dashboard_url: str | None = None
    """Also the address for `ray job submit`. None for a Ray of the environment."""
    ray_auth_mode: str | None = None
    ray_auth_token: str | None = field(default=None, repr=False)
    sources: Mapping[str, str] = field(default_factory=dict)
    """Service name -> "environment", "embedded", "unused" (S3 with a local root) or "missing"."""
    home: Path | None = None
    """The embedded stack's home, if there is one."""

    def environment(self) -> dict[str, str]:
        """The variables that s3fs, pyarrow, MLflow and Ray read, for the services that these settings have."""
        values: dict[str, str | None] = {
            "SELDTUNE_ROOT": self.root,
            "AWS_ENDPOINT_URL": self.s3_endpoint_url,
            "AWS_ACCESS_KEY_ID": self.s3_access_key,
            "AWS_SECRET_ACCESS_KEY": self.s3_secret_key,
            "MLFLOW_TRACKING_URI": self.mlflow_tracking_uri,
            "RAY_ADDRESS": self.ray_address,
            "RAY_AUTH_MODE": self.ray_auth_mode,
            "RAY_AUTH_TOKEN": self.ray_auth_token,
            # MLflow otherwise prints a line to stdout for each run that ends, and a bar for each download.
            "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        }
        if self.sources.get("s3") == "embedded":
            values["AWS_DEFAULT_REGION"] = REGION
        if self.sources.get("ray") == "embedded":
            values[RAY_LOOPBACK_VARIABLE] = "0"
        if "embedded" in self.sources.values():
            # A proxy of the environment must not be asked for 127.0.0.1.
            for name in ("NO_PROXY", "no_proxy"):
                hosts = [host for host in os.environ.get(name, "").split(",") if host]
                values[name] = ",".join(dict.fromkeys([*hosts, "127.0.0.1", "localhost"]))
        return {name: value for name, value in values.items() if value is not None}

    def export(self) -> None:
        """Put `environment()` into this process's environment; child processes inherit it.

        Ray, which reads its variables when it is imported, is made to read them again where a cluster is joined
        (`infra.cluster.join.connect`).
        """
        os.environ.update(self.environment())


def check_root_uri(root: str) -> str:
    """`root` in its one spelling: no slash at the end, local folders absolute. Raises UserError for other schemes."""
    scheme, separator, rest = root.partition("://")
    if not separator:
        return str(Path(os.path.expanduser(root)).absolute())
    if scheme == "file":
        return str(Path(os.path.expanduser(rest)).absolute())
    bucket = rest.split("/", 1)[0]
    if scheme not in KINDS or not bucket or (scheme == "s3" and not re.fullmatch(_S3_BUCKET, bucket)):
        raise UserError(f"SELDTUNE_ROOT is {root!r}: give s3://bucket/prefix (bucket: 3-63 of a-z 0-9 . -) or a folder")
    return root.rstrip("/")


def embedded_urls(state: StackState | None) -> dict[str, str]:
    """Service -> address of each embedded service that was ever started: S3 endpoint, MLflow URL, Ray's host:port."""
    ports = {name: record.ports for name, record in state.services.items()} if state else {}
    urls = {}
    if "http" in ports.get("s3", {}):
        urls["s3"] = f"http://127.0.0.1:{ports['s3']['http']}"
    if "http" in ports.get("mlflow", {}):
        urls["mlflow"] = f"http://127.0.0.1:{ports['mlflow']['http']}"
    if "gcs" in ports.get("ray", {}):
        urls["ray"] = f"127.0.0.1:{ports['ray']['gcs']}"
    return urls


def _given_by() -> list[str]:
    """The variables that say so of an object store."""
    return [name for name in S3_VARIABLES if os.environ.get(name)]


def given_services(state: StackState | None) -> set[str]:
    """The services that the environment gives.

    A process that has exported the embedded stack's settings, or was started by one that has, gives nothing of its own.
    """
    environ, own = os.environ, embedded_urls(state)
    given = set()
    if _given_by() and (environ.get("AWS_ENDPOINT_URL") != own.get("s3") or "s3" not in own):
        given.add("s3")
    if environ.get("MLFLOW_TRACKING_URI") not in (None, "", own.get("mlflow")):
        given.add("mlflow")
    if environ.get("RAY_ADDRESS") not in (None, "", own.get("ray")):
        given.add("ray")
    return given


def choose_root(state: StackState | None) -> str:
    """The root of the environment, or of the stack, or the default one."""
    return check_root_uri(os.environ.get("SELDTUNE_ROOT") or (state.root if state else None) or DEFAULT_ROOT)


def settings_from(home: Path, state: StackState | None, running: Iterable[str]) -> Settings:
    """The settings when of the embedded services those in `running` run; `load_settings` is the usual way in."""
    environ, root, given = os.environ, choose_root(state), given_services(state)
    own, secrets = embedded_urls(state), state.secrets if state else {}
    running = set(running) & own.keys()
    sources = {
        name: "environment" if name in given else "embedded" if name in running else "missing" for name in SERVICE_NAMES
    }
    if not is_s3(root):
        sources["s3"] = "unused"
    values: dict[str, str | None] = {}
    if sources["s3"] == "environment":
        values["s3_endpoint_url"] = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or None
        values["s3_access_key"] = environ.get("AWS_ACCESS_KEY_ID") or None
        values["s3_secret_key"] = environ.get("AWS_SECRET_ACCESS_KEY") or None
    elif sources["s3"] == "embedded":
        values["s3_endpoint_url"] = own["s3"]
        values["s3_access_key"] = secrets["s3_access_key"]
        values["s3_secret_key"] = secrets["s3_secret_key"]
    if sources["mlflow"] == "environment":
        values["mlflow_tracking_uri"] = environ["MLFLOW_TRACKING_URI"]
    elif sources["mlflow"] == "embedded":
        values["mlflow_tracking_uri"] = own["mlflow"]
    if sources["ray"] == "environment":
        token = environ.get("RAY_AUTH_TOKEN") or None
        given_token = token or environ.get("RAY_AUTH_TOKEN_PATH")
        values["ray_address"] = environ["RAY_ADDRESS"]
        values["ray_auth_token"] = token
        # Ray ignores a token unless the mode is set as well.
        values["ray_auth_mode"] = environ.get("RAY_AUTH_MODE") or ("token" if given_token else None)
    elif sources["ray"] == "embedded":
        assert state is not None
        values["ray_address"] = own["ray"]
        values["ray_dashboard_url"] = f"http://127.0.0.1:{state.services['ray'].ports['dashboard']}"
        values["ray_auth_mode"] = "token"
        values["ray_auth_token"] = secrets["ray_token"]
    return Settings(root=root, sources=sources, home=home if state else None, **values)


def load_settings(need: Iterable[str] = SERVICE_NAMES) -> Settings:
    """Read the settings: the environment first, per service, then the embedded stack.

    Args:
        need: the services that must be there (`s3` is never missed when the root is a local folder).

    Raises:
        UserError: a needed service is neither in the environment nor running here.
    """
    from infra.stack.processes import recorded_process

    home = find_home()
    state = read_state(home)
    records = state.services if state else {}
    running = {name for name, record in records.items() if recorded_process(record)}
    settings = settings_from(home, state, running)
    if settings.sources["s3"] == "environment" and "s3" in running and _given_by() == ["AWS_PROFILE"]:
        logger.warning("AWS_PROFILE is set: S3 is Amazon's, not that of `seldtune up`; unset it to use the latter")
    missing = [name for name in SERVICE_NAMES if name in need and settings.sources[name] == "missing"]
    if missing:
        what = (
            f"the stack in {home} does not run {' or '.join(missing)}"
            if running
            else f"no stack here for {', '.join(missing)}"
        )
        ways = "; ".join(HOW_TO_GIVE[name] for name in missing)
        raise UserError(f"{what}: run `seldtune up`, or set {ways}")
    return settings
