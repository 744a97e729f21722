"""What a trial costs that learns nothing: four reports and the end, one trial at a time, on a stack that runs.

    seldtune up && python -m infra.bench.search.trial_overhead

The peer is what Ray's guides show: a Tune function that calls `TorchTrainer.fit` with one worker, `TuneReportCallback`,
`MLflowLoggerCallback`, and everything else as it comes. Ours are whole sweeps by `run_sweep`, with their search, early
stopping, record and MLflow runs; only the training loop is replaced, in the process that would train, by one that hands
over the same scores at once. `ours` trains in the trial's actor, `ours, group` in a worker group. All report the same
numbers to the same MLflow server. A run counts from `Tuner.fit` until everything is recorded; each is a process of its
own, because what ours asks of Ray is asked for a whole process.

Beside it: how long `Session.report` keeps a training loop whose epochs take a moment, and what of that is waiting to be
told whether to go on.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import mlflow
import ray
import torch
from ray import tune

import infra.sweep.search
from data.classes import STARSS23
from data.scenes.synth import SynthSettings, synthesise
from infra.bench.measure import OURS, parser, result, show
from infra.stack.settings import Settings, load_settings
from infra.sweep.request import SweepRequest
from infra.sweep.run import run_sweep
from infra.sweep.tune import run_trials
from search_spaces.quickstart import QUICKSTART
from trainables.config import TrialConfig
from trainables.training.loop import Session
from trainables.training.reports import OBJECTIVE, REPORT_KEYS
from trainables.training.session import KeepGoing
from trainables.training.worker import SweepContext

PLAIN, GROUP = "plain", "ours, group"
SIDES = (OURS, PLAIN, GROUP)
ANSWER, REPORT = "system/answer_ms", "system/report_ms"
SCENES = SynthSettings(
    train_clips=1, val_clips=1, test_clips=0, clip_s=4.0, train_rooms=1, val_rooms=1, with_video=False
)


def scores(epoch: int) -> dict[str, float]:
    """A report as long as a real one. They are all alike, so that early stopping judges them and stops none."""
    names = [*REPORT_KEYS, *(f"class/{sound}/{score}" for sound in STARSS23.short_names for score in ("F", "LE", "LR"))]
    return {**dict.fromkeys(names, 0.5), "epoch": epoch}


# --- the training loop that does not train ----------------------------------------------------------------------------


@dataclasses.dataclass
class TimedAsk:
    """In place of `SweepContext.ask`: the same, and how long the last answer took."""

    ask: Callable[[int], KeepGoing]
    last_ms: float = 0.0

    def __call__(self, number: int) -> KeepGoing:
        keep_going = self.ask(number)

        def timed(epoch: int) -> Any:
            started = time.perf_counter()
            decision = keep_going(epoch)
            self.last_ms = 1000 * (time.perf_counter() - started)
            return decision

        return timed


def learn_nothing(ask: TimedAsk, epoch_s: float) -> Callable[..., None]:
    """In place of `trainables.training.loop.train_trial`: its reports, each with what the one before it took."""

    def train(config: TrialConfig, session: Session, *_: Any) -> None:
        took: dict[str, float] = {}
        for epoch in range(1, config.training.epochs + 1):
            time.sleep(epoch_s)
            started = time.perf_counter()
            decision = session.report({**scores(epoch), **took})
            took = {REPORT: 1000 * (time.perf_counter() - started), ANSWER: ask.last_ms}
            if not decision.go_on:
                return

    return train


def idle_trials(epoch_s: float) -> Callable[..., bool]:
    """`infra.sweep.tune.run_trials` with that loop."""

    def run(searcher: Any, stopping: Any, recorder: Any, context: SweepContext, *rest: Any) -> bool:
        ask = TimedAsk(context.ask)
        context = dataclasses.replace(context, ask=ask, train_trial=learn_nothing(ask, epoch_s))
        return run_trials(searcher, stopping, recorder, context, *rest)

    return run


# --- the sides, each in a process of its own --------------------------------------------------------------------------


def run_ours(settings: Settings, trials: int, epochs: int, epoch_s: float, workers: int) -> dict[str, Any]:
    """A sweep of such trials: seconds from `Tuner.fit` until MLflow has everything, and the times of reports."""
    infra.sweep.search.run_trials = idle_trials(epoch_s)
    begun: list[float] = []
    fit = tune.Tuner.fit

    def timed_fit(tuner: tune.Tuner) -> Any:
        begun.append(time.perf_counter())
        return fit(tuner)

    tune.Tuner.fit = timed_fit
    request = SweepRequest(
        space=QUICKSTART,
        name=f"idle-{uuid.uuid4().hex[:8]}",
        data=data_uri(settings),
        trials=trials,
        budget_s=3600.0,
        workers=workers,
        concurrency=1,
        fixed={"training.epochs": epochs},
    )
    with run_sweep(request, settings) as outcome:
        assert outcome.tracker.flush()
        seconds = time.perf_counter() - begun[0]
    reports = [report for record in outcome.records for report in record.reports]
    assert len(reports) == trials * epochs, f"{len(reports)} reports of {trials} trials"
    ends = [record.reports[-1]["at"] for record in outcome.records]
    return {
        "seconds": seconds,
        "ends": ends,
        "report_ms": [report[REPORT] for report in reports if REPORT in report],
        "answer_ms": [report[ANSWER] for report in reports if ANSWER in report],
    }


def run_plain(settings: Settings, trials: int, epochs: int) -> dict[str, Any]:
    """The same trials as Ray's guides have them."""
    from ray import train
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    from infra.cluster.join import ray_storage
    from infra.cluster.ray_private import read_environment_again

    storage = ray_storage(f"{settings.root}/bench/plain-{uuid.uuid4().hex[:8]}")

    def train_on_worker() -> None:
        for epoch in range(1, epochs + 1):
            train.report(scores(epoch))

    def run_trial(config: dict[str, Any]) -> None:
        TorchTrainer(
            train_on_worker,
            scaling_config=train.ScalingConfig(num_workers=1),
            run_config=train.RunConfig(
                name=f"trial-{tune.get_context().get_trial_id()}", callbacks=[TuneReportCallback()], **storage
            ),
        ).fit()

    class Ends(tune.Callback):
        def __init__(self) -> None:
            self.at: list[float] = []

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            self.at.append(time.time())

    # Where a machine has several Rays, what clears up behind a worker group does not know its own, and never ends.
    read_environment_again()
    ray.init(address=settings.ray_address, runtime_env={"env_vars": {"RAY_ADDRESS": settings.ray_address or ""}})
    ends = Ends()
    tracker = MLflowLoggerCallback(tracking_uri=settings.mlflow_tracking_uri, experiment_name="plain")
    tuner = tune.Tuner(
        run_trial,
        param_space={"lr": tune.loguniform(4e-4, 4e-3)},
        tune_config=tune.TuneConfig(num_samples=trials, max_concurrent_trials=1, metric=OBJECTIVE, mode="min"),
        run_config=tune.RunConfig(name="plain", callbacks=[tracker, ends], **storage),
    )
    started = time.perf_counter()
    found = tuner.fit()
    seconds = time.perf_counter() - started
    assert not found.errors
    assert [result.metrics["epoch"] for result in found] == [epochs] * trials
    return {"seconds": seconds, "ends": ends.at}


