"""A sweep as a job on a running Ray cluster: submitted, found again by its name, followed, and stopped.

The job is `seldtune sweep` with the same options, on the cluster's head, and needs nobody who follows it. It is found
again in Ray's own list of jobs, where a sweep's are called `seldtune-<sweep>-<n>`, n counting its submissions. Two who
submit one sweep at once therefore ask for the same id, and Ray gives it to one of them.

No secret goes along, in no option, variable or file: the cluster's nodes have them in their own environment.
"""

from __future__ import annotations

import asyncio
import logging
import re
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import aiohttp
import requests

from data.errors import UserError
from infra.cluster.job_api import JobClient
from infra.provenance.secrets import Redaction

logger = logging.getLogger(f"seldtune.{__name__}")

SUCCEEDED, FAILED, STOPPED = "SUCCEEDED", "FAILED", "STOPPED"
ENDED = (SUCCEEDED, FAILED, STOPPED)
STOP_WAIT_S = 60
"""How long a driver that is asked to stop may take to write down how far it is, before Ray kills it."""
RETRY_S = 2.0
SILENCE_S = 60.0
"""After so long without a line the log is asked for anew: a connection may be dead without anybody having said so."""
PATIENCE_S = 600.0
"""How long a cluster that does not answer is tried again."""
MOST_BREAKS = 3
"""How often the log of a job that has ended is asked for again: its node may have gone, and the log with it."""
CONNECTION_ERRORS = (OSError, aiohttp.ClientError, requests.RequestException, RuntimeError)
"""RuntimeError is what Ray makes of a bad answer. A token that is refused is none of them."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One submission of a sweep, as the cluster tells it."""

    id: str
    state: str
    """PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED."""
    entrypoint: str
    message: str
    started: float | None = None
    """Seconds since 1970."""
    ended: float | None = None
    exit_code: int | None = None

    @property
    def is_over(self) -> bool:
        return self.state in ENDED

    @property
    def number(self) -> int:
        """Which submission of its sweep it is, counted from 1."""
        return int(self.id.rpartition("-")[2])

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Gone(UserError):
    """The cluster knows the job no more."""


def entrypoint(arguments: Sequence[str]) -> str:
    """The shell command that the job is, from the words behind `seldtune`."""
    # exec: the signal that ends a job then meets the driver alone.
    return "exec " + shlex.join(["python", "-m", "infra.cli", *arguments])


def runtime_env(folder: str | None, root: str | None, commit: str | None) -> dict[str, Any]:
    """What a job's processes are given beside what their node has.

    Args:
        folder: holds what is sent (`infra.cluster.upload`).
        root: SELDTUNE_ROOT, where it is not left to the cluster.
        commit: of the code that is sent, as `infra.provenance.checkout` reads it.
    """
    variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S), "SELDTUNE_ROOT": root, "SELDTUNE_COMMIT": commit}
    environment: dict[str, Any] = {"env_vars": {name: value for name, value in variables.items() if value}}
    if folder is not None:
        environment["working_dir"] = folder
    return environment


