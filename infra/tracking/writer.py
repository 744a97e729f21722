"""Writing to an MLflow server: in batches, at a bounded rate, without secrets, each request made once.

MLflow's client repeats a failed request itself, for minutes, also one that starts a run, which the server may then
start twice. Here a request is made once: it succeeds, or the server is `Away` and the same may be asked again later, or
it is `Refused` and asking again is of no use. Whatever is written here may be written twice without harm: parameters,
tags and files are replaced by the same, and the server drops a metric that it holds with the same time, step and value.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import mlflow
import requests
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException, RestException

from data.errors import Unavailable
from infra.provenance.secrets import Redaction

MOST_METRICS, MOST_PARAMS, MOST_TAGS, MOST_ENTITIES, MOST_BYTES = 1000, 100, 100, 1000, 900_000
"""Of one request; the server refuses more (and a megabyte)."""
LONGEST_PARAM, LONGEST_TAG = 6000, 5000
PAGE_RUNS = 500

_ENVIRONMENT = {
    # The writer has its own patience, and tells of it once.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    # Seconds without a byte; MLflow's own would let a server that died in the middle keep all trials waiting for two
    # minutes each time.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
_FINAL_CODES = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"}
_FINAL_STATUS = {400, 413}


class Away(Unavailable):
    """The server did not take a request now: it is down, hangs, is overloaded, or does not know our credentials."""


class Refused(RuntimeError):
    """The server, or its client, will never take this request."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much a writer may ask of the server, and how soon again after it did not answer."""

    requests_per_s: float = 20.0
    burst: int = 5
    """Requests that may follow each other at once after a pause."""
    first_retry_s: float = 1.0
    longest_retry_s: float = 8.0


class TokenBucket:
    """Lets through `burst` requests at once and `rate_per_s` in the long run: at most burst + t * rate in any t s."""

    def __init__(self, rate_per_s: float, burst: int) -> None:
        self._rate, self._burst = rate_per_s, burst
        self._tokens, self._at = float(burst), time.monotonic()

    def take(self, tokens: int = 1) -> None:
        """Wait until so many requests may be made."""
        now = time.monotonic()
        self._tokens = min(float(self._burst), self._tokens + (now - self._at) * self._rate) - tokens
        self._at = now
        if self._tokens < 0:
            time.sleep(-self._tokens / self._rate)


