"""Whether a sweep can run as asked: every check that there is, each one line, and every refusal, not the first alone.

What the sweep itself would refuse is found by the functions that refuse it there (`infra.sweep.request`,
`infra.sweep.standing`). What a check writes, it removes.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from data import storage
from data.agreement.stored import agreement_of
from data.errors import UserError
from data.stores.chunks import Store
from infra.cluster.join import cluster_size, connect
from infra.stack.answers import TIMEOUT_S, mlflow_answers, mlflow_login_refused, ray_answers
from infra.stack.settings import HOW_TO_GIVE, Settings
from infra.sweep.data import find_store
from infra.tracking.experiment import require_experiment

T = TypeVar("T")

OK, WARNING, REFUSED = "ok", "warning", "refused"

_FEWEST_FREE_BYTES = 1_000_000_000
_MAX_MESSAGE = 300
_NUMBER = re.compile(r"\d+(\.\d+)?(e[-+]?\d+)?")
_SERVICES = {"s3": "storage", "mlflow": "MLflow", "ray": "Ray"}


@dataclass(frozen=True)
class Check:
    """One line: what was looked at, how it stands, and what was found or is to be changed."""

    name: str
    state: str
    text: str


class Preflight:
    """Checks in the order in which they were made."""

    def __init__(self) -> None:
        self.checks: list[Check] = []

    @property
    def refused(self) -> list[Check]:
        return [check for check in self.checks if check.state == REFUSED]

    def add(self, name: str, state: str, text: str) -> None:
        self.checks.append(Check(name, state, text))

    def attempt(self, name: str, function: Callable[[], T], say: Callable[[T], str] | None = None) -> T | None:
        """What the function returns, with a line that `say` makes of it; nothing where it refuses."""
        try:
            result = function()
        except UserError as error:
            self.add(name, REFUSED, _one_line(error))
            return None
        if say is not None:
            self.add(name, OK, say(result))
        return result


def check_services(preflight: Preflight, settings: Settings) -> set[str]:
    """Those of S3, MLflow and Ray that are given or run here; each other one is refused."""
    missing = {name for name, source in settings.sources.items() if source == "missing"}
    for name in sorted(missing):
        preflight.add(_SERVICES[name], REFUSED, f"there is none: run `seldtune up`, or set {HOW_TO_GIVE[name]}")
    return set(settings.sources) - missing


def check_storage(preflight: Preflight, root: str) -> None:
    """Reachable, credentials taken, writable: a small object is written below the root and removed again."""
    probe = storage.join(root, f".probe-{os.getpid()}")

    def write() -> str:
        storage.check_root(root)
        storage.write_bytes(probe, b"seldtune plan")
        storage.delete(probe)
        return root

    preflight.attempt("storage", write, lambda root: f"{root} can be written")
    if not storage.is_remote(root) and not preflight.refused:
        free = shutil.disk_usage(root).free
        state = OK if free >= _FEWEST_FREE_BYTES else REFUSED
        fix = "" if state == OK else "; make room there, or choose another SELDTUNE_ROOT"
        preflight.add("disk", state, f"{free / 1e9:.1f} GB free at {root}{fix}")


def check_data(preflight: Preflight, uri: str, root: str) -> Store | None:
    """The store's manifest, and that its files are there with their sizes. Reads no shard."""

    def look() -> Store:
        store = find_store(uri, root)
        store.check()
        for split in ("train", "val"):
            store.split(split)
        return store

    def say(store: Store) -> str:
        hours = ", ".join(f"{name} {split.hours:.3g} h" for name, split in store.manifest.splits.items())
        return f"{uri}: {hours}; all {len(store.files())} files are there"

    return preflight.attempt("data", look, say)


def check_labels(preflight: Preflight, store: Store) -> None:
    """Whether labels say what is heard, in some of the rows."""
    agreement = preflight.attempt("labels", lambda: agreement_of(store))
    if agreement is not None:
        preflight.add("labels", WARNING if agreement.doubts else OK, str(agreement))


