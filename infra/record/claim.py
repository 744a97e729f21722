"""One driver for a sweep: who runs it, since when, and whether they still do.

Two things hold the claim. On the cluster it is an actor with the sweep's name: Ray lets no second one in, and ends it
with its driver, however that ends. On storage it is `driver.json`, written anew every few seconds, so that a driver on
another cluster, and `seldtune status`, see it too. A killed driver never blocks: its actor is gone in seconds, its
process is seen to be gone on the same host, and elsewhere its file is seen not to change.

Imports little: so does the actor's process.
"""

from __future__ import annotations

import _thread
import contextlib
import hashlib
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any

import psutil

from data import storage
from data.errors import Unavailable, UserError, WaitedInVain
from data.patience import in_a_hurry
from data.remembered import read_back, read_document
from infra.stack.answers import ray_answers

logger = logging.getLogger(f"seldtune.{__name__}")

BEAT_S = 10.0
AWAY_BEAT_S = 2.0
"""While storage is away: others take a driver for dead that is silent for long after."""
SILENCE_S = 3 * BEAT_S
"""After so long without a sign of life a driver is taken for dead."""
LONG_SILENCE_S = 10 * SILENCE_S
"""After so long, whatever the difference between two hosts' clocks."""
FAREWELL_S = 20.0
"""How long Ray may take to notice that a driver has died."""
NAMESPACE = "seldtune"

RUNNING, FINISHED, INTERRUPTED, FAILED = "running", "finished", "interrupted", "failed"


@dataclass(frozen=True, kw_only=True)
class Driver:
    """What `driver.json` says."""

    id: str
    host: str
    pid: int
    born: float
    """When its process began, in seconds since 1970: a pid comes round again."""
    cluster: str
    """Address of the Ray cluster it works on."""
    since: float
    beat: float
    """Its last sign of life."""
    state: str
    """running, finished, interrupted or failed."""
    facts: dict[str, Any] = field(default_factory=dict)
    """How far the sweep is; for `infra.watch.overview`."""

    @property
    def is_here(self) -> bool:
        """Whether it ran on this host."""
        return self.host == socket.gethostname()

    @property
    def lives(self) -> bool:
        """Whether it still runs, as far as can be told at once."""
        if self.state != RUNNING:
            return False
        return _process_lives(self.pid, self.born) if self.is_here else time.time() - self.beat < SILENCE_S

    def refusal(self, sweep: str) -> UserError:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return UserError(
            f"sweep {sweep!r} is being run by pid {self.pid} on host {self.host} since {since}; "
            f"`seldtune status {sweep}` shows it, another --name starts another"
        )


def read_driver(uri: str) -> Driver | None:
    """The last driver of the sweep in this folder."""
    file = f"{uri}/driver.json"
    try:
        with read_back(file, "delete it: whoever runs the sweep writes it anew"):
            return Driver(**json.loads(read_document(file)))
    except FileNotFoundError:
        return None


def require_free(uri: str, sweep: str, cluster: str) -> Driver | None:
    """Refuse while another driver runs the sweep; the last driver, if there was one.

    Where that can only be told by whether its file changes (another host, another cluster, a recent sign of life), it
    is watched for a while. A driver on another host of the same cluster is left to `SweepClaim` to ask for.

    Raises:
        UserError: another driver runs it.
    """
    last = read_driver(uri)
    if last is None or last.state != RUNNING:
        return last
    if last.is_here:
        if last.lives:
            raise last.refusal(sweep)
        return last
    if last.cluster != cluster and time.time() - last.beat < LONG_SILENCE_S:
        logger.info("waiting for a sign of the driver on %s, which ran this sweep on another cluster", last.host)
        deadline = time.monotonic() + SILENCE_S
        while time.monotonic() < deadline:
            time.sleep(1.0)
            now = read_driver(uri)
            if now is None or now.state != RUNNING:
                return now
            if now.beat != last.beat:
                raise now.refusal(sweep)
    return last


