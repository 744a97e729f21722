"""What is broken: each drill by its name, with how it is broken and mended again."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial

import psutil

from infra.drills.drill import Breaking, Drill, Fault, KilledAt
from infra.drills.place import Place
from infra.drills.relay import Interference, Relay, says, slow
from infra.drills.sweep import DrillSweep


def _answered(relay: Callable[[Place], Relay], fault: Interference) -> Breaking:
    @contextmanager
    def breaking(place: Place, _: DrillSweep) -> Iterator[None]:
        with relay(place).faulty(fault):
            yield

    return breaking


@contextmanager
def _killed(service: str, place: Place, _: DrillSweep) -> Iterator[None]:
    place.kill(service)
    yield
    place.start_again(service)


@contextmanager
def _frozen(service: str, place: Place, _: DrillSweep) -> Iterator[None]:
    with place.frozen(service):
        yield


@contextmanager
def _locked(place: Place, _: DrillSweep) -> Iterator[None]:
    with closing(sqlite3.connect(place.mlflow_database, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        yield
        database.execute("ROLLBACK")


@contextmanager
def _trial_killed(place: Place, _: DrillSweep) -> Iterator[None]:
    for process in place.processes("ray"):
        try:
            if "ResourceTrainable" in " ".join(process.cmdline()):
                process.kill()
                break
        except psutil.NoSuchProcess:
            continue
    else:
        raise RuntimeError("no trial has a process")
    yield


@contextmanager
def _driver_killed(place: Place, sweep: DrillSweep) -> Iterator[None]:
    assert sweep.process is not None
    sweep.process.kill()
    sweep.process.wait()
    yield
    sweep.start()


@contextmanager
def _interrupted_twice(place: Place, sweep: DrillSweep) -> Iterator[None]:
    assert sweep.process is not None
    sweep.process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    sweep.process.send_signal(signal.SIGINT)
    sweep.process.wait()
    yield
    sweep.start()


@contextmanager
def _ray_killed(place: Place, sweep: DrillSweep) -> Iterator[None]:
    """All of Ray, its GCS first; the sweep ends with it, and its command goes on."""
    place.kill("ray")
    sweep.wait()
    yield
    place.start_again("ray")
    sweep.start()


@contextmanager
def _second_driver(place: Place, sweep: DrillSweep) -> Iterator[None]:
    """Another is started while the first one runs; it is refused, or this drill fails."""
    second = DrillSweep(place, sweep.name)
    second.start()
    if (code := second.wait()) != 2:
        raise RuntimeError(f"a second driver ended with {code}")
    yield


def _driver_killed_at(step: str, path: str, *, nth: int = 1, before: bool = False) -> KilledAt:
    """The driver is killed at a step, in words."""
    name = f"killed-{step.lower().replace(' ', '-')}"
    breaks = f"the driver is killed {step}, and its command given again"
    return KilledAt(name=name, breaks=breaks, path=path, nth=nth, before=before)


def _s3(place: Place) -> Relay:
    return place.s3


def _mlflow(place: Place) -> Relay:
    return place.mlflow


DRILLS: dict[str, Drill] = {
    drill.name: drill
    for drill in (
        Fault(
            name="store-killed",
            breaks="the object store is killed, and started again",
            seconds=15,
            by=partial(_killed, "s3"),
            says="does not answer .*; trials wait",
        ),
        Fault(
            name="store-frozen",
            breaks="the object store has its connections and answers nothing",
            by=partial(_frozen, "s3"),
            seconds=30,
        ),
        Fault(
            name="store-refuses",
            breaks="the object store refuses whatever is written (403)",
            seconds=15,
            by=_answered(_s3, says(403, "AccessDenied", writes=True)),
            says="refuses the credentials .*AccessDenied.*; trials wait",
        ),
        Fault(
            name="store-full",
            breaks="the object store has no room for more (507)",
            seconds=15,
            by=_answered(_s3, says(507, "InsufficientStorage", writes=True)),
            says="InsufficientStorage.*; trials wait",
        ),
        Fault(
            name="store-slow",
            breaks="the object store takes two seconds for each request",
            seconds=15,
            by=_answered(_s3, slow(2.0)),
        ),
        Fault(
            name="store-errs",
            breaks="the object store answers half of all requests with 500",
            seconds=15,
            by=_answered(_s3, says(500, "InternalError", share=0.5)),
        ),
        Fault(
            name="store-overloaded",
            breaks="the object store answers half of all requests with 503",
            seconds=15,
            by=_answered(_s3, says(503, "SlowDown", share=0.5)),
        ),
        Fault(
            name="mlflow-killed",
            of_mlflow=True,
            breaks="MLflow is killed, and started again",
            seconds=15,
            by=partial(_killed, "mlflow"),
            says="MLflow at .* does not answer.*training goes on",
        ),
        Fault(
            name="mlflow-frozen",
            of_mlflow=True,
            breaks="MLflow has its connections and answers nothing",
            by=partial(_frozen, "mlflow"),
            seconds=45,
        ),
        Fault(
            name="mlflow-slow",
            of_mlflow=True,
            breaks="MLflow takes two seconds for each request",
            seconds=15,
            by=_answered(_mlflow, slow(2.0)),
        ),
        Fault(
            name="mlflow-errs",
            of_mlflow=True,
            breaks="MLflow answers with 500",
            seconds=15,
            by=_answered(_mlflow, says(500, "InternalError")),
            says="training goes on",
        ),
        Fault(
            name="mlflow-locked",
            of_mlflow=True,
            breaks="somebody else has locked MLflow's database",
            seconds=15,
            by=_locked,
        ),
        Fault(
            name="trial-killed",
            breaks="the process of a trial is killed",
            by=_trial_killed,
            says="node lost",
            tries_again=True,
        ),
        Fault(
            name="driver-killed",
            breaks="the driver is killed, and its command given again",
            by=_driver_killed,
        ),
        Fault(
            name="interrupted-twice",
            breaks="Ctrl-C is hit twice, and the command given again",
            by=_interrupted_twice,
        ),
        Fault(
            name="ray-killed",
            breaks="all of Ray is killed, its GCS as well, and started again with the command",
            by=_ray_killed,
        ),
        Fault(
            name="second-driver",
            breaks="the same command is given again while the sweep runs",
            by=_second_driver,
        ),
        _driver_killed_at("before a trial is proposed", r"/trials/00000\.json", before=True),
        _driver_killed_at("as a trial is proposed", r"/trials/00000\.json"),
        _driver_killed_at("as a trial has begun", r"/trials/00000\.json", nth=2),
        _driver_killed_at("as a best model is written", r"/work/00000/best/.*"),
        _driver_killed_at("as a checkpoint is written", r"/work/00000/checkpoints/.*"),
        _driver_killed_at("before a report is written", r"/trials/00000\.json", nth=3, before=True),
        _driver_killed_at("as a report is written", r"/trials/00000\.json", nth=3),
        _driver_killed_at("as a trial has ended", r"/trials/00000\.json", nth=3 + 8),
        _driver_killed_at("as the untrained model is scored", r"/untrained/.*"),
        _driver_killed_at("as a file waits for MLflow", r"/outbox/.*\.bin"),
    )
}