def check_mlflow(preflight: Preflight, uri: str | None) -> None:
    """Answers, still has the experiment of all sweeps, and is of our major version or a later one."""
    if mlflow_answers(uri) is False:
        preflight.add(
            "MLflow", REFUSED, f"does not answer at {uri}; start it (`seldtune up`), or set MLFLOW_TRACKING_URI"
        )
        return
    if refused := mlflow_login_refused(uri):
        preflight.add("MLflow", REFUSED, refused)
        return
    try:
        require_experiment(uri)
    except UserError as error:
        preflight.add("MLflow", REFUSED, str(error))
        return
    ours, theirs = importlib.metadata.version("mlflow"), _mlflow_version(uri)
    if theirs is None:
        preflight.add("MLflow", OK, f"{uri}; its version is not told")
        return
    old = int(theirs.split(".")[0]) < int(ours.split(".")[0])
    fix = f"; it has to be {ours.split('.')[0]} or later: upgrade the server" if old else ""
    preflight.add("MLflow", REFUSED if old else OK, f"{theirs} at {uri}, {ours} here{fix}")


def _mlflow_version(uri: str | None) -> str | None:
    if not uri or not uri.startswith(("http://", "https://")):
        return None
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/version", timeout=TIMEOUT_S) as answer:
            text = answer.read(64).decode().strip()
    except (OSError, ValueError):
        return None
    return text if text[:1].isdigit() else None


def check_ray(preflight: Preflight, settings: Settings) -> bool:
    """Answers, lets us join, and runs our Ray, our Python and this project; whether it can be asked further."""
    address = settings.ray_address or ""
    if address.startswith(("http://", "https://")):
        preflight.add("Ray", REFUSED, f"RAY_ADDRESS is {address}, a dashboard's URL: give host:port of the cluster")
        return False
    if ray_answers(address) is False:
        preflight.add("Ray", REFUSED, f"does not answer at {address}; start it (`seldtune up`), or set RAY_ADDRESS")
        return False
    try:
        connect(settings)
    except UserError as error:
        # Ray tells on later lines which versions differ.
        preflight.add("Ray", REFUSED, _one_line(error.__cause__ or error))
        return False
    import ray

    here = (ray.__version__, platform.python_version(), True)
    there = ray.get(ray.remote(num_cpus=0)(_versions).remote())
    total = cluster_size()
    size = f"{total['CPU']:g} CPU, {total['GPU']:g} GPU at {address}"
    if not there[2]:
        preflight.add("Ray", REFUSED, f"its workers at {address} have no seldtune; install the project on every node")
    elif here != there:
        fix = "install the same on both sides"
        text = f"Ray {there[0]} and Python {there[1]} on its workers, {here[0]} and {here[1]} here; {fix}"
        same_minor = here[0] == there[0] and here[1].split(".")[:2] == there[1].split(".")[:2]
        preflight.add("Ray", WARNING if same_minor else REFUSED, text)
    else:
        preflight.add("Ray", OK, f"{here[0]}, Python {here[1]}, as here; {size}")
    return not any(check.name == "Ray" for check in preflight.refused)


def _versions() -> tuple[str, str, bool]:
    """Of Ray and Python on a worker, and whether the project is there."""
    return (
        importlib.metadata.version("ray"),
        platform.python_version(),
        importlib.util.find_spec("trainables.training.worker") is not None,
    )


def grouped(reasons: Sequence[str], of: int) -> list[str]:
    """Each reason once, the commonest first, with how many of so many it refuses.

    Reasons that differ in their numbers alone are one, shown by the first of them.
    """
    alike: dict[str, list[str]] = {}
    for reason in reasons:
        alike.setdefault(_NUMBER.sub("0", reason), []).append(reason)
    groups = sorted(alike.values(), key=len, reverse=True)
    return [f"{len(group)} of {of}{': ' if len(set(group)) == 1 else ', such as: '}{group[0]}" for group in groups]


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= _MAX_MESSAGE else text[: _MAX_MESSAGE - 3] + "..."
