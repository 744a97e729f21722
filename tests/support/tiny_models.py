"""The smallest models that are models."""

from __future__ import annotations

from trainables.config import FUSIONS, TrialConfig
from trainables.config.tree import from_dict


def tiny_config(fusion: str) -> TrialConfig:
    visual = {
        "name": "resnet_conformer",
        "block": "basic",
        "depths": [1, 1, 1, 1],
        "width": 8,
        "conformer": CONFORMER,
    }
    return from_dict(
        {
            "inputs": {"n_fft": 1024, "hop": 600, "n_mels": 8, "frame_width": 32, "frame_height": 32},
            "audio": {
                "channels": [4, 4],
                "time_strides": [2, 2],
                "frequency_strides": [2, 2],
                "conformer": CONFORMER,
            },
            "visual": visual if "visual" in FUSIONS[fusion].needs else {"name": "none"},
            "fusion": {"name": fusion, **TINY.get(fusion, {})},
        }
    )


CONFORMER = {"layers": 1, "heads": 2, "feed_forward": 8, "kernel": 3}


TINY = {
    "audio_only": {"conformer": CONFORMER},
    "av_conformer": {"conformer": CONFORMER},
    "cmaf": {"layers": 1, "heads": 2, "feed_forward": 8},
    "gru": {"layers": 1, "hidden": 4},
}
