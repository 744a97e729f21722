"""Asking MLflow for what a sweep waits for: again while the server is away, as all services are (`data.patience`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import mlflow
from mlflow.exceptions import MlflowException

from data.errors import UserError
from data.patience import insist
from infra.tracking.writer import Away, in_short, is_final

T = TypeVar("T")


def ask_mlflow(call: Callable[[], T]) -> T:
    """What a call of MLflow's client gives. It is made again, whole, while the server does not answer.

    Raises:
        Away: it does not answer, and this process is not patient.
        Exception: what the server says otherwise, as MLflow's client raises it.
    """
    uri = mlflow.get_tracking_uri()

    def attempt() -> T:
        try:
            return call()
        except UserError:
            raise
        except (MlflowException, OSError) as error:
            if is_final(error) or getattr(error, "error_code", None) == "PERMISSION_DENIED":
                raise
            raise Away(f"MLflow at {uri} does not answer: {in_short(error)}") from error

    return insist(f"asking MLflow at {uri}", attempt)
