"""Models in a registry that no sweep trained: the best of a trial of random weights."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from infra.models.register import ModelVersion, register_best
from infra.record.trials import COMPLETE, TrialRecord
from support.tiny_models import tiny_config
from trainables.config.tree import to_dict
from trainables.networks.model import SeldModel
from trainables.training.checkpoint import TrialStore
from trainables.training.reports import OBJECTIVE


def register_untrained(folder: Path, run_id: str, number: int = 0, sweep: str = "search", **asked: Any) -> ModelVersion:
    """Of `seld` in the registry of this process, whatever number the same weights; its files lie below the folder.

    Args:
        asked: as `register_best` takes it.
    """
    config = tiny_config("gru")
    torch.manual_seed(0)
    store = TrialStore(f"{folder}/work/{number:05d}")
    store.save_best(3, SeldModel(config), config, {"thresholds": [0.5] * 13}, {"output": np.zeros(1)})
    record = TrialRecord(number=number, params={}, distributions={}, config=to_dict(config), state=COMPLETE)
    record.add_report({"epoch": 3, OBJECTIVE: 0.5, "epoch_s": 1.0})
    return register_best("seld", record, store, run_id, sweep, **asked)


def change_member(archive: Path, name: str, content: str) -> None:
    """Write other content for a file of an archive, or a file that it lacks."""
    with zipfile.ZipFile(archive) as packed:
        contents = {member: packed.read(member) for member in packed.namelist()} | {name: content.encode()}
    with zipfile.ZipFile(archive, "w") as packed:
        for member, held in contents.items():
            packed.writestr(member, held)
