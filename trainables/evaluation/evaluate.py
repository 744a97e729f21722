"""Predicting whole recordings and scoring them, the same way in training, after it, and on a user's clip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from data.classes import STARSS23
from data.feeding.contract import PreparedRow, RowLabels, arrays_of, as_looked_at, labels_of
from data.feeding.windows import evaluation_windows
from data.labels import Events
from data.swaps import IDENTITY, NUM_SWAPS, unswap_output
from data.timing import LABEL_RATE_HZ
from trainables.config import Output
from trainables.networks.model import SeldModel
from trainables.parts.visual.modules import seen_in
from trainables.scores.averaging import TrackMean
from trainables.scores.matching import FloatArray, axis_error_sums_deg
from trainables.scores.metrics import SeldCounts, scores, seld_counts

THRESHOLD_GRID = tuple(round(0.1 + 0.05 * step, 2) for step in range(12))
"""What the threshold of a class is chosen from, 0.1 to 0.65."""


@torch.no_grad()
def predict(
    model: SeldModel, rows: Sequence[PreparedRow], batch_size: int = 32, columns: Sequence[str] | None = None
) -> tuple[list[NDArray[np.float32]], float, int]:
    """Outputs of each row's own label frames, (num_labels, output width) each, in the order of `rows`.

    Also the sum of the loss over all valid label frames of all windows, and their number. The model is left in
    evaluation mode. Its config says whether windows overlap and whether they are seen under all channel swaps.

    Args:
        columns: what of the rows it looks at; nothing: what its config says that it learns from.
    """
    model.eval()
    device = next(model.parameters()).device
    config = model.config
    columns = config.columns if columns is None else columns
    rows = as_looked_at(rows, columns)
    form = config.output
    hop = (
        config.inputs.window_labels if config.inference.hop_s is None else round(config.inference.hop_s * LABEL_RATE_HZ)
    )
    # The scene as it is comes first: the order of its tracks is the one that the others are brought into.
    swaps = sorted(range(NUM_SWAPS), key=lambda k: k != IDENTITY) if config.inference.swap_average else [IDENTITY]
    num_classes = len(config.classes)
    means = [TrackMean(row["num_frames"], form.tracks, form.axes, num_classes) for row in rows]
    loss_sum, num_labels = 0.0, 0
    for k in swaps:
        windows_of = evaluation_windows(
            rows, batch_size, config.inputs.window_labels, hop, k, config.inputs.frame_rate_hz
        )
        for batch, places in windows_of:
            inputs = {name: torch.from_numpy(array).to(device) for name, array in arrays_of(batch).items()}
            output = model(inputs["features"], seen_in(inputs, columns), inputs["has_video"])
            if k == IDENTITY:
                count = int(inputs["valid"].sum())
                loss_sum += float(form.loss(output, inputs["target"], inputs["valid"])) * count
                num_labels += count
            windows = output.cpu().numpy().reshape(*output.shape[:2], form.tracks, form.axes, num_classes)
            for (index, start), window in zip(places, unswap_output(windows, k), strict=True):
                means[index].add(start, window)
    return [mean.mean() for mean in means], loss_sum, num_labels


@dataclass(kw_only=True)
class Evaluation:
    """What a model scores on recordings."""

    counts: list[SeldCounts]
    """For each threshold."""
    axis_errors_deg: FloatArray = field(default_factory=lambda: np.zeros(3))
    """`axis_error_sums_deg` at the first threshold."""
    loss_sum: float = 0.0
    num_labels: int = 0
    """Label frames that the loss is summed over."""
    example: dict[str, NDArray] = field(default_factory=dict)
    """Recording, start and output of the first row; empty where there was none."""


def evaluate(
    model: SeldModel,
    rows: Iterable[Sequence[PreparedRow]],
    thresholds: Sequence[float | NDArray[np.float64]],
    batch_size: int = 32,
) -> Evaluation:
    """Predict and score recordings whose rows come a few at a time, in order of recording and start.

    Of rows gone by only the events and the outputs are kept, and those until their recording is counted.
    """
    form, num_classes = model.config.output, len(model.config.classes)
    total = Evaluation(counts=[SeldCounts.zero(num_classes) for _ in thresholds])
    for found in predict_recordings(model, rows, batch_size):
        counted = [count_scores(found.rows, found.outputs, form, threshold, num_classes) for threshold in thresholds]
        for _, reference, output in recordings(found.rows, found.outputs):
            total.axis_errors_deg += axis_error_sums_deg(reference, form.decode(output, thresholds[0]))
        total.counts = [a + b for a, b in zip(total.counts, counted, strict=True)]
        total.loss_sum += found.loss_sum
        total.num_labels += found.num_labels
        if not total.example:
            first = {name: np.array(found.rows[0][name]) for name in ("recording", "start_frame")}
            total.example = {**first, "output": found.outputs[0]}
    return total


class Predicted(NamedTuple):
    """Whole recordings, predicted."""

    rows: list[RowLabels]
    """Without what takes memory."""
    outputs: list[NDArray[np.float32]]
    """Of each row's own label frames."""
    loss_sum: float
    """Over the valid label frames that were predicted since the last time."""
    num_labels: int
    """Their number."""


