"""Where a trial keeps what it must not lose: its state after each epoch, and its best model.

Everything lies under the trial's own folder on the sweep's storage, local or S3, so that whoever continues the trial,
on whatever machine and after whatever accident, finds it by the trial's number alone:

    checkpoints/epoch-0007.pt    complete state, written in one atomic piece; the last two are kept, and those that
                                 other trials may go on from
    best/epoch-0005/             bundle of the best epoch so far (`trainables.evaluation.bundle`): safetensors and JSON

A checkpoint names the best epoch it knows; bundles are written before the checkpoint that names them and removed
after, so a crash at any point leaves a checkpoint whose best model is there.
"""

from __future__ import annotations

import io
import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data import storage
from trainables.config import TrialConfig
from trainables.evaluation.bundle import save_bundle
from trainables.networks.model import SeldModel

logger = logging.getLogger(f"seldtune.{__name__}")

KEEP_CHECKPOINTS = 2
EXAMPLE_NAME = "example.npz"


class TrialStore:
    """A trial's folder on storage.

    Args:
        keep_every: checkpoints of every so many epochs stay, so that other trials can go on from them; 0: none.
    """

    def __init__(self, uri: str, keep_every: int = 0) -> None:
        self.uri = uri.rstrip("/")
        self._keep_every = keep_every

    def sibling(self, number: int) -> TrialStore:
        """The folder of another trial of the sweep."""
        return TrialStore(trial_uri(self.uri.rpartition("/")[0], number))

    def save(self, epoch: int, state: dict[str, Any]) -> None:
        """Write the state after `epoch` epochs, then drop checkpoints and best models that nothing names any more."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        storage.write_bytes(self._checkpoint(epoch), buffer.getvalue())
        for uri in self._checkpoints()[:-KEEP_CHECKPOINTS]:
            if not self._keep_every or _epoch(uri) % self._keep_every:
                storage.delete(uri)
        for path in storage.list_files(f"{self.uri}/best"):
            if path.split("/")[0] != _name(state["best_epoch"]):
                storage.delete(f"{self.uri}/best/{path}")

    def latest(self) -> dict[str, Any] | None:
        """State of the newest checkpoint that can be read, on the CPU; nothing for a fresh trial."""
        states = (_load(uri) for uri in reversed(self._checkpoints()))
        return next((state for state in states if state is not None), None)

    def at(self, epoch: int) -> dict[str, Any] | None:
        """State after `epoch` epochs, on the CPU; nothing when that checkpoint is not there or cannot be read."""
        return _load(self._checkpoint(epoch))

    def save_best(
        self, epoch: int, model: SeldModel, config: TrialConfig, extra: dict[str, Any], example: dict[str, np.ndarray]
    ) -> None:
        """Write the bundle of the best epoch.

        Args:
            extra: JSON: scores, and where the data came from.
            example: what the model predicted for one validation recording, kept as `example.npz` so that whoever
                loads the model elsewhere can check that it predicts the same.
        """
        with tempfile.TemporaryDirectory() as folder:
            save_bundle(Path(folder), model, config, extra)
            np.savez_compressed(Path(folder) / EXAMPLE_NAME, **example)  # type: ignore[arg-type]
            for path in Path(folder).iterdir():
                storage.write_bytes(f"{self.best(epoch)}/{path.name}", path.read_bytes())

    def best(self, epoch: int) -> str:
        """URI of the bundle written for `epoch`."""
        return f"{self.uri}/best/{_name(epoch)}"

    def _checkpoint(self, epoch: int) -> str:
        return f"{self.uri}/checkpoints/{_name(epoch)}.pt"

    def _checkpoints(self) -> list[str]:
        names = sorted(n for n in storage.list_files(f"{self.uri}/checkpoints") if n.endswith(".pt"))
        return [f"{self.uri}/checkpoints/{name}" for name in names]


def _load(uri: str) -> dict[str, Any] | None:
    """A checkpoint's tensors and plain values, never pickled code; nothing when it is gone or damaged."""
    try:
        content = storage.read_bytes(uri)
    except FileNotFoundError:
        return None
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError) as error:
        logger.warning("checkpoint %s cannot be read (%s)", uri, error)
        return None


def trial_uri(trials_uri: str, number: int) -> str:
    """A trial's folder among those of its sweep."""
    return f"{trials_uri}/{number:05d}"


def _name(epoch: int) -> str:
    return f"epoch-{epoch:04d}"


def _epoch(checkpoint: str) -> int:
    return int(checkpoint.removesuffix(".pt").rpartition("-")[2])
