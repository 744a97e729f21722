"""`up` and `down` of the embedded stack: an object store, MLflow and Ray on this machine, on loopback alone.

Only what the environment does not give is started, and only what does not run already.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from data.errors import UserError
from data.object_stores import Access, split_uri
from data.storage import is_s3, make_bucket
from infra.stack.home import (
    ServiceRecord,
    StackState,
    create_home,
    find_home,
    locked,
    read_state,
    write_private,
    write_state,
)
from infra.stack.ports import choose_ports, s3_sockets
from infra.stack.processes import end_service, recorded_process, start_detached
from infra.stack.services import SERVICES, inputs_hash, log_path, ray_folder, s3_lacks_room
from infra.stack.settings import choose_root, embedded_urls, given_services, settings_from
from infra.stack.status import TOKEN_NAME, StackStatus, status

log = logging.getLogger(f"seldtune.{__name__}")

# A service that runs but is slow to answer may be at work for a sweep: replacing it would end that.
ANSWER_PATIENCE_S = 30.0
LOG_TAIL_LINES = 15


class StackError(RuntimeError):
    """A service of the stack did not start. The message ends with the last lines of its log."""


def up() -> StackStatus:
    """Start what neither the environment gives nor runs already.

    Services that this call has started are stopped again if it fails, so that it leaves all or nothing of them.

    Raises:
        UserError: the settings contradict what runs already, or a program is missing.
        StackError: a service did not come up.
    """
    home = find_home()
    create_home(home)
    with locked(home):
        state = read_state(home) or StackState()
        root, given = choose_root(state), given_services(state)
        wanted = [name for name in SERVICES if name not in given and not (name == "s3" and not is_s3(root))]
        _prepare(home, state, root, given)
        if "s3" in wanted and (reason := s3_lacks_room(home)):
            # Not refused: what is there can still be read, and deleted.
            log.warning("%s", reason)
        before, started = embedded_urls(state), list[str]()
        try:
            for batch in (("s3",), ("mlflow", "ray")):
                pending = {}
                for name in (name for name in batch if name in wanted):
                    moved = any(embedded_urls(state)[one] != before[one] for one in started if one in before)
                    if process := _start_if_needed(home, state, name, wanted, may_restart=moved, started=started):
                        pending[name] = process
                _wait_until_healthy(home, state, pending)
                if "s3" in batch and "s3" in wanted:
                    _ensure_bucket(home, state, split_uri(root)[0])
        except BaseException:
            for name in reversed(started):
                _stop(home, state, name)
            raise
    return status()


def _prepare(home: Path, state: StackState, root: str, given: set[str]) -> None:
    """Secrets, the short folder for sockets, and where MLflow's artifacts go; kept from earlier calls where there."""
    for name, num_bytes in (("s3_access_key", 10), ("s3_secret_key", 24), ("s3_signing_key", 24), ("ray_token", 32)):
        state.secrets.setdefault(name, secrets.token_hex(num_bytes))
    if state.run_dir is None or not _is_own_folder(Path(state.run_dir)):
        state.run_dir = tempfile.mkdtemp(prefix="seldtune-", dir="/tmp")
    ray_folder(state).mkdir(exist_ok=True)
    state.root = root
    endpoint = "" if not is_s3(root) else os.environ.get("AWS_ENDPOINT_URL", "aws") if "s3" in given else "embedded"
    if "mlflow" not in given and not state.artifacts:
        destination = f"s3://{split_uri(root)[0]}/mlflow" if is_s3(root) else f"{root}/mlflow"
        state.artifacts = {"destination": destination, "endpoint": endpoint}
    if "mlflow" not in given and state.artifacts["endpoint"] not in ("", endpoint):
        raise UserError(
            f"the MLflow database in {home} keeps its artifacts on {state.artifacts['endpoint']} S3, which this call "
            "does not use: set SELDTUNE_HOME to another folder, or set SELDTUNE_ROOT and AWS_* as they were"
        )
    write_state(home, state)
    write_private(home / TOKEN_NAME, state.secrets["ray_token"])


def _is_own_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and path.stat().st_uid == os.getuid()


