"""What a sweep would be, before it is paid for: whether it can run as asked, how large its models are, what it takes.

Writes nothing but what `infra.costs.calibration` keeps of a machine.
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from data.stores.chunks import Store
from infra.cluster.nodes import require_shared
from infra.costs.calibration import Calibration, assume, calibrate, fit, from_records, kept_calibration
from infra.costs.feasible import Feasibility, broken_parts, used_parts, worker_memory_bytes
from infra.costs.forecast import (
    DataSize,
    SweepForecast,
    TrialForecast,
    data_size,
    forecast_sweep,
    forecast_trial,
)
from infra.costs.precision import fixed_precision
from infra.plan.preflight import (
    OK,
    REFUSED,
    WARNING,
    Check,
    Preflight,
    check_data,
    check_labels,
    check_mlflow,
    check_ray,
    check_services,
    check_storage,
    grouped,
)
from infra.record.groupings import variant_of_config
from infra.search.fairness import expected_epochs
from infra.search.proposals import Draws, points_to_draw
from infra.search.stoppers import unknown_stopper
from infra.stack.settings import Settings
from infra.sweep.data import preparation, without_pictures
from infra.sweep.data_memory import divide_data
from infra.sweep.request import SweepRequest, check_batches
from infra.sweep.room import trials_at_a_time
from infra.sweep.standing import Standing, classes_fixed, look_up
from trainables.config import TrialConfig
from trainables.config.tree import override, to_dict
from trainables.training.resources import TrialResources

logger = logging.getLogger(f"seldtune.{__name__}")


@dataclass(kw_only=True)
class Plan:
    """What is known of a sweep; what could not be asked is missing."""

    name: str
    checks: list[Check]
    samples: int
    trials: list[TrialForecast] = field(default_factory=list)
    """One for each sampled config that may run."""
    sweep: SweepForecast | None = None
    calibration: Calibration | None = None
    memory_bytes: int | None = None
    """That a worker may take."""
    budget_s: float | None = None
    """What is left of it."""

    @property
    def refused(self) -> bool:
        return any(check.state == REFUSED for check in self.checks)

    def variants(self) -> dict[str, list[TrialForecast]]:
        """The sampled configs by their fusion, in the order in which those came."""
        by_fusion: dict[str, list[TrialForecast]] = {}
        for trial in self.trials:
            by_fusion.setdefault(trial.config.fusion.name, []).append(trial)
        return by_fusion

    def as_json(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "sweep": self.name,
            "possible": not self.refused,
            "checks": [asdict(check) for check in self.checks],
            "samples": self.samples,
            "feasible": len(self.trials),
        }
        if self.trials:
            document["parameters"] = _range([trial.cost.parameters for trial in self.trials])
            document["variants"] = [self._variant(name, trials) for name, trials in self.variants().items()]
        if self.sweep is not None:
            document["forecast"] = asdict(self.sweep) | {
                name: getattr(self.sweep, name) for name in ("wall_s", "whole_wall_s", "gpu_hours", "cpu_hours")
            }
        if self.calibration is not None:
            document["calibration"] = asdict(self.calibration)
        return document | {"worker_memory_bytes": self.memory_bytes, "budget_s": self.budget_s}

    @staticmethod
    def _variant(name: str, trials: Sequence[TrialForecast]) -> dict[str, Any]:
        return {
            "fusion": name,
            "samples": len(trials),
            "parameters": _range([trial.cost.parameters for trial in trials]),
            "memory_bytes": _range([trial.cost.memory_bytes for trial in trials]),
            "activations_bytes": _range([trial.cost.activations_bytes for trial in trials]),
            "step_flops": _range([trial.cost.step_flops for trial in trials]),
            "window_flops": _range([trial.cost.window_flops for trial in trials]),
            "steps": _range([trial.steps for trial in trials]),
            "epoch_s": _range([trial.epoch_s for trial in trials]),
            "trial_s": _range([trial.seconds for trial in trials]),
            "checkpoint_bytes": _range([trial.cost.checkpoint_bytes for trial in trials]),
        }


def _range(values: Sequence[float]) -> dict[str, float]:
    return {"min": min(values), "mean": statistics.mean(values), "max": max(values)}


def plan_space(request: SweepRequest, settings: Settings, *, samples: int = 64, measure: bool = True) -> Plan:
    """Check everything that a sweep needs and forecast it, as far as what answers allows.

    Args:
        samples: configs drawn from the space, its first points among them.
        measure: time the cluster's workers where that was not done before; else go by what is assumed of machines.
    """
    preflight = Preflight()
    plan = Plan(name=request.name or request.space.name, checks=preflight.checks, samples=samples)
    preflight.attempt("name", request.sweep_name)
    budget = preflight.attempt("budget", request.budget, lambda b: f"{b.trials} trials, {hours(b.wall_s)}")
    if reason := unknown_stopper(request.stopper):
        preflight.add("stopper", REFUSED, reason)
    resources = preflight.attempt(
        "trial", request.resources, lambda r: f"{r.workers} x ({r.cpus_per_worker} CPU, {r.gpus_per_worker:g} GPU)"
    )
    services = check_services(preflight, settings)
    store = None
    if "s3" in services:
        check_storage(preflight, settings.root)
        store = check_data(preflight, request.data_uri(settings.root), settings.root)
        if store is not None:
            check_labels(preflight, store)
    if "mlflow" in services:
        check_mlflow(preflight, settings.mlflow_tracking_uri)
    joined = "ray" in services and check_ray(preflight, settings)
    if joined and store is not None:
        preflight.attempt("nodes", lambda: require_shared(store, settings.root))
    # Once for all: more are seldom shown than a sweep looks at, and the first of them are the same.
    draws = request.draw(max(samples, points_to_draw(request.space)))
    configs = _check_space(preflight, draws.first(samples), resources)
    broken = {} if resources is None else broken_parts(configs, resources.workers)
    for line in broken.values():
        preflight.add("models", REFUSED, line)
    if store is None or not configs or budget is None or resources is None:
        return plan
    if fields := preflight.attempt("classes", lambda: classes_fixed(configs, store)):
        configs = [override(config, fields) for config in configs]
    if said := without_pictures(configs, store):
        preflight.add("data", WARNING, said)
    size = data_size(store, configs[0].inputs)
    if not size.train_windows:
        preflight.add("data", REFUSED, "no training recording is long enough for a window; is the split empty?")
        return plan
    plan.calibration = assume(resources)
    concurrency, standing = 1, None
    if joined:
        plan.memory_bytes = worker_memory_bytes(resources)
        concurrency = _check_room(preflight, request, resources, store, configs) or 1
        if not preflight.refused:
            # What only the sweep itself refuses: a name that is taken by other settings, for one.
            looked_at = draws.first(points_to_draw(request.space))
            standing = preflight.attempt(
                "sweep", lambda: look_up(request.settle(settings.root, looked_at), settings), _how_it_stands
            )
        built = Feasibility(resources)
        buildable = [config for config in configs if built(config) is None]
        if standing is not None and buildable:
            if measure:
                begun = standing
                fields = preflight.attempt(
                    "precision",
                    lambda: fixed_precision(buildable, begun.records, store, begun.prepare, resources, settings.root),
                )
                if fields:
                    buildable, configs = ([override(c, fields) for c in many] for many in (buildable, configs))
            plan.calibration = _calibrated(buildable, settings.root, standing, size, measure)
    refuses = Feasibility(
        resources,
        plan.memory_bytes,
        calibration=plan.calibration,
        size=size,
        grace_epochs=request.space.grace_epochs,
        budget_s=budget.wall_s,
    )
    sound = [config for config in configs if not broken.keys() & used_parts(config)]
    possible = _check_feasible(preflight, sound, len(configs), refuses, plan.memory_bytes) if sound else []
    plan.trials = [forecast_trial(config, size, plan.calibration, resources.workers) for config in possible]
    if plan.trials:
        owed = budget.trials if standing is None else standing.owed
        plan.sweep = _forecast(plan.trials, request, resources, owed, concurrency)
        if standing is not None:
            plan.budget_s = max(0.0, budget.wall_s - standing.ledger.spent().wall_s)
            _check_budget(preflight, plan.sweep, plan.budget_s)
    return plan


def _check_space(preflight: Preflight, draws: Draws, resources: TrialResources | None) -> list[TrialConfig]:
    configs, samples = draws.configs, len(draws.points)
    for line in grouped(draws.refusals, samples):
        preflight.add("space", REFUSED, line)
    if not draws.refusals:
        preflight.add("space", OK, f"all of {samples} sampled configs can be made")
    if resources is not None:
        preflight.attempt("batches", lambda: check_batches(configs, resources.workers))
    return configs


def _check_room(
    preflight: Preflight,
    request: SweepRequest,
    resources: TrialResources,
    store: Store,
    configs: Sequence[TrialConfig],
) -> int | None:
    prepare = preflight.attempt(
        "inputs",
        lambda: preparation(configs, store.manifest.sha256),
    )
    if prepare is None:
        return None
    data = divide_data(store, prepare, request.data_memory_bytes)
    kept = f"{data.text(data.needed_bytes)} decoded, {data.text(data.memory_bytes)} for it in the object stores"
    streamed = f"{' and '.join(data.streamed)} streamed" if data.streamed else "all shared by the trials"
    preflight.add("memory", WARNING if data.streamed else OK, f"{kept}: {streamed}")
    room = preflight.attempt(
        "room", lambda: trials_at_a_time(request.concurrency, resources, data), lambda n: f"{n} trials at a time"
    )
    if room is not None and request.concurrency is not None and room < request.concurrency:
        preflight.add("room", WARNING, f"--concurrency {request.concurrency}, but only {room} fit")
    return room


def _how_it_stands(standing: Standing) -> str:
    if not standing.records:
        return "a new one"
    return f"goes on: {len(standing.records)} trials are there, {standing.owed} are owed"


def _calibrated(
    configs: Sequence[TrialConfig], root: str, standing: Standing, size: DataSize, measure: bool
) -> Calibration:
    """What the sweep's own reports say, else what is kept of the machine or measured now, else what is assumed."""
    resources, store = standing.asked.resources, standing.store
    points = from_records(standing.records, resources.workers, size.eval_windows, size.steps)
    if points:
        return fit(points, f"reports of {len(points)} trials of this sweep")
    if measure:
        try:
            kept = kept_calibration(configs[0].training.precision, resources, root)
            if kept is not None:
                return kept
            return calibrate(configs, store, preparation(configs, store.manifest.sha256), resources, root)
        except TimeoutError as error:
            logger.warning("%s; going by what is assumed", error)
    return assume(resources)