def data_uri(settings: Settings) -> str:
    """The store that ours decode, of two recordings of four seconds."""
    return f"{settings.root}/data/bench-idle"


def in_child(side: str, trials: int, epochs: int, epoch_s: float = 0.0, workers: int = 1) -> dict[str, Any]:
    """One run of a side in a process of its own."""
    command = [sys.executable, "-m", "infra.bench.search.trial_overhead", "--side", side, "--trials", str(trials)]
    command += ["--epochs", str(epochs), "--epoch-s", str(epoch_s), "--workers", str(workers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{side} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, repeats=1)
    options.add_argument("--trials", type=int, default=4, help="of each run (default %(default)s)")
    options.add_argument("--workers", type=int, default=2, help="of the worker group (default %(default)s)")
    options.add_argument("--epochs", type=int, default=4, help="reports of each trial (default %(default)s)")
    options.add_argument("--epoch-s", type=float, default=0.5, help="of epochs whose reports are timed")
    options.add_argument("--side", help=argparse.SUPPRESS)  # run this one alone, here, and say what it took
    chosen = options.parse_args(arguments)
    settings = load_settings()
    settings.export()
    if chosen.side == PLAIN:
        print(json.dumps(run_plain(settings, chosen.trials, chosen.epochs)))
        return
    if chosen.side:
        print(json.dumps(run_ours(settings, chosen.trials, chosen.epochs, chosen.epoch_s, chosen.workers)))
        return
    torch.set_num_threads(chosen.threads)
    synthesise(SCENES, data_uri(settings))
    workers = {OURS: 1, GROUP: chosen.workers}
    times: dict[str, list[float]] = {side: [] for side in SIDES}
    later: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(chosen.repeats):
        for side in SIDES:
            took = in_child(side, chosen.trials, chosen.epochs, workers=workers.get(side, 1))
            times[side].append(1000 * took["seconds"] / chosen.trials)
            later[side] += [b - a for a, b in itertools.pairwise(took["ends"])]
            print(f"{side}: {times[side][-1] / 1000:.2f} s a trial, later ones {statistics.median(later[side]):.2f} s")
    reports = in_child(OURS, 2, 20, chosen.epoch_s)
    outcome = result(
        "trial_overhead",
        "trial",
        times,
        {"trials": chosen.trials, "reports": chosen.epochs, "group_workers": chosen.workers},
        later_s={side: statistics.median(gaps) for side, gaps in later.items()},
        report_ms=statistics.median(reports["report_ms"]),
        answer_ms=statistics.median(reports["answer_ms"]),
        report_without_answer_ms=statistics.median(
            whole - answer for whole, answer in zip(reports["report_ms"], reports["answer_ms"], strict=True)
        ),
        ray=ray.__version__,
        mlflow=mlflow.__version__,
    )
    print(
        f"a report keeps the loop {outcome['report_ms']:.1f} ms, of which it waits {outcome['answer_ms']:.1f} ms "
        "to be told whether to go on"
    )
    show(outcome, chosen.save)


if __name__ == "__main__":
    main()
