"""What of S3, MLflow and Ray runs where, whether the environment or the embedded stack gives it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from infra.stack.answers import mlflow_answers, ray_answers, s3_answers
from infra.stack.home import StackState, find_home, read_state
from infra.stack.processes import memory_bytes, recorded_process, service_processes
from infra.stack.services import SERVICES, log_path, s3_lacks_room
from infra.stack.settings import Settings, settings_from

TOKEN_NAME = "ray_token"


@dataclass(frozen=True, kw_only=True)
class ServiceStatus:
    """One line of `status`."""

    service: str
    state: str
    """running, stopped, not answering (its process lives), given or unreachable (by the environment), not needed.

    disk full: the object store runs, but takes no writes.
    """
    source: str
    """embedded or environment; empty when there is neither."""
    url: str | None = None
    pid: int | None = None
    memory_bytes: int | None = None
    """Of all its processes; shared pages are counted once."""
    log: str | None = None


@dataclass(frozen=True, kw_only=True)
class StackStatus:
    """What runs where. Holds no secret."""

    root: str
    home: str | None
    """None: no stack was ever started here."""
    services: list[ServiceStatus]
    ray_address: str | None = None
    """For `ray.init`; the service's URL is the dashboard's, which is for `ray job submit` as well."""
    ray_token_file: str | None = None
    """Its contents are what the dashboard asks for; RAY_AUTH_TOKEN_PATH takes it too."""

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def status() -> StackStatus:
    """What runs where. Starts nothing and needs nothing to be there."""
    home = find_home()
    state = read_state(home)
    records = state.services if state else {}
    alive = [name for name, record in records.items() if recorded_process(record) is not None]
    settings = settings_from(home, state, alive)
    embedded_ray = settings.sources["ray"] == "embedded"
    return StackStatus(
        root=settings.root,
        home=str(home) if state else None,
        services=[_service_status(home, state, settings, name) for name in SERVICES],
        ray_address=settings.ray_address,
        ray_token_file=str(home / TOKEN_NAME) if embedded_ray else None,
    )


def _service_status(home: Path, state: StackState | None, settings: Settings, name: str) -> ServiceStatus:
    source = settings.sources[name]
    url = {
        "s3": settings.s3_endpoint_url,
        "mlflow": settings.mlflow_tracking_uri,
        "ray": settings.ray_dashboard_url or settings.ray_address,
    }[name]
    if source == "environment":
        answers = {"s3": s3_answers, "mlflow": mlflow_answers, "ray": ray_answers}[name](url)
        return ServiceStatus(service=name, state="unreachable" if answers is False else "given", source=source, url=url)
    if source == "unused":
        return ServiceStatus(service=name, state="not needed", source="")
    if source == "missing" or state is None:
        return ServiceStatus(service=name, state="stopped", source="")
    record = state.services[name]
    running = "disk full" if name == "s3" and s3_lacks_room(home) else "running"
    return ServiceStatus(
        service=name,
        state=running if SERVICES[name].healthy(state) else "not answering",
        source=source,
        url=url,
        pid=record.pid,
        memory_bytes=memory_bytes(service_processes(home, name, record)),
        log=str(log_path(home, name)),
    )