def _check_feasible(
    preflight: Preflight, configs: Sequence[TrialConfig], of: int, refuses: Feasibility, memory_bytes: int | None
) -> list[TrialConfig]:
    """The configs that a trial may be started with, of so many that were drawn."""
    reasons = [refuses(config) for config in configs]
    possible = [config for config, reason in zip(configs, reasons, strict=True) if reason is None]
    # The search goes around what is impossible, as long as something is left.
    for line in grouped([reason for reason in reasons if reason is not None], of):
        preflight.add("models", WARNING if possible else REFUSED, line)
    if len(possible) == of:
        memory = "" if memory_bytes is None else f" and fit into {memory_bytes / 1e9:.1f} GB a worker"
        preflight.add("models", OK, f"all can be built{memory}")
    return possible


def _forecast(
    trials: Sequence[TrialForecast], request: SweepRequest, resources: TrialResources, owed: int, concurrency: int
) -> SweepForecast:
    configs = [trial.config for trial in trials]
    rule = request.rule(configs)
    # A stopper that is not known was refused before, and what the trials take unstopped is said all the same.
    stopper = "none" if unknown_stopper(request.stopper) else request.stopper
    by = request.variants_by(configs)
    variants = len({variant_of_config(to_dict(config), by) for config in configs})
    epochs = expected_epochs(stopper, rule, owed, concurrency, variants) if owed else float(rule.max_epochs)
    return forecast_sweep(
        trials,
        trials=owed,
        concurrency=concurrency,
        epochs=epochs,
        workers=resources.workers,
        cpus=resources.cpus_per_worker,
        gpus=resources.gpus_per_worker,
    )


def _check_budget(preflight: Preflight, sweep: SweepForecast, budget_s: float) -> None:
    if sweep.wall_s > budget_s:
        fit_in = int(budget_s / sweep.wall_s * sweep.trials)
        preflight.add(
            "time",
            WARNING,
            f"{hours(budget_s)} are left and all trials take about {hours(sweep.wall_s)}: about "
            f"{fit_in} of {sweep.trials} will run",
        )
    else:
        preflight.add("time", OK, f"about {hours(sweep.wall_s)} of {hours(budget_s)}")


def hours(seconds: float) -> str:
    """In the unit that suits."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} d"
