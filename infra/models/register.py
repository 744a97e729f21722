"""Models in MLflow's registry: a sweep's best becomes `challenger`, the best of finals `finalist`, with its evidence.

Which of them a person makes `champion`, and how that is written down, is `infra.models.aliases`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from data.errors import UserError
from data.timing import RATE_HZ
from infra.models import model_check
from infra.models.evidence import EVIDENCE_NAME, PROTOCOL, Evidence
from infra.models.packing import strange_files, write_model
from infra.provenance.secrets import secrets_of
from infra.record.trials import TrialRecord
from trainables.evaluation.bundle import WEIGHTS_NAME, fetch_bundle
from trainables.scores.flat import AVERAGES
from trainables.scores.recordings import table_of
from trainables.training.reports import OBJECTIVE

if TYPE_CHECKING:  # torch comes with it: a dry run of a promotion needs none
    from trainables.training.checkpoint import TrialStore

logger = logging.getLogger(f"seldtune.{__name__}")

USUAL_NAME = "seld"
"""Of a registered model, where nobody says another."""
CHALLENGER, FINALIST, CHAMPION = "challenger", "finalist", "champion"
WEIGHTS_TAG, EVIDENCE_TAG, CLASSES_TAG = "weights.sha256", "evidence.sha256", "classes"
LONGEST_CHECK_S = 600.0
"""A model that has not answered by then is refused."""


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """A version in the registry, with what is known of it."""

    name: str
    version: str
    run_id: str
    tags: dict[str, str]

    @property
    def uri(self) -> str:
        return f"models:/{self.name}/{self.version}"


def register_best(
    name: str,
    record: TrialRecord,
    store: TrialStore,
    run_id: str,
    sweep: str,
    *,
    alias: str | None = None,
    evidence: Evidence | None = None,
) -> ModelVersion:
    """Log a trial's best model to its run, register it, and give it an alias, and what the test split said, if asked.

    However often this is called, a trial's best epoch is registered once.
    """
    client = mlflow.MlflowClient()
    best = record.best
    assert best is not None, "a trial without a report has no model"
    epoch = int(best["epoch"])
    origin = {"sweep": sweep, "trial": str(record.number), "epoch": str(epoch), "run": run_id}
    proof = {} if evidence is None else _evidence_tags(evidence)
    if evidence is not None:
        client.log_text(run_id, evidence.to_json(), EVIDENCE_NAME)
    chosen = next((v for v in _all_versions(client, name) if origin.items() <= v.tags.items()), None)
    if chosen is None:
        from trainables.config.tree import classes_of

        with tempfile.TemporaryDirectory() as folder:
            bundle = Path(folder) / "bundle"
            bundle.mkdir()
            fetch_bundle(store.best(epoch), bundle)
            logged, extra = _log_model(client, bundle, run_id)
            weights = sha256_of(bundle / WEIGHTS_NAME)
        average = OBJECTIVE.split("/")[0]
        scores = {validation_tag(key): f"{best[key]:.6g}" for key in best if key.startswith(average)}
        told = {key: str(extra.get(key, "")) for key in ("data", "git.commit", "git.changed")}
        told[CLASSES_TAG] = str(classes_of(record.config))
        chosen = _register(client, name, logged, run_id, {**scores, **told, WEIGHTS_TAG: weights, **origin, **proof})
    for key, value in proof.items():
        if chosen.tags.get(key) != value:
            client.set_model_version_tag(name, chosen.version, key, value)
    if alias is not None:
        client.set_registered_model_alias(name, alias, chosen.version)
    return find_version(name, chosen.version)


def option_of_model(name: str) -> str:
    """What a suggested command needs to register under this name: nothing for the usual one."""
    return "" if name in ("", USUAL_NAME) else f" --model {name}"


def validation_tag(key: str) -> str:
    """The tag of a version that holds a score, by its key in reports, of the epoch that was registered."""
    return f"validation.{key.replace('/', '.')}"


def _evidence_tags(evidence: Evidence) -> dict[str, str]:
    """What matters of it for the UI."""
    tags = {"protocol": PROTOCOL, "test.sha256": evidence.test_sha256}
    for average in AVERAGES:
        values, bounds = table_of(evidence.per_recording, average)
        for name, score in values.items():
            interval = f" ({bounds[name][0]:.3f} to {bounds[name][1]:.3f})" if bounds else ""
            tags[f"test.{average}.{name}"] = f"{score:.3f}{interval}"
    return tags | {
        "test.seeds": " ".join(map(str, evidence.seeds)),
        "latency.ms": f"{evidence.latency.ms:.1f}",
        "parameters": str(evidence.parameters),
        "searched": evidence.sweep,
        # Last: evidence whose hash is there is complete.
        EVIDENCE_TAG: evidence.sha256,
    }


def evidence_of(version: ModelVersion) -> Evidence | None:
    """What the test split said of a version; nothing where it was never in finals.

    Raises:
        UserError: its evidence is not what was written when it was registered.
    """
    known = version.tags.get(EVIDENCE_TAG)
    if known is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = mlflow.MlflowClient().download_artifacts(version.run_id, EVIDENCE_NAME, folder)
        except (MlflowException, OSError) as error:
            raise UserError(f"the evidence of {version.uri} is gone from its run; run finals again") from error
        text = Path(path).read_text(encoding="utf-8")
    if hashlib.sha256(text.encode()).hexdigest() != known:
        raise UserError(f"the evidence of {version.uri} was changed after it was written; run finals again")
    return Evidence.from_json(text)


def faults_of(version: ModelVersion) -> list[str]:
    """What is wrong with a version's files as they lie in the registry; nothing when it can be used.

    Every file has to be there and of a kind that holds no code to unpickle, the weights have to be those that were
    registered, and the model has to load through MLflow by the code that it brings, and answer to a window of silence
    with finite numbers.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            # What MLflow says when a file is missing depends on where the files lie.
            path = Path(mlflow.artifacts.download_artifacts(artifact_uri=version.uri, dst_path=folder))
        except Exception as error:
            return [f"the files of {version.uri} cannot be fetched: {str(error).splitlines()[0]}"]
        faults = strange_files(path)
        weights = list(path.rglob(WEIGHTS_NAME))
        if len(weights) != 1:
            return [*faults, f"{WEIGHTS_NAME} is missing"]
        registered, got = version.tags.get(WEIGHTS_TAG), sha256_of(weights[0])
        if registered is None:
            faults.append("its weights' hash was not written when it was registered")
        elif registered != got:
            faults.append(f"{WEIGHTS_NAME} is not what was registered (SHA-256 {got[:12]}, was {registered[:12]})")
        return faults or _loading_faults(path)


