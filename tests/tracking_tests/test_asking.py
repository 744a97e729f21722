"""What is asked of MLflow at a sweep's end: again while nobody answers, once where it is refused."""

from __future__ import annotations

from typing import NoReturn

import mlflow
import pytest
from mlflow.exceptions import MlflowException, RestException

from data import patience
from data.errors import UserError
from data.patience import patient
from infra.tracking.asking import ask_mlflow
from infra.tracking.writer import Away, in_short

NOBODY = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: NOBODY)
    monkeypatch.setattr(patience, "FIRST_PAUSE_S", 0.001)


def test_a_server_that_does_not_answer_is_said_in_a_line() -> None:
    with pytest.raises(Away, match=rf"^MLflow at {NOBODY} does not answer: .*: \[Errno 111\] Connection refused$"):
        ask_mlflow(lambda: mlflow.MlflowClient(NOBODY).get_registered_model("seld"))


def test_a_connection_that_breaks_off_is_said_in_a_line() -> None:
    inner = "('Connection aborted.', RemoteDisconnected('Remote end closed connection without response'))"
    asked = "API request to http://m:5000/api/2.0/mlflow/runs/get failed with exception"
    told = in_short(MlflowException(f"{asked} HTTPConnectionPool(host='m', port=5000): Max retries exceeded: {inner}"))
    assert told == "API request to http://m:5000/api/2.0/mlflow/runs/get: Remote end closed connection without response"
    assert in_short(MlflowException("no such run\nand more")) == "no such run"


def test_it_is_asked_again_from_the_beginning() -> None:
    asked = []

    def register() -> str:
        asked.append("version")
        if len(asked) < 3:
            mlflow.MlflowClient(NOBODY).get_registered_model("seld")
        return "models:/seld/1"

    with patient(60.0):
        assert ask_mlflow(register) == "models:/seld/1"
    assert len(asked) == 3


@pytest.mark.parametrize("code", ["RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "PERMISSION_DENIED"])
def test_what_the_server_refuses_is_not_asked_again(code: str) -> None:
    asked = []

    def refused() -> NoReturn:
        asked.append(code)
        raise RestException({"error_code": code, "message": "no"})

    with patient(60.0), pytest.raises(RestException):
        ask_mlflow(refused)
    assert len(asked) == 1


def test_a_mistake_of_the_user_is_not_asked_again() -> None:
    def wrong() -> NoReturn:
        raise UserError("the model holds a pickle")

    with patient(60.0), pytest.raises(UserError, match="pickle"):
        ask_mlflow(wrong)
