"""Finals: the best configs of a sweep, trained again with several seeds in full, and put to the test split once.

Every choice is made on validation: which configs, each training's epoch and thresholds, which finalist wins and which
of its trainings is registered. The test split then says what that is worth. Trainings are a sweep of fixed points, so
an interruption loses what it loses there; what the test split said is kept beside them and never asked for again.
"""

from __future__ import annotations

import json
import logging
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import ClassVar

import ray

from data import storage
from data.errors import UserError
from data.patience import handed_on
from data.remembered import remembered
from data.stores.chunks import Store
from data.stores.mix import parts_text
from infra.cluster.join import connect
from infra.finals.finalists import choose, closed_twins, new_seeds, seed_by_seed
from infra.finals.gains import OTHERS_PICTURES
from infra.finals.held_out import SPLIT, best_bundle, split_sha256
from infra.finals.report import Finalist, Finals
from infra.finals.training import Training
from infra.finals.trainings import Trainings, TrainingsRequest, find_searched, put_to_test
from infra.models.evidence import PROTOCOL, Evidence, flat_counts
from infra.models.register import FINALIST, ModelVersion, register_best
from infra.record.folder import FINALS_NAME, SweepStore
from infra.record.trials import TrialRecord
from infra.stack.settings import Settings
from infra.sweep.outcome import SweepOutcome
from infra.sweep.run import run_sweep
from infra.tracking.asking import ask_mlflow
from infra.tracking.contents import PROTOCOL_TAG
from trainables.config.tree import from_dict
from trainables.evaluation.bundle import WEIGHTS_NAME
from trainables.evaluation.latency import Latency, measure_latency
from trainables.networks.model import count_parameters
from trainables.parts.controls import CLOSED

logger = logging.getLogger(f"seldtune.{__name__}")


@dataclass(frozen=True, kw_only=True)
class FinalsRequest(TrainingsRequest):
    """What the user asked for."""

    suffix: ClassVar[str] = "finals"
    best: int = 3
    seeds: int = 3
    controls: tuple[str, ...] = ()
    """Of `Fusion.closed`: finalists that hear and see are trained so as well, by sweeps `<name>-<control>-closed`."""


def run_finals(request: FinalsRequest, settings: Settings) -> Finals | None:
    """Train, test and register the finalists; nothing when interrupted: the same call goes on from there.

    Writes `<root>/sweeps/<name>/finals.{md,json}` and attaches them to the finals' run in MLflow. It costs `best` x
    `seeds` trainings in full, and for each control as many again; the test split is decoded once for all, or streamed
    to each where it is too large.

    Raises:
        UserError: no such sweep, one that has not ended, or other data than its own; see `run_sweep` for the rest.
        RuntimeError: no finalist could be trained.
    """
    if request.best < 1 or request.seeds < 1:
        raise UserError(f"--best {request.best} and --seeds {request.seeds}: both have to be 1 or more")
    for control in request.controls:
        if control not in CLOSED:
            raise UserError(f"--control {control}: choose from {', '.join(CLOSED)}")
    searched = find_searched(request, settings)
    chosen = choose(searched.records, request.best, request.sweep)
    seeds = new_seeds(chosen, request.seeds)
    points = seed_by_seed(chosen, seeds)
    with run_sweep(searched.trainings(request, chosen, points, request.trainings_name), settings) as outcome:
        if not outcome.finished:
            return None
        controls: dict[str, Trainings] = {}
        asked_for = all_controls(request, settings.root)
        for control in asked_for:
            twins = closed_twins(chosen, control)
            logger.info("%d finalists once more, now with their %s closed", len(twins), control)
            of_twins = seed_by_seed(twins, seeds)
            asked = searched.trainings(request, twins, of_twins, _twins_name(request, control))
            with run_sweep(asked, settings) as of_control:
                if not of_control.finished:
                    return None
                controls[control] = put_to_test(of_control, of_twins, settings)
        if "eyes" in asked_for:
            controls[OTHERS_PICTURES] = put_to_test(outcome, points, settings, shown_others=True)
        outcome.tracker.require_written()
        finalists = rank(outcome, chosen, put_to_test(outcome, points, settings), controls, settings)
        return conclude(request, outcome, finalists)


def _twins_name(request: FinalsRequest, control: str) -> str:
    return f"{request.trainings_name}-{control}-closed"


def all_controls(request: FinalsRequest, root: str) -> tuple[str, ...]:
    """Those asked for and those of earlier calls under this name, so that a version's evidence loses none."""
    begun = (c for c in CLOSED if SweepStore(root, _twins_name(request, c)).settings() is not None)
    return tuple(dict.fromkeys((*request.controls, *begun)))