def _loading_faults(path: Path) -> list[str]:
    """By the model's own code, in a process of its own, which is given no secret of this one."""
    command = [sys.executable, "-I", model_check.__file__, str(path), str(RATE_HZ)]
    secrets = secrets_of(os.environ)
    harmless = {name: value for name, value in os.environ.items() if not any(one in value for one in secrets)}
    try:
        checked = subprocess.run(
            command, cwd=path, env=harmless, capture_output=True, text=True, check=False, timeout=LONGEST_CHECK_S
        )
    except subprocess.TimeoutExpired:
        return [f"the model does not load and predict within {LONGEST_CHECK_S:.0f} s"]
    if checked.returncode or not checked.stdout:
        last = (checked.stderr.strip().splitlines() or ["nothing said"])[-1]
        return [f"the model does not load and predict: exit code {checked.returncode}: {last}"]
    fault = json.loads(checked.stdout.splitlines()[-1])
    return [] if fault is None else [fault]


def sha256_of(file: Path) -> str:
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def holder_of(name: str, alias: str) -> ModelVersion | None:
    """The version that an alias points at in MLflow.

    Raises:
        UserError: no such model.
    """
    version = aliases_of(name, alias).get(alias)
    return None if version is None else find_version(name, version)


def aliases_of(name: str, wanted: str = "") -> dict[str, str]:
    """Each alias of a model that MLflow has, and the version that it points at.

    Args:
        wanted: the one that is looked for, for the message.

    Raises:
        UserError: no such model.
    """
    client = mlflow.MlflowClient()
    try:
        aliases = client.get_registered_model(name).aliases
    except MlflowException as error:
        raise UserError(_nothing_there(client, name, wanted)) from error
    return {alias: str(aliases[alias]) for alias in sorted(aliases)}


def find_version(name: str, version_or_alias: str) -> ModelVersion:
    """A version by its number or by an alias.

    Raises:
        UserError: there is none; the message lists what there is.
    """
    client = mlflow.MlflowClient()
    try:
        if version_or_alias.isdigit():
            return _version(client.get_model_version(name, version_or_alias))
        return _version(client.get_model_version_by_alias(name, version_or_alias))
    except MlflowException as error:
        raise UserError(_nothing_there(client, name, version_or_alias)) from error


def _nothing_there(client: mlflow.MlflowClient, name: str, version_or_alias: str) -> str:
    models = {model.name: model for model in client.search_registered_models(max_results=20)}
    if name in models:
        # A search leaves aliases out.
        aliases = ", ".join(sorted(client.get_registered_model(name).aliases)) or "none"
        return f"the registry has no {version_or_alias!r} of model {name!r}, whose aliases are: {aliases}"
    return f"the registry has no model {name!r}; models there: {', '.join(models) or 'none'}"


def _log_model(client: mlflow.MlflowClient, bundle: Path, run_id: str) -> tuple[LoggedModel, dict[str, Any]]:
    """Log the bundle to the run as a model; what MLflow knows of it, and what the bundle says of itself.

    `mlflow.pyfunc.log_model` would ask for every metric of the run, one by one, and set the run going again.
    """
    run = client.get_run(run_id)
    logged = client.create_logged_model(run.info.experiment_id, "model", source_run_id=run_id, params=run.data.params)
    status = LoggedModelStatus.FAILED
    try:
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        described = Model(
            artifact_path=logged.artifact_location,
            model_uuid=logged.model_id,
            model_id=logged.model_id,
            run_id=run_id,
        )
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "model"
            extra = write_model(bundle, described, folder)
            client.log_model_artifacts(logged.model_id, str(folder))
        status = LoggedModelStatus.READY
    finally:
        client.finalize_logged_model(logged.model_id, status)
    return logged, extra


def _register(
    client: mlflow.MlflowClient, name: str, logged: LoggedModel, run_id: str, tags: dict[str, str]
) -> ModelVersion:
    """Make the model a version of the name, which is made if need be; its tags are there when it is."""
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return _version(
        client.create_model_version(
            name, logged.model_uri, run_id=run_id, tags=tags, model_id=logged.model_id, await_creation_for=0
        )
    )


def _all_versions(client: mlflow.MlflowClient, name: str) -> list[ModelVersion]:
    return [_version(v) for v in client.search_model_versions(f"name = '{name}'")]


def _version(entity: Any) -> ModelVersion:
    return ModelVersion(
        name=entity.name, version=str(entity.version), run_id=entity.run_id or "", tags=dict(entity.tags)
    )
