"""Predicting whole recordings and scoring them, the same way in training, after it, and on a user's clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from data.labels import Events
from data.windows import PreparedRow, evaluation_windows
from trainables.accdoa import adpit_loss, decode_multi_accdoa
from trainables.metrics import Average, Scores, SeldCounts, scores, seld_counts
from trainables.model import SeldModel

AVERAGES: tuple[Average, ...] = ("macro", "micro", "present")
SCORE_NAMES = ("ER", "F", "LE", "LR", "SELD")


@torch.no_grad()
def predict(
    model: SeldModel, rows: Sequence[PreparedRow], batch_size: int = 32
) -> tuple[list[NDArray[np.float32]], float, int]:
    """Outputs of each row's own label frames, (num_frames, 117) each, in the order of `rows`.

    Also the sum of the ADPIT loss over all valid label frames, and their number. The model is left in evaluation
    mode. Windows follow each other without overlap.
    """
    model.eval()
    device = next(model.parameters()).device
    sees, window_labels = model.config.sees, model.config.inputs.window_labels
    windows: list[NDArray[np.float32]] = []
    loss_sum, frames = 0.0, 0
    for batch, _ in evaluation_windows(rows, batch_size, window_labels):
        output = model(
            torch.from_numpy(batch["features"]).to(device),
            torch.from_numpy(batch["frames"]).to(device) if sees and "frames" in batch else None,
            torch.from_numpy(batch["has_video"]).to(device) if sees else None,
        )
        valid = torch.from_numpy(batch["valid"]).to(device)
        count = int(valid.sum())
        loss_sum += float(adpit_loss(output, torch.from_numpy(batch["target"]).to(device), valid)) * count
        frames += count
        windows.extend(output.cpu().numpy())
    outputs = []
    remaining = iter(windows)
    for row in rows:
        own = [next(remaining) for _ in range(0, row["num_frames"], window_labels)]
        outputs.append(np.concatenate(own)[: row["num_frames"]])
    return outputs, loss_sum, frames


def count_scores(
    rows: Sequence[PreparedRow], outputs: Sequence[NDArray[np.float32]], threshold: float
) -> SeldCounts:
    """DCASE counts of predicted rows against their events, recording by recording."""
    recordings: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        recordings.setdefault(row["recording"], []).append(index)
    total = SeldCounts.zero()
    for indices in recordings.values():
        indices.sort(key=lambda i: rows[i]["start_frame"])
        output = np.concatenate([outputs[i] for i in indices])
        base = rows[indices[0]]["start_frame"]
        pieces = [_own_events(rows[i], rows[i]["start_frame"] - base) for i in indices]
        reference = Events(*(np.concatenate(column) for column in zip(*(p.columns() for p in pieces), strict=True)))
        total = total + seld_counts(reference, decode_multi_accdoa(output, threshold))
    return total


def flat_scores(counts: SeldCounts) -> dict[str, float]:
    """{"macro/F": ..., "present/SELD": ...}: every average of every score."""
    flat = {}
    for average in AVERAGES:
        for name, value in zip(SCORE_NAMES, score_values(scores(counts, average)), strict=True):
            flat[f"{average}/{name}"] = value
    return flat


def score_values(s: Scores) -> tuple[float, ...]:
    """In the order of `SCORE_NAMES`."""
    return s.error_rate, s.f_score, s.localisation_error_deg, s.localisation_recall, s.seld


def counts_to_array(counts: SeldCounts) -> NDArray[np.float64]:
    """All counts in one vector, for summing over workers."""
    return np.concatenate([np.atleast_1d(getattr(counts, f.name)) for f in fields(counts)])


def counts_from_array(values: NDArray[np.float64]) -> SeldCounts:
    """Inverse of `counts_to_array`."""
    zero = SeldCounts.zero()
    parts: dict[str, Any] = {}
    start = 0
    for f in fields(zero):
        size = np.size(getattr(zero, f.name))
        piece = values[start : start + size]
        parts[f.name] = piece if np.ndim(getattr(zero, f.name)) else float(piece[0])
        start += size
    return SeldCounts(**parts)


def _own_events(row: PreparedRow, shift: int) -> Events:
    own = Events.build(*row["events"].T).between(0, row["num_frames"])
    return Events(own.frame + shift, *own.columns()[1:])
