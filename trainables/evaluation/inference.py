"""A model on a clip of any length, cut, heard and seen exactly as training cuts, hears and sees its recordings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from data.feeding.contract import PreparedRow
from data.labels import Events, adpit_target
from data.timing import LABEL_RATE_HZ, RATE_HZ, stretches
from trainables.evaluation.evaluate import predict
from trainables.inputs.features import FeatureExtractor
from trainables.networks.model import SeldModel


def predict_clip(model: SeldModel, audio: NDArray[np.float32], seen: NDArray[Any] | None = None) -> NDArray[np.float32]:
    """The model's output for a whole clip, (T, output width) for its T whole label frames.

    Args:
        audio: (4, N) W Y Z X at 24 kHz, in [-1, 1].
        seen: pictures (V, H, W, 3) or boxes (V, 6, 5), as the model reads, at its size and rate from time 0; nothing or
            V = 0: no video.
    """
    reads = model.config.visual.reads
    return np.concatenate(predict(model, list(_rows(model, audio, seen)), columns=(reads,) if reads else ())[0])


def _rows(model: SeldModel, audio: NDArray[np.float32], seen: NDArray[Any] | None) -> Iterator[PreparedRow]:
    inputs = model.config.inputs
    extract = FeatureExtractor(inputs.n_fft, inputs.hop, inputs.n_mels, RATE_HZ)
    samples = RATE_HZ // LABEL_RATE_HZ
    reads = model.config.visual.reads
    for start, own_stop, stop in stretches(audio.shape[1] // samples):
        piece = torch.from_numpy(np.ascontiguousarray(audio[:, start * samples : stop * samples], np.float32))
        first, last = (round(label * inputs.frame_rate_hz / LABEL_RATE_HZ) for label in (start, stop))
        row: dict[str, Any] = {
            "recording": "",
            "room": "",
            "start_frame": start,
            "num_frames": own_stop - start,
            "features": extract(piece)[:, : (stop - start) * inputs.features_per_label].numpy(),
            "target": adpit_target(Events.build(), stop - start, len(model.config.classes)),
            "events": np.zeros((0, 6)),
            "has_video": seen is not None and len(seen) > 0,
            **({} if reads is None or seen is None else {reads: seen[first:last]}),
        }
        yield cast(PreparedRow, row)
