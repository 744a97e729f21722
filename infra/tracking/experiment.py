"""The experiment of all sweeps, which whoever uses MLflow can delete."""

from __future__ import annotations

import mlflow
from mlflow.exceptions import MlflowException

from data.errors import UserError

EXPERIMENT = "seldtune"


def require_experiment(tracking_uri: str | None) -> None:
    """UserError where it was deleted: MLflow then takes no run of it, and none of its name can be made.

    What else a server may answer is told where it is asked for something.
    """
    try:
        found = mlflow.MlflowClient(tracking_uri).get_experiment_by_name(EXPERIMENT)
    except MlflowException:
        return
    if found is not None and found.lifecycle_stage == "deleted":
        raise UserError(
            f"MLflow's experiment {EXPERIMENT!r}, with the runs of all sweeps, was deleted: bring it back with "
            f"`MLFLOW_TRACKING_URI={tracking_uri} mlflow experiments restore --experiment-id {found.experiment_id}`"
        )
