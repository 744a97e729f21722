"""Starting services detached, finding all their processes again, and ending them.

A service is found by its recorded process, by the session that process leads (children stay in it when their parent is
killed), and by a variable in the environment that all its children inherit. Nothing is ever ended by its name.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import psutil

from infra.stack.home import ServiceRecord

MARKER = "SELDTUNE_STACK"
# The clock that start times are counted from may be set a little, never so much that a pid comes round again.
START_TIME_TOLERANCE_S = 2.0
# How long a service may take to end its own processes in good order.
LEADER_PATIENCE_S = 10.0
# How long what it leaves may take to comply.
STRAGGLER_PATIENCE_S = 2.0


def marker_value(home: Path, service: str) -> str:
    """What the marker variable holds in every process of this home's service."""
    return f"{service}@{home}"


def start_detached(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, with no terminal and its output appended to `log` (mode 0600)."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(
            command,
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)


def recorded_process(record: ServiceRecord | None) -> psutil.Process | None:
    """The process that the record names, if it still runs and is the same one."""
    if record is None or record.pid is None:
        return None
    try:
        process = psutil.Process(record.pid)
        return process if _started_at(process, record) and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def service_processes(home: Path, service: str, record: ServiceRecord | None) -> list[psutil.Process]:
    """Every live process of one service, also when the recorded one was killed and left children behind."""
    found: dict[int, psutil.Process] = {}
    session = record.pid if record and _pid_is_ours(record) else None
    mark = marker_value(home, service)
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            in_session = session is not None and os.getsid(process.pid) == session and _not_older(process, record)
            if in_session or process.environ().get(MARKER) == mark:
                found[process.pid] = process
    for process in list(found.values()):
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in process.children(recursive=True):
                if child.pid != os.getpid():
                    found.setdefault(child.pid, child)
    return list(found.values())


def _pid_is_ours(record: ServiceRecord) -> bool:
    """Whether the recorded number still stands for our session: its leader is the one we started, or is gone."""
    if record.pid is None:
        return False
    try:
        return _started_at(psutil.Process(record.pid), record)
    except psutil.NoSuchProcess:
        return True


def _started_at(process: psutil.Process, record: ServiceRecord) -> bool:
    return record.created is not None and abs(process.create_time() - record.created) < START_TIME_TOLERANCE_S


def _not_older(process: psutil.Process, record: ServiceRecord | None) -> bool:
    started = record.created if record and record.created else 0.0
    return process.create_time() > started - START_TIME_TOLERANCE_S


def memory_bytes(processes: Iterable[psutil.Process]) -> int:
    """Memory of these processes in bytes, pages that several share counted once (PSS), as far as they are ours."""
    total = 0
    for process in processes:
        with contextlib.suppress(psutil.Error, OSError):
            total += process.memory_full_info().pss
    return total


def end_service(home: Path, service: str, record: ServiceRecord | None) -> int:
    """End every process of a service: SIGTERM, some seconds to comply, then SIGKILL. Returns how many there were.

    The leader is asked first and alone, since it ends its children in good order; what it leaves is ended after it.
    """
    ended: set[int] = set()
    leader = recorded_process(record)
    processes = service_processes(home, service, record)
    ended.update(process.pid for process in processes)
    if leader is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            leader.terminate()
        psutil.wait_procs([leader], timeout=LEADER_PATIENCE_S)
        _, processes = psutil.wait_procs(processes, timeout=STRAGGLER_PATIENCE_S)
    for force in (False, True):
        # Look again: something may have been started while we waited.
        processes = list({*processes, *service_processes(home, service, record)})
        ended.update(process.pid for process in processes)
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill() if force else process.terminate()
        _, processes = psutil.wait_procs(processes, timeout=5.0 if force else STRAGGLER_PATIENCE_S)
    return len(ended)