class MlflowWriter:
    """One client of one server, for one thread at a time.

    Every method may raise `Away` or `Refused`.
    """

    def __init__(self, tracking_uri: str, limits: Limits, redaction: Redaction) -> None:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        self.uri = tracking_uri.rstrip("/")
        self._client = mlflow.MlflowClient(tracking_uri)
        self._bucket = TokenBucket(limits.requests_per_s, limits.burst)
        self._redaction = redaction

    def find_experiment(self, name: str) -> str:
        """Id of the experiment, which is made where there is none."""
        with self._request():
            found = self._client.get_experiment_by_name(name)
        if found:
            return found.experiment_id
        with self._request():
            # The UI otherwise takes it for an experiment with language models.
            return self._client.create_experiment(name, tags={"mlflow.experimentKind": "custom_model_development"})

    def runs(self, experiment_id: str, query: str) -> Iterator[Run]:
        """The runs that a query finds, oldest first; a request for each `PAGE_RUNS` of them."""
        token = None
        while True:
            with self._request():
                page = self._client.search_runs(
                    [experiment_id],
                    query,
                    max_results=PAGE_RUNS,
                    order_by=["attributes.start_time ASC"],
                    page_token=token,
                )
            yield from page
            token = page.token
            if not token:
                return

    def find_run(self, run_id: str) -> Run | None:
        """A run by its id; nothing where there is none, or it was deleted."""
        try:
            with self._request():
                run = self._client.get_run(run_id)
        except Refused:
            return None
        return run if run.info.lifecycle_stage == "active" else None

    def create_run(self, experiment_id: str, name: str, tags: Mapping[str, str], started_s: float | None = None) -> Run:
        """Start a run. After `Away` it may be there all the same: look for it by its tags before starting another."""
        with self._request():
            return self._client.create_run(
                experiment_id,
                start_time=None if started_s is None else int(started_s * 1000),
                run_name=name,
                tags=self.fitted_tags(tags),
            )

    def log(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Write all of it in as few requests as MLflow allows; tags come last, so they tell that the rest is there."""
        entities: list[Param | Metric | RunTag] = [
            *(Param(key, self._fitted(str(value), LONGEST_PARAM)) for key, value in (params or {}).items()),
            *metrics,
            *(RunTag(key, value) for key, value in self.fitted_tags(tags or {}).items()),
        ]
        for batch in _batches(entities):
            with self._request():
                self._client.log_batch(run_id, batch.metrics, batch.params, batch.tags)

    def log_content(self, run_id: str, path: str, content: bytes) -> None:
        """Attach a file; `path` is its name among the run's artifacts."""
        folder, _, name = path.rpartition("/")
        with tempfile.TemporaryDirectory() as scratch:
            local = Path(scratch) / name
            local.write_bytes(self._redaction.content(content))
            with self._request(2):  # MLflow's client asks for the run first, to learn where its files lie
                self._client.log_artifact(run_id, str(local), folder or None)

    def end_run(self, run_id: str, status: str, ended_s: float | None = None) -> None:
        with self._request():
            self._client.set_terminated(run_id, status, None if ended_s is None else int(ended_s * 1000))

    def reopen_run(self, run_id: str) -> None:
        with self._request(2):
            self._client.update_run(run_id, status="RUNNING")

    def delete_run(self, run_id: str) -> None:
        with self._request():
            self._client.delete_run(run_id)

    def fitted_tags(self, tags: Mapping[str, str]) -> dict[str, str]:
        """The tags as they are written: without secrets, and cut where they are too long."""
        return {key: self._fitted(value, LONGEST_TAG) for key, value in tags.items()}

    def _fitted(self, value: str, longest: int) -> str:
        """The value without secrets, and cut, with a mark that says so, where it is longer than MLflow takes."""
        value = self._redaction.text(value)
        if len(value) <= longest:
            return value
        mark = f" [cut: {len(value)} characters]"
        return value[: longest - len(mark)] + mark

    @contextmanager
    def _request(self, requests_made: int = 1) -> Iterator[None]:
        self._bucket.take(requests_made)
        try:
            yield
        except (MlflowException, OSError) as error:
            said = self._redaction.text(in_short(error))
            if is_final(error):
                raise Refused(said) from error
            raise Away(f"MLflow at {self.uri} does not answer: {said}") from error
        except Exception as error:  # of a library further down: whoever writes has to outlive it, and asks again
            said = self._redaction.text(f"{type(error).__name__}: {error}")
            raise Away(f"MLflow at {self.uri} was not understood: {said}") from error


def in_short(error: Exception) -> str:
    """What MLflow's client or the way to its server says, in a line without what the client tried."""
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    asked, failed, why = said.partition(" failed with exception ")
    # The innermost reason comes last: HTTPConnectionPool(...): ... (Caused by ...: [Errno 111] Connection refused")).
    reason = re.split(r": |\(['\"]", why.rstrip("'\")"))[-1]
    return f"{asked}: {reason}" if failed else said


def is_final(error: Exception) -> bool:
    """Whether the server would say the same again."""
    if isinstance(error, requests.HTTPError):
        return error.response is not None and error.response.status_code in _FINAL_STATUS
    if not isinstance(error, MlflowException):
        return False
    # Only what MLflow itself says, not what a proxy in front of it says while it is down.
    by_mlflow = isinstance(error, RestException) or error.error_code == "INVALID_PARAMETER_VALUE"
    return by_mlflow and error.error_code in _FINAL_CODES


@dataclass
class _Batch:
    """What one request holds."""

    metrics: list[Metric] = field(default_factory=list)
    params: list[Param] = field(default_factory=list)
    tags: list[RunTag] = field(default_factory=list)
    bytes: int = 0

    def has_room(self, entity: Param | Metric | RunTag, size: int) -> bool:
        metrics, params, tags = len(self.metrics), len(self.params), len(self.tags)
        return (
            metrics + params + tags < MOST_ENTITIES
            and metrics < MOST_METRICS
            and (params < MOST_PARAMS or not isinstance(entity, Param))
            and (tags < MOST_TAGS or not isinstance(entity, RunTag))
            and self.bytes + size <= MOST_BYTES
        )

    def add(self, entity: Param | Metric | RunTag, size: int) -> None:
        if isinstance(entity, Metric):
            self.metrics.append(entity)
        elif isinstance(entity, Param):
            self.params.append(entity)
        else:
            self.tags.append(entity)
        self.bytes += size


def _batches(entities: Sequence[Param | Metric | RunTag]) -> Iterator[_Batch]:
    """The entities in order, in as few requests as their limits allow."""
    batch = _Batch()
    for entity in entities:
        # What JSON makes of it: names and punctuation, a number, or an escaped text.
        size = 120 + len(json.dumps([entity.key, entity.value]))
        if not batch.has_room(entity, size):
            yield batch
            batch = _Batch()
        batch.add(entity, size)
    if entities:
        yield batch
