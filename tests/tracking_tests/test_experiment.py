"""The experiment of all sweeps, deleted in MLflow by somebody: named before a sweep begins, with the way back."""

from __future__ import annotations

import re
from pathlib import Path

import mlflow
import pytest

from data.errors import UserError
from infra.plan.preflight import OK, REFUSED, Preflight, check_mlflow
from infra.tracking.experiment import EXPERIMENT, require_experiment


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/mlflow.db"


def test_a_deleted_experiment_is_named_with_the_way_back(uri: str) -> None:
    require_experiment(uri)
    client = mlflow.MlflowClient(uri)
    experiment = client.create_experiment(EXPERIMENT)
    require_experiment(uri)
    client.delete_experiment(experiment)
    way = f"`MLFLOW_TRACKING_URI={uri} mlflow experiments restore --experiment-id {experiment}`"
    with pytest.raises(UserError, match=re.escape(f"was deleted: bring it back with {way}")):
        require_experiment(uri)
    preflight = Preflight()
    check_mlflow(preflight, uri)
    assert [(check.name, check.state) for check in preflight.checks] == [("MLflow", REFUSED)]
    client.restore_experiment(experiment)
    require_experiment(uri)
    again = Preflight()
    check_mlflow(again, uri)
    assert [check.state for check in again.checks] == [OK]