def _start_if_needed(
    home: Path, state: StackState, name: str, wanted: list[str], *, may_restart: bool, started: list[str]
) -> psutil.Process | None:
    """Start one service unless it runs and answers; its process if it was started."""
    service = SERVICES[name]
    record = state.services.setdefault(name, ServiceRecord())
    if recorded_process(record) is not None:
        same = inputs_hash(service.launch(home, state, settings_from(home, state, wanted))) == record.inputs
        if _answers_within(state, name, ANSWER_PATIENCE_S):
            if same:
                return None
            if not may_restart:
                raise UserError(
                    f"{service.title} of {home} runs with other settings than these: run `seldtune down` first, "
                    "or set SELDTUNE_HOME to another folder"
                )
        log.info("%s does not answer or has to move: replacing it", service.title)
    if end_service(home, name, record):
        log.info("ended what was left of %s", service.title)
    taken = {port for other, one in state.services.items() if other != name for port in one.ports.values()}
    record.ports = choose_ports(service.port_names, record.ports, taken)
    launch = service.launch(home, state, settings_from(home, state, wanted))
    log.info("starting %s", service.title)
    started.append(name)
    process = start_detached(launch.command, launch.environment, launch.folder, log_path(home, name))
    record.pid, record.created = process.pid, psutil.Process(process.pid).create_time()
    record.inputs = inputs_hash(launch)
    write_state(home, state)
    return psutil.Process(process.pid)


def _answers_within(state: StackState, name: str, patience_s: float) -> bool:
    end = time.monotonic() + patience_s
    while recorded_process(state.services[name]) is not None:
        if SERVICES[name].healthy(state):
            return True
        if time.monotonic() > end:
            break
        time.sleep(0.5)
    return False


def _wait_until_healthy(home: Path, state: StackState, pending: dict[str, psutil.Process]) -> None:
    """Wait for all of them. Raises StackError for the first that ends or takes too long."""
    begin = time.monotonic()
    while pending:
        for name in list(pending):
            service, waited_s = SERVICES[name], time.monotonic() - begin
            if recorded_process(state.services[name]) is None:
                raise StackError(_failure(home, state, name, "ended instead of starting"))
            if service.healthy(state):
                log.info("%s is up after %.1f s", service.title, waited_s)
                del pending[name]
            elif waited_s > service.start_timeout_s:
                raise StackError(_failure(home, state, name, f"did not answer within {waited_s:.0f} s"))
        time.sleep(0.1)


def _failure(home: Path, state: StackState, name: str, what: str) -> str:
    path = log_path(home, name)
    with contextlib.suppress(OSError):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_TAIL_LINES:]
        text = "\n".join(lines)
        for secret in state.secrets.values():
            text = text.replace(secret, "***")
        return f"{SERVICES[name].title} {what}; the end of {path}:\n{text}"
    return f"{SERVICES[name].title} {what}; it left no log in {path}"


def _ensure_bucket(home: Path, state: StackState, bucket: str) -> None:
    """Make the bucket on the embedded object store, once."""
    if bucket in state.buckets:
        return
    access = Access(embedded_urls(state)["s3"], state.secrets["s3_access_key"], state.secrets["s3_secret_key"])
    make_bucket(f"s3://{bucket}", access)
    state.buckets.append(bucket)
    write_state(home, state)


def _stop(home: Path, state: StackState, name: str) -> int:
    """End one service's processes and take its process off the record; its data and ports stay."""
    record = state.services.get(name)
    count = end_service(home, name, record)
    if record is not None:
        record.pid = record.created = None
        if name == "s3":  # SeaweedFS leaves these behind when it is killed
            for path in s3_sockets(record.ports):
                path.unlink(missing_ok=True)
        write_state(home, state)
    return count


def down() -> int:
    """End every process of the stack, in whatever state; data, ports and keys stay. Returns how many were ended."""
    home = find_home()
    if not home.is_dir():
        return sum(end_service(home, name, None) for name in SERVICES)
    with locked(home):
        state = read_state(home) or StackState()
        # MLflow and Ray use the object store: it goes last.
        with ThreadPoolExecutor() as pool:
            counts = list(pool.map(lambda name: end_service(home, name, state.services.get(name)), ("ray", "mlflow")))
        count = sum(counts) + sum(_stop(home, state, name) for name in reversed(SERVICES))
        _keep_ray_logs(home, state)
    return count


def _keep_ray_logs(home: Path, state: StackState) -> None:
    """Keep the last Ray session's logs at home and drop the folder under /tmp."""
    if state.run_dir is None:
        return
    if _is_own_folder(Path(state.run_dir)):
        latest, kept = ray_folder(state) / "session_latest" / "logs", home / "logs" / "ray-session"
        if latest.is_dir():
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(latest, kept, symlinks=True, ignore_dangling_symlinks=True)
        shutil.rmtree(state.run_dir, ignore_errors=True)
    state.run_dir = None
    write_state(home, state)


def purge() -> Path | None:
    """`down`, then delete the home with all data. Returns the folder, or None when there was none.

    Raises UserError for a folder that no stack has ever been in: SELDTUNE_HOME may be set to anything.
    """
    home = find_home()
    if not home.is_dir():
        return None
    if read_state(home) is None:
        raise UserError(f"{home} holds no stack: it is left as it is")
    down()
    shutil.rmtree(home)
    return home
