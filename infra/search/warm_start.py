"""Trials of earlier sweeps, read back from MLflow, for a new sweep's sampler to go by.

They are never trials of the new sweep. What was taken is kept beside the sweep's settings, so that every later start
goes by the very same trials, whatever has become of MLflow since:

    <root>/sweeps/<name>/warm_start.json       the trials taken

Cost: one request for 500 trials, and one for each that was stopped early (its reports); only on the first start.
"""

from __future__ import annotations

import ast
import json
import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import mlflow
from mlflow.entities import Run
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    check_distribution_compatibility,
    distribution_to_json,
    json_to_distribution,
)
from optuna.trial import FixedTrial

from data import storage
from data.errors import UserError
from data.names import near
from data.remembered import read_back
from infra.record.folder import SweepStore
from infra.record.trials import COMPLETE, PRUNED, TrialRecord
from infra.search.objectives import OBJECTIVES, measure
from infra.search.optuna_private import contains
from infra.tracking.contents import KIND_TAG, PARENT_TAG, SPACE_TAG, STATE_TAG, SWEEP_TAG, TRIAL_TAG
from search_spaces.space import SearchSpace
from trainables.config.tree import from_dict, nested
from trainables.training.reports import LATENCY, OBJECTIVE

logger = logging.getLogger(f"seldtune.{__name__}")

PAGE = 500


class _Unfit(Exception):
    """Why a trial cannot be taken."""


def earlier_trials(
    client: mlflow.MlflowClient,
    experiment: str,
    sweeps: Sequence[str],
    space: SearchSpace,
    *,
    data: str | None,
    objectives: Sequence[str],
) -> list[TrialRecord]:
    """Complete and stopped trials of these sweeps that the space could have proposed; a line says what was left out.

    Args:
        sweeps: names, in the order in which a sampler is to see their trials.
        data: hash of the manifest that a trial has to have been trained on; nothing: any.
        objectives: of the new sweep; a complete trial has to have them all.

    Returns:
        Records with what a sampler goes by and nothing else, numbered as in their own sweeps.

    Raises:
        UserError: MLflow knows no such sweep.
    """
    taken: list[TrialRecord] = []
    skipped: Counter[str] = Counter()
    for run in _runs_of(client, experiment, sweeps):
        try:
            taken.append(_record(client, run, space, data, objectives))
        except _Unfit as unfit:
            skipped[str(unfit)] += 1
    logger.info("%d trials of %s are gone by", len(taken), ", ".join(sweeps))
    for reason, count in skipped.most_common():
        logger.info("%d trials of %s are left out: %s", count, ", ".join(sweeps), reason)
    return taken


def keep(sweep: SweepStore, trials: Sequence[TrialRecord]) -> None:
    """Write down what was taken, before the sweep's first proposal."""
    storage.write_bytes(_uri(sweep), json.dumps([asdict(trial) for trial in trials]).encode())


def kept(sweep: SweepStore) -> list[TrialRecord] | None:
    """What an earlier start took; nothing where none did."""
    uri = _uri(sweep)
    if not storage.exists(uri):
        return None
    with read_back(uri, "restore it, or delete it: the next start takes the earlier sweeps' trials anew"):
        return [TrialRecord(**entry) for entry in json.loads(storage.read_bytes(uri))]


def _uri(sweep: SweepStore) -> str:
    return f"{sweep.uri}/warm_start.json"


def _runs_of(client: mlflow.MlflowClient, experiment: str, sweeps: Sequence[str]) -> Iterator[Run]:
    """The trials' runs, by sweep as named, then by number."""
    found = client.get_experiment_by_name(experiment)
    ids = [found.experiment_id] if found else []
    parents = {run.data.tags[SWEEP_TAG]: run for run in _search(client, ids, f"tags.`{KIND_TAG}` = 'sweep'")}
    for sweep in dict.fromkeys(sweeps):
        if sweep not in parents:
            there = ", ".join(sorted(parents)) or "none"
            raise UserError(f"MLflow has no sweep {sweep!r} to start from{near(sweep, parents)}; there are {there}")
        runs = _search(client, ids, f"tags.`{PARENT_TAG}` = '{parents[sweep].info.run_id}'")
        trials = {int(run.data.tags[TRIAL_TAG]): run for run in runs if TRIAL_TAG in run.data.tags}
        yield from (run for _, run in sorted(trials.items()))