def rank(
    outcome: SweepOutcome,
    chosen: Sequence[TrialRecord],
    trainings: Trainings,
    controls: Mapping[str, Trainings],
    settings: Settings,
) -> list[Finalist]:
    """The finalists as the test split has them, best on validation first.

    Raises:
        RuntimeError: none could be trained.
    """
    finalists = []
    for record in chosen:
        own = trainings.get(record.number, [])
        if not own:
            logger.warning("trial %d is no finalist: none of its trainings has a model", record.number)
            continue
        finalists.append(
            Finalist(
                trial=record.number,
                config=from_dict(record.config),
                trainings=own,
                latency=_latency(outcome.sweep, own[0].record, settings),
                parameters=count_parameters(from_dict(record.config)),
                controls={control: of[record.number] for control, of in controls.items() if record.number in of},
                bytes=storage.size(f"{best_bundle(outcome.sweep, own[0].record)}/{WEIGHTS_NAME}") or 0,
            )
        )
    if not finalists:
        raise RuntimeError(f"no config could be trained for {outcome.name}; {outcome.tracker.url} says why")
    return sorted(finalists, key=lambda finalist: (statistics.fmean(finalist.validation), finalist.trial))


def conclude(
    request: TrainingsRequest,
    outcome: SweepOutcome,
    finalists: list[Finalist],
    verdicts: Mapping[int, Mapping[str, str]] | None = None,
) -> Finals:
    """Register the first finalist and write the report down; everything here can be done again.

    Args:
        verdicts: of a decision, by a finalist's number: the variants that it was set against, and what came of it.
    """
    finals = Finals(
        sweep=request.sweep,
        name=outcome.name,
        data_sha256=outcome.store.manifest.sha256,
        trained_on=parts_text(outcome.store),
        test_sha256=split_sha256(outcome.store),
        finalists=finalists,
        model=_register(request, outcome, finalists[0], (verdicts or {}).get(finalists[0].trial, {})).uri,
        url=outcome.tracker.url,
    )
    _write(finals, outcome)
    return finals


def _latency(sweep: SweepStore, record: TrialRecord, settings: Settings) -> Latency:
    """Measured once on a worker of the cluster, when nothing else of this sweep runs, then read back."""
    uri = f"{sweep.uri}/latency/{record.number:05d}.json"

    def measure() -> dict[str, object]:
        connect(settings)
        return asdict(ray.get(ray.remote(num_cpus=1)(handed_on(measure_latency)).remote(best_bundle(sweep, record))))

    return Latency(**remembered(uri, measure))


def _register(
    request: TrainingsRequest, outcome: SweepOutcome, winner: Finalist, verdicts: Mapping[str, str]
) -> ModelVersion:
    """The winner's best training, both by validation, as a version with its evidence."""
    best = winner.best
    register = partial(
        register_best,
        request.model,
        best.record,
        outcome.sweep.trial_store(best.record.number),
        outcome.tracker.run_id(best.record.number),
        outcome.name,
        alias=FINALIST,
        evidence=evidence_for(request.sweep, outcome.name, outcome.store, winner, best, verdicts),
    )
    return ask_mlflow(register)


def evidence_for(
    sweep: str, finals: str, store: Store, finalist: Finalist, training: Training, verdicts: Mapping[str, str]
) -> Evidence:
    """What is kept with a version that is registered from finals."""
    assert training.record.best is not None
    return Evidence(
        sweep=sweep,
        finals=finals,
        trial=training.record.number,
        epoch=int(training.record.best["epoch"]),
        seed=training.seed,
        seeds=tuple(other.seed for other in finalist.trainings),
        data_sha256=store.manifest.sha256,
        test_sha256=split_sha256(store),
        weights_sha256=training.weights_sha256,
        commit=training.commit,
        changed=training.changed,
        parameters=finalist.parameters,
        bytes=finalist.bytes,
        latency=finalist.latency,
        counts=flat_counts(training.counts),
        gains={gain.control: (gain.gain, gain.low, gain.high) for gain in finalist.gains if gain.control in CLOSED},
        verdicts=dict(verdicts),
        classes=finalist.config.classes,
    )


def _write(finals: Finals, outcome: SweepOutcome) -> None:
    """The report on storage and in MLflow; and on each training's run, what the test split said of it."""
    for name, text in {"finals.md": finals.markdown(), FINALS_NAME: json.dumps(finals.as_json(), indent=1)}.items():
        storage.write_bytes(f"{outcome.sweep.uri}/{name}", text.encode())
        outcome.tracker.log_text(name, text)
    tags = {PROTOCOL_TAG: PROTOCOL, "searched": finals.sweep, "mlflow.note.content": finals.markdown()}
    metrics = {f"{SPLIT}/{key}": value for key, value in finals.finalists[0].flat().items()}
    outcome.tracker.log_sweep({}, metrics, tags)
    for training in (training for finalist in finals.finalists for training in finalist.trainings):
        tested = {f"{SPLIT}/{key}": value for key, value in training.flat().items()}
        outcome.tracker.log_trial(training.record.number, tested, {PROTOCOL_TAG: PROTOCOL})
