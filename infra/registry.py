"""Models in MLflow's registry: the sweep's best becomes `challenger`, a person makes it `champion`."""

from __future__ import annotations

import getpass
import logging
import tempfile
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

import data
import trainables
from data.boxes import BOX_FIELDS, MAX_BOXES
from data.errors import GateError, UserError
from infra.records import TrialRecord
from trainables import pyfunc_loader
from trainables.accdoa import output_width
from trainables.bundle import load_bundle
from trainables.checkpoint import TrialStore, fetch_bundle
from trainables.config import TrialConfig
from trainables.config_tree import to_dict
from trainables.loop import OBJECTIVE

logger = logging.getLogger(__name__)

CHALLENGER, CHAMPION = "challenger", "champion"
REQUIREMENTS = ("torch", "torchaudio", "torchvision", "numpy", "safetensors", "soundfile", "pillow")
OBJECTIVE_TAG = f"validation.{OBJECTIVE.replace('/', '.')}"


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


def register_best(name: str, record: TrialRecord, store: TrialStore, run_id: str, sweep: str) -> ModelVersion:
    """Log a trial's best model to its run, register it, and give it the alias `challenger`.

    However often this is called, a trial's best epoch is registered once.
    """
    client = mlflow.MlflowClient()
    best = record.best
    assert best is not None, "a trial without a report has no model"
    epoch = int(best["epoch"])
    origin = {"sweep": sweep, "trial": str(record.number), "epoch": str(epoch), "run": run_id}
    chosen = next((v for v in _all_versions(client, name) if origin.items() <= v.tags.items()), None)
    if chosen is None:
        with tempfile.TemporaryDirectory() as folder:
            bundle = Path(folder) / "bundle"
            bundle.mkdir()
            number, extra = _log_model(name, fetch_bundle(store.best(epoch), bundle), run_id)
        average = OBJECTIVE.split("/")[0]
        scores = {f"validation.{key.replace('/', '.')}": f"{best[key]:.6g}" for key in best if key.startswith(average)}
        for key, value in {**scores, "data": str(extra.get("data", "")), **origin}.items():
            client.set_model_version_tag(name, number, key, value)
        chosen = _version(client.get_model_version(name, number))
    client.set_registered_model_alias(name, CHALLENGER, chosen.version)
    return chosen


def promote(name: str, candidate: str, alias: str, reason: str, force: bool = False) -> tuple[ModelVersion, str | None]:
    """Point `alias` at a version and write down why; returns the version and the one that held the alias before.

    Args:
        candidate: a version number, or another alias.
        force: promote although the rule below refuses; that it was forced is written down too.

    Raises:
        UserError: no such model or version, an empty reason, or files that cannot be loaded.
        GateError: the holder of the alias scores as well or better on the same validation data, or the two were
            measured on different data and cannot be compared.
    """
    if not reason.strip():
        raise UserError("--reason is empty; say why this model should be used")
    client = mlflow.MlflowClient()
    chosen = find_version(name, candidate)
    try:
        holder = _version(client.get_model_version_by_alias(name, alias))
    except MlflowException:
        holder = None
    if holder is not None and holder.version == chosen.version:
        raise UserError(f"{name} version {chosen.version} is {alias!r} already")
    if holder is not None and not force:
        _gate(chosen, holder, alias)
    try:
        mlflow.pyfunc.load_model(chosen.uri)
    except (MlflowException, UserError, OSError) as error:
        raise UserError(f"{chosen.uri} cannot be loaded: {str(error).splitlines()[0]}") from error
    tags = {
        f"{alias}.reason": reason,
        f"{alias}.by": getpass.getuser(),
        f"{alias}.at": datetime.now(UTC).isoformat(timespec="seconds"),
        f"{alias}.before": holder.version if holder else "none",
        f"{alias}.forced": str(force),
    }
    for key, value in tags.items():
        client.set_model_version_tag(name, chosen.version, key, value)
    client.set_registered_model_alias(name, alias, chosen.version)
    return chosen, holder.version if holder else None


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
        models = ", ".join(m.name for m in client.search_registered_models(max_results=20)) or "none"
        raise UserError(
            f"the registry has no {version_or_alias!r} of model {name!r}; models there: {models}"
        ) from error


def _gate(chosen: ModelVersion, holder: ModelVersion, alias: str) -> None:
    if chosen.tags.get("data") != holder.tags.get("data"):
        raise GateError(
            f"version {chosen.version} and {alias} (version {holder.version}) were measured on different data; "
            "train both on one store, or --force"
        )
    ours, theirs = (float(v.tags.get(OBJECTIVE_TAG, "nan")) for v in (chosen, holder))
    if not ours < theirs:
        raise GateError(
            f"version {chosen.version} has validation SELD {ours:.3f}, {alias} (version {holder.version}) "
            f"{theirs:.3f}: not better; --force promotes it all the same"
        )


def _log_model(name: str, bundle: Path, run_id: str) -> tuple[str, dict[str, Any]]:
    """Log the bundle to the run as a model and register it; returns its version and what the bundle says of itself."""
    _, config, extra = load_bundle(bundle)
    with mlflow.start_run(run_id=run_id), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow would like an input example as well; the signature says it all
        logged = mlflow.pyfunc.log_model(
            name="model",
            loader_module=pyfunc_loader.__name__,
            data_path=str(bundle),
            # The model brings the code that builds it, so that it loads where seldtune is not installed.
            code_paths=[str(Path(package.__file__ or "").parent) for package in (data, trainables)],
            signature=_signature(config),
            metadata={"config": to_dict(config), **{key: extra.get(key) for key in ("epoch", "data", "thresholds")}},
            pip_requirements=[f"{package}=={installed_version(package).split('+')[0]}" for package in REQUIREMENTS],
        )
    client = mlflow.MlflowClient()
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    version = client.create_model_version(
        name, logged.model_uri, run_id=run_id, model_id=logged.model_id, await_creation_for=0
    )
    return str(version.version), extra


def _signature(config: TrialConfig) -> ModelSignature:
    inputs = [TensorSpec(np.dtype(np.float32), (-1, 4, -1), "audio")]
    if config.visual.reads == "frames":
        shape = (-1, -1, config.inputs.frame_height, config.inputs.frame_width, 3)
        inputs.append(TensorSpec(np.dtype(np.uint8), shape, "frames"))
    elif config.visual.reads == "boxes":
        inputs.append(TensorSpec(np.dtype(np.float32), (-1, -1, MAX_BOXES, BOX_FIELDS), "boxes"))
    output = TensorSpec(np.dtype(np.float32), (-1, -1, output_width(config.output)))
    return ModelSignature(Schema(inputs), Schema([output]))


def _all_versions(client: mlflow.MlflowClient, name: str) -> list[ModelVersion]:
    return [_version(v) for v in client.search_model_versions(f"name = '{name}'")]


def _version(entity: Any) -> ModelVersion:
    return ModelVersion(
        name=entity.name, version=str(entity.version), run_id=entity.run_id or "", tags=dict(entity.tags)
    )
