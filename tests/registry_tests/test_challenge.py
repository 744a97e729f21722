"""The challenger is the best on validation, and stays where that cannot be told."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pytest

from infra.models.challenge import challenge, why_unfit
from infra.models.register import find_version, validation_tag
from infra.record.trials import TrialRecord
from trainables.training.reports import OBJECTIVE


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> mlflow.MlflowClient:
    """A registry of versions without files; each has a score and the data that it was validated on."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    client = mlflow.MlflowClient()
    client.create_registered_model("seld")
    for seld, data in ((0.4, "a"), (0.5, "a"), (0.4, "a"), (0.3, "a"), (0.2, "b")):
        version = client.create_model_version("seld", f"file://{tmp_path}/model")
        for key, value in ((validation_tag(OBJECTIVE), f"{seld:g}"), ("data", data)):
            client.set_model_version_tag("seld", version.version, key, value)
    return client


def test_only_what_is_better_on_the_same_data_becomes_challenger(registry: mlflow.MlflowClient) -> None:
    def said(number: int) -> str:
        return challenge(find_version("seld", str(number))) or ""

    def challenger() -> str:
        return str(registry.get_model_version_by_alias("seld", "challenger").version)

    assert (said(1), challenger()) == ("", "1")
    assert said(2) == "models:/seld/1 stays, with SELD 0.400 on the same validation data"
    assert said(3), "no better is not better"
    assert challenger() == "1"
    assert (said(4), challenger()) == ("", "4")
    assert (said(4), challenger()) == ("", "4"), "a sweep may conclude twice"
    assert "models:/seld/4 stays, which was validated on other data" in said(5)
    assert challenger() == "4"


@pytest.mark.parametrize(("f_score", "unfit"), [(0.0, "trial 7 finds no event"), (0.01, "")])
def test_what_finds_nothing_is_no_winner(f_score: float, unfit: str) -> None:
    report = {"epoch": 1.0, OBJECTIVE: 0.92, "present/F": f_score}
    said = why_unfit(TrialRecord(7, {}, {}, {}, reports=[report])) or ""
    assert said.startswith(unfit)
    assert bool(said) == bool(unfit)