def predict_recordings(
    model: SeldModel, rows: Iterable[Sequence[PreparedRow]], batch_size: int = 32
) -> Iterator[Predicted]:
    """Like `predict`, of rows that come a few at a time, in order of recording and start; yields as often as recordings
    are whole."""
    told: list[RowLabels] = []
    outputs: list[NDArray[np.float32]] = []
    loss_sum, num_labels = 0.0, 0
    for piece in rows:
        predicted, loss, count = predict(model, piece, batch_size)
        told += [labels_of(row) for row in piece]
        outputs += predicted
        loss_sum += loss
        num_labels += count
        # The last recording may go on in the next piece.
        whole = next(i for i, row in enumerate(told) if row["recording"] == told[-1]["recording"])
        if whole:
            yield Predicted(told[:whole], outputs[:whole], loss_sum, num_labels)
            told, outputs = told[whole:], outputs[whole:]
            loss_sum, num_labels = 0.0, 0
    if told:
        yield Predicted(told, outputs, loss_sum, num_labels)


def count_scores(
    rows: Sequence[RowLabels],
    outputs: Sequence[NDArray[np.float32]],
    form: Output,
    threshold: float | NDArray[np.float64],
    num_classes: int = len(STARSS23),
) -> SeldCounts:
    """DCASE counts of predicted rows against their events, over all recordings."""
    counts = (
        seld_counts(reference, form.decode(output, threshold), num_classes=num_classes)
        for _, reference, output in recordings(rows, outputs)
    )
    return sum(counts, SeldCounts.zero(num_classes))


def recordings(
    rows: Sequence[RowLabels], outputs: Sequence[NDArray[np.float32]]
) -> Iterator[tuple[str, Events, NDArray[np.float32]]]:
    """Rows put together again: each recording's name, events and what was predicted for it, ordered by name."""
    by_name: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        by_name.setdefault(row["recording"], []).append(index)
    for name, indices in sorted(by_name.items()):
        indices.sort(key=lambda i: rows[i]["start_frame"])
        base = rows[indices[0]]["start_frame"]
        pieces = [_own_events(rows[i], rows[i]["start_frame"] - base) for i in indices]
        reference = Events(*(np.concatenate(column) for column in zip(*(p.columns() for p in pieces), strict=True)))
        yield name, reference, np.concatenate([outputs[i] for i in indices])


def best_thresholds(counts: Sequence[SeldCounts], default: float) -> NDArray[np.float64]:
    """For each class the threshold of `THRESHOLD_GRID`, whose counts these are, with the smallest error; (C,).

    The error of a class is the mean of 1 - F, LE / 180 and 1 - LR. Of equals the one nearest to `default` is taken,
    which a class that the reference does not hold keeps.
    """
    per_class = [scores(one).per_class for one in counts]
    errors = np.stack([2 - c.f_score - c.localisation_recall + c.localisation_error_deg / 180 for c in per_class])
    grid = np.array(THRESHOLD_GRID)
    nearest_first = np.argsort(np.abs(grid - default), kind="stable")
    chosen = grid[nearest_first][errors[nearest_first].argmin(axis=0)]
    return np.where(per_class[0].present, chosen, default)


def _own_events(row: RowLabels, shift: int) -> Events:
    own = Events.build(*row["events"].T).between(0, row["num_frames"])
    return Events(own.frame + shift, *own.columns()[1:])