class Holder:
    """The actor that is there as long as its driver."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def who(self) -> Driver:
        return self._driver


class SweepClaim:
    """A context in which the sweep is this process's. Nothing is written before `announce`.

    Args:
        uri: the sweep's folder.
        cluster: as `require_free` takes it.
        ray_address: where this process reaches Ray (`Settings.ray_address`).

    Raises:
        UserError: on entering, when another driver of the same cluster runs the sweep.
    """

    def __init__(self, uri: str, sweep: str, cluster: str, ray_address: str | None) -> None:
        self._uri = uri
        self._sweep = sweep
        self._ray_address = ray_address
        self._ray_answers = True
        self._facts: Callable[[], dict[str, Any]] = dict
        self.driver = Driver(
            id=uuid.uuid4().hex,
            host=socket.gethostname(),
            pid=os.getpid(),
            born=psutil.Process().create_time(),
            cluster=cluster,
            since=time.time(),
            beat=time.time(),
            state=RUNNING,
        )
        self._end = INTERRUPTED
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="sweep-heartbeat", daemon=True)

    def __enter__(self) -> SweepClaim:
        self._actor = self._hold()
        return self

    def announce(self, facts: Callable[[], dict[str, Any]]) -> None:
        """Write `driver.json` from now on.

        Args:
            facts: what else to tell, called from a thread at each beat.
        """
        self._facts = facts
        self._write(RUNNING)
        self._thread.start()

    def finished(self) -> None:
        """The sweep is done; otherwise it counts as interrupted, or as failed if an exception ends it."""
        self._end = FINISHED

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import ray

        if self._thread.is_alive():
            self._stop.set()
            self._thread.join()
            if error is not None:
                failed = isinstance(error, Exception) and not isinstance(error, WaitedInVain)
                self._end = FAILED if failed else INTERRUPTED
                logger.error("sweep %r %s; the same command goes on from here", self._sweep, self._end)
            with contextlib.suppress(OSError, UserError), in_a_hurry():
                self._write(self._end)
        with contextlib.suppress(ray.exceptions.RayError):
            ray.kill(self._actor)

    def _hold(self) -> Any:
        """The actor of this claim, once no other driver's lives."""
        import ray

        from infra.cluster.nodes import on_this_node

        name = f"sweep-{hashlib.sha256(self._uri.encode()).hexdigest()[:16]}"
        started = time.monotonic()
        while True:
            try:
                holder_class = ray.remote(num_cpus=0, scheduling_strategy=on_this_node())(Holder)
                actor = holder_class.options(name=name, namespace=NAMESPACE).remote(self.driver)
                ray.get(actor.who.remote())
                return actor
            except ValueError:
                pass  # the name is taken
            holder, waited_s = _ask(name), time.monotonic() - started
            if holder is not None and (holder.lives if holder.is_here else waited_s > FAREWELL_S / 2):
                raise holder.refusal(self._sweep)
            if waited_s > FAREWELL_S:
                raise UserError(f"sweep {self._sweep!r} is held by a driver that does not answer; wait a minute")
            time.sleep(0.5)

    @in_a_hurry()  # whoever ends the sweep waits for this thread
    def _beat(self) -> None:
        wait_s = BEAT_S
        while not self._stop.wait(wait_s):
            wait_s = BEAT_S
            try:
                there = read_driver(self._uri)
                if there is not None and there.id != self.driver.id:
                    logger.error("sweep %r was taken over by pid %d on %s", self._sweep, there.pid, there.host)
                    _thread.interrupt_main()
                    return
                # Facts are asked of Ray as well, and would wait for it.
                if self._cluster_answers():
                    self._write(RUNNING)
            except Unavailable:
                wait_s = AWAY_BEAT_S  # said by `data.patience`
            except (OSError, UserError) as error:
                logger.warning("no sign of life could be written (%s); trying again", error)

    def _cluster_answers(self) -> bool:
        """Whether Ray is there. If not, it is said: Ray waits for a minute, and then ends this process."""
        answered, self._ray_answers = self._ray_answers, ray_answers(self._ray_address) is not False
        if answered and not self._ray_answers:
            logger.error(
                "Ray at %s does not answer; if that lasts a minute, this process ends. Start Ray again, and the same "
                "command goes on with sweep %r",
                self._ray_address,
                self._sweep,
            )
        return self._ray_answers

    def _write(self, state: str) -> None:
        fields = {**asdict(self.driver), "beat": time.time(), "state": state, "facts": self._facts()}
        storage.write_bytes(f"{self._uri}/driver.json", json.dumps(fields, indent=1).encode())


def _ask(name: str) -> Driver | None:
    """Who holds the name; nothing when its actor is dying or gone."""
    import ray

    try:
        return ray.get(ray.get_actor(name, namespace=NAMESPACE).who.remote(), timeout=5.0)
    except (ValueError, ray.exceptions.RayError):
        return None


def _process_lives(pid: int, born: float) -> bool:
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - born) < 2.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