def refuse_secrets(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """UserError where an argument holds what looks like a secret of the environment."""
    redaction = Redaction(environment)
    for argument in arguments:
        if (shown := redaction.text(argument)) != argument:
            raise UserError(
                f"{shown!r} would show a secret of this environment to whoever sees the job: leave it out; the "
                "cluster's nodes take secrets from their own environment"
            )


def jobs_of(client: JobClient, sweep: str) -> list[Job]:
    """The submissions of a sweep on this cluster, in their order."""
    pattern = re.compile(rf"seldtune-{re.escape(sweep)}-\d+")
    jobs = [_job(job) for job in client.list_jobs() if job.submission_id and pattern.fullmatch(job.submission_id)]
    return sorted(jobs, key=lambda job: job.number)


def last_job(client: JobClient, sweep: str) -> Job:
    """The last submission of a sweep.

    Raises:
        UserError: there is none on this cluster.
    """
    jobs = jobs_of(client, sweep)
    if not jobs:
        raise UserError(
            f"sweep {sweep!r} was not submitted to {client.get_address()}; `seldtune submit SPACE --name {sweep}` does"
        )
    return jobs[-1]


def job_of(client: JobClient, job_id: str) -> Job:
    """A job as it is now.

    Raises:
        Gone: the cluster has no such job.
    """
    try:
        return _job(client.get_job_info(job_id))
    except RuntimeError as error:
        if "status code 404" not in str(error):
            raise
        raise Gone(
            f"the cluster at {client.get_address()} has no job {job_id} (any more): if its head was replaced, submit "
            "the sweep again, and it goes on"
        ) from error


def _job(details: Any) -> Job:
    return Job(
        id=details.submission_id,
        state=str(getattr(details.status, "value", details.status)),
        entrypoint=details.entrypoint,
        message=details.message or "",
        started=details.start_time and details.start_time / 1000,
        ended=details.end_time and details.end_time / 1000,
        exit_code=details.driver_exit_code,
    )


def submit(client: JobClient, sweep: str, command: str, environment: Mapping[str, Any]) -> tuple[Job, bool]:
    """Submit a sweep, unless it runs already; the job, and whether it is a new one.

    Args:
        command: from `entrypoint`.
        environment: from `runtime_env`.
    """
    while True:
        jobs = jobs_of(client, sweep)
        if jobs and not jobs[-1].is_over:
            return jobs[-1], False
        job_id = f"seldtune-{sweep}-{jobs[-1].number + 1 if jobs else 1}"
        try:
            client.submit_job(
                entrypoint=command,
                submission_id=job_id,
                runtime_env=dict(environment),
                metadata={"sweep": sweep},
            )
            return job_of(client, job_id), True
        except RuntimeError:
            # Somebody else had the same id a moment earlier; if not, it is a failure.
            if all(job.id != job_id for job in jobs_of(client, sweep)):
                raise


def stop(client: JobClient, job: Job, patience_s: float = STOP_WAIT_S + 30.0) -> Job:
    """Ask a job to stop and wait until it has; how it then is.

    Raises:
        UserError: it has not in time.
    """
    if not job.is_over:
        client.stop_job(job.id)
    deadline = time.monotonic() + patience_s
    while not (job := job_of(client, job.id)).is_over:
        if time.monotonic() > deadline:
            raise UserError(f"job {job.id} has not stopped within {patience_s:.0f} s; `--status` shows how it stands")
        time.sleep(0.5)
    return job


class Follower:
    """Shows a job's log from its beginning until the job ends, over any number of connections, each line once.

    Args:
        write: takes the log as it comes.
        patience_s: how long a cluster that does not answer is tried again.
    """

    def __init__(
        self, client: JobClient, job_id: str, write: Callable[[str], object], patience_s: float = PATIENCE_S
    ) -> None:
        self._client = client
        self._id = job_id
        self._write = write
        self._patience_s = patience_s
        self._shown = 0
        """Characters of the log."""
        self._lost: float | None = None
        """Since when there is no connection, by the monotonic clock."""

    def follow(self) -> Job:
        """The job once it has ended.

        Raises:
            Gone: the cluster has another head, which knows nothing of the job.
            UserError: the cluster has not answered for too long.
        """
        breaks = 0
        while True:
            try:
                try:
                    asyncio.run(self._read())
                    breaks = 0
                except CONNECTION_ERRORS as error:
                    logger.debug("the log of job %s broke off: %s", self._id, error)
                    breaks += 1
                job = job_of(self._client, self._id)
                self._answered()
                if job.is_over and (not breaks or breaks > MOST_BREAKS):
                    return job
            except CONNECTION_ERRORS as error:
                self._unanswered(error)
            time.sleep(RETRY_S)

    async def _read(self) -> None:
        """The log from its beginning, as far as it was not shown yet, until it ends, or is silent for long."""
        behind, stream = self._shown, self._client.tail_job_logs(self._id)
        try:
            while True:
                chunk = await asyncio.wait_for(anext(stream), SILENCE_S)
                self._answered()
                fresh = chunk[behind:]
                behind = max(0, behind - len(chunk))
                self._shown += len(fresh)
                if fresh:
                    self._write(fresh)
        except (StopAsyncIteration, TimeoutError):
            return
        finally:
            await stream.aclose()

    def _answered(self) -> None:
        if self._lost is not None:
            logger.info("connected again")
        self._lost = None

    def _unanswered(self, error: Exception) -> None:
        now = time.monotonic()
        if self._lost is None:
            self._lost = now
            logger.warning(
                "no connection to %s (%s); job %s goes on without; trying again",
                self._client.get_address(),
                type(error).__name__,
                self._id,
            )
        elif now - self._lost > self._patience_s:
            raise UserError(
                f"{self._client.get_address()} has not answered for {self._patience_s:.0f} s; job {self._id} may well "
                "run on: follow it again once the cluster is back"
            ) from error
