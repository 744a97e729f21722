"""Which models of sweeps are registered, and who is challenger: the best on validation ever registered under a name."""

from __future__ import annotations

import mlflow

from infra.models.register import CHALLENGER, ModelVersion, holder_of, validation_tag
from infra.record.trials import TrialRecord
from trainables.training.reports import OBJECTIVE

F_SCORE = OBJECTIVE.replace("SELD", "F")


def why_unfit(record: TrialRecord) -> str | None:
    """Why a trial's best model is not worth a version; `None` where it is."""
    assert record.best is not None, "a trial without a report has no model"
    if record.best[F_SCORE] > 0:
        return None
    return f"trial {record.number} finds no event of the validation recordings (F 0.000); train for longer"


def challenge(version: ModelVersion) -> str | None:
    """Give a version the alias if nobody has it, or if it is better than who has it on the same validation data.

    Returns:
        Why it is not given; `None` where the version has it now.
    """
    holder = holder_of(version.name, CHALLENGER)
    if holder is not None and holder.version != version.version:
        if holder.tags.get("data") != version.tags.get("data"):
            return f"{holder.uri} stays, which was validated on other data; give --model another name to search there"
        ours, theirs = (float(one.tags[validation_tag(OBJECTIVE)]) for one in (version, holder))
        if ours >= theirs:
            return f"{holder.uri} stays, with SELD {theirs:.3f} on the same validation data"
    mlflow.MlflowClient().set_registered_model_alias(version.name, CHALLENGER, version.version)
    return None