def _search(client: mlflow.MlflowClient, experiments: list[str], query: str) -> Iterator[Run]:
    token = None
    while experiments:
        page = client.search_runs(experiments, query, max_results=PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _record(
    client: mlflow.MlflowClient, run: Run, space: SearchSpace, data: str | None, objectives: Sequence[str]
) -> TrialRecord:
    tags, metrics = run.data.tags, run.data.metrics
    state = tags.get(STATE_TAG)
    if state not in (COMPLETE, PRUNED):
        raise _Unfit("they failed or have not ended")
    if data is not None and tags.get("data") != data:
        raise _Unfit("they were trained on other data")
    epochs = run.data.params.get("training.epochs")
    if SPACE_TAG not in tags or epochs is None:
        raise _Unfit("they do not say what they were sampled from")
    sampled = json.loads(tags[SPACE_TAG])
    params = {name: entry["value"] for name, entry in sampled.items()}
    distributions = _fitting(space, params, {name: json.dumps(entry["from"]) for name, entry in sampled.items()})
    if state == COMPLETE:
        reports = [{"epoch": int(metrics["best_epoch"]), OBJECTIVE: metrics[f"best/{OBJECTIVE}"]}]
    else:
        history = client.get_metric_history(run.info.run_id, OBJECTIVE)
        reports = [{"epoch": point.step, OBJECTIVE: point.value} for point in sorted(history, key=lambda p: p.step)]
    if LATENCY in metrics:
        reports = [{**report, LATENCY: metrics[LATENCY]} for report in reports]
    record = TrialRecord(
        number=int(tags[TRIAL_TAG]),
        params=params,
        distributions={name: distribution_to_json(distribution) for name, distribution in distributions.items()},
        config={"training": {"epochs": int(epochs)}},  # how much of a curve its reports are
        state=state,
        reports=reports,
    )
    if any(OBJECTIVES[name].of_config for name in objectives):
        try:
            record.measures = measure(from_dict(_config(run)), objectives)
        except UserError as error:
            raise _Unfit("their configs are of another version of the project") from error
    if state == COMPLETE and any(OBJECTIVES[name].of_record(record) is None for name in objectives):
        raise _Unfit("they do not have every objective")
    return record


def _fitting(space: SearchSpace, params: dict[str, Any], sampled: dict[str, str]) -> dict[str, BaseDistribution]:
    """The space's own distributions of a trial's parameters; the trial's may be wider or narrower.

    Raises:
        _Unfit: the space would not have proposed it.
    """
    point = FixedTrial(params)
    try:
        with warnings.catch_warnings(action="ignore"):  # a value outside is looked for below
            space.suggest(point)
    except (ValueError, UserError) as error:  # a parameter without a value, a choice that is none, or no config
        raise _Unfit("the space has parameters or choices that they do not") from error
    for name, text in sampled.items():
        if name not in point.distributions:
            raise _Unfit(f"the space has no {name} where they have one")
        own, theirs = point.distributions[name], json_to_distribution(text)
        try:
            check_distribution_compatibility(theirs, own)
        except ValueError as error:
            raise _Unfit(f"{name} is sampled otherwise") from error
        if isinstance(own, CategoricalDistribution):
            continue
        if not contains(own, params[name]):
            raise _Unfit(f"their {name} is outside the space")
    return point.distributions


def _config(run: Run) -> dict[str, Any]:
    """The nested config, from the run's parameters."""
    flat = {key: value for key, value in run.data.params.items() if not key.startswith("space.")}
    return nested({key: _literal(value) for key, value in flat.items()})


def _literal(text: str) -> Any:
    """A parameter as it was before MLflow made text of it."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
