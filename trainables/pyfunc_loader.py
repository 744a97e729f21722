"""How MLflow loads a model of ours: a bundle of safetensors and JSON, and this function. Nothing is unpickled.

Plugins that parts of the model come from lie beside this code, and are imported as the bundle names them.

Inputs of the loaded model (a dict of arrays; one clip, or several of one length):
    audio   float32 (n, 4, N) first-order ambisonics W Y Z X (SN3D) at 24 kHz, in [-1, 1]
    frames  uint8 (n, V, H, W, 3) equirectangular pictures at the model's size and rate; V = 0: no video.
            Left out for a model that does not see. A model that reads boxes takes `boxes` float32 (n, V, 6, 5) instead.
Output: float32 (n, T, tracks x axes x 13), T label frames of 0.1 s; multi-ACCDOA: 3 tracks x 3 axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.evaluation.bundle import load_bundle
from trainables.evaluation.inference import predict_clip


class ClipModel:
    """The model as MLflow calls it."""

    def __init__(self, folder: Path) -> None:
        self.model, self.config, self.extra = load_bundle(folder)

    def predict(self, model_input: Mapping[str, NDArray[Any]], params: Any = None) -> NDArray[np.float32]:
        audio = np.asarray(model_input["audio"])
        seen = model_input.get(self.config.visual.reads or "")
        return np.stack(
            [predict_clip(self.model, clip, None if seen is None else seen[i]) for i, clip in enumerate(audio)]
        )


def _load_pyfunc(path: str) -> ClipModel:
    """Entry point that MLflow calls with the folder of the bundle."""
    return ClipModel(Path(path))
