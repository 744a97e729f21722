"""Weights of models that were trained here, by their names in MLflow, as a start for other trials."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException

from data import storage
from data.errors import UserError
from infra.models.register import WEIGHTS_TAG, find_version, sha256_of
from infra.record.folder import SweepStore
from infra.tracking.contents import SWEEP_TAG, TRIAL_TAG
from trainables.evaluation.bundle import WEIGHTS_NAME
from trainables.weights.files import OWN_SCHEMES

MODEL_URI = re.compile(r"models:/([^/@]+)[/@]([^/@]+)")
"""Of a registered model: its name, and an alias or a version."""
_RUN = re.compile(r"runs:/([^/]+)")


def is_own(value: Any) -> bool:
    """Whether a config's value names a registered model or a trial's run."""
    return isinstance(value, str) and value.startswith(OWN_SCHEMES)


def read_own(source: str, root: str) -> bytes:
    """The safetensors file of `models:/<name>@<alias>`, `models:/<name>/<version>`, or the best of a trial's run.

    Raises:
        UserError: there is none, or it is not what was registered.
    """
    if found := MODEL_URI.fullmatch(source):
        return _read_registered(*found.groups())
    if found := _RUN.fullmatch(source):
        return _read_trial(found[1], root)
    raise UserError(
        f"{source!r}: write models:/<name>@<alias>, models:/<name>/<version>, or runs:/ and the id of a trial's run"
    )


def _read_registered(name: str, version_or_alias: str) -> bytes:
    version = find_version(name, version_or_alias)
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = Path(mlflow.artifacts.download_artifacts(artifact_uri=version.uri, dst_path=folder))
        except Exception as error:  # what MLflow says when a file is missing depends on where the files lie
            raise UserError(f"the files of {version.uri} cannot be fetched: {str(error).splitlines()[0]}") from error
        weights = next(path.rglob(WEIGHTS_NAME), None)
        if weights is None or sha256_of(weights) != version.tags.get(WEIGHTS_TAG):
            raise UserError(f"{WEIGHTS_NAME} of {version.uri} is not what was registered; take another version")
        return weights.read_bytes()


def _read_trial(run_id: str, root: str) -> bytes:
    source = f"runs:/{run_id}"
    try:
        tags: Mapping[str, str] = mlflow.MlflowClient().get_run(run_id).data.tags
    except MlflowException as error:
        raise UserError(f"{source}: MLflow has no such run; a trial's page there ends with its id") from error
    if TRIAL_TAG not in tags:
        raise UserError(f"{source} is no trial's run; take the id of one of the runs below the sweep's")
    sweep, number = SweepStore(root, tags[SWEEP_TAG]), int(tags[TRIAL_TAG])
    record = next((one for one in sweep.trials() if one.number == number), None)
    if record is None or record.best is None:
        raise UserError(f"{source}: trial {number} of sweep {sweep.name!r} has no model under {root}")
    return storage.read_bytes(f"{sweep.trial_store(number).best(int(record.best['epoch']))}/{WEIGHTS_NAME}")
