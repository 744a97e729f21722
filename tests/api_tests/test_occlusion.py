"""The example that covers stripes of pictures: it finds where a model looks, and that another does not look."""

from __future__ import annotations

import runpy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from data.geometry import unit_vector
from data.labels import Events
from support.children import REPOSITORY

AZIMUTH = 90.0
LABELS = 20
EVENTS = Events.build(np.arange(LABELS), [4] * LABELS, [1] * LABELS, [AZIMUTH] * LABELS, [0.0] * LABELS)


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    return runpy.run_path(str(REPOSITORY / "examples" / "occlusion.py"))


def model(looks: bool) -> Any:
    """One whose vector of class 4 is as long as the middle of the left half is white, or always 0.5."""

    def output(audio: NDArray[np.float32], frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        column = round((180 - AZIMUTH) / 360 * frames.shape[2])
        length = (frames[0, :, column - 1 : column + 1].mean() / 255) if looks else 0.5
        vectors = np.zeros((LABELS, 3, 3, 13), dtype=np.float32)
        vectors[:, 1, :, 4] = length * unit_vector(np.array(AZIMUTH), np.array(0.0))
        return vectors.reshape(LABELS, -1)

    return SimpleNamespace(output=output, config=SimpleNamespace(output=SimpleNamespace(tracks=3, axes=3)))


@pytest.mark.parametrize("looks", [True, False])
def test_what_is_covered_at_the_event_is_what_a_model_that_looks_loses(example: dict[str, Any], looks: bool) -> None:
    audio, frames = np.zeros((4, 48_000), np.float32), np.full((4, 6, 96, 3), 255, np.uint8)
    found = list(example["losses"](model(looks), audio, frames, EVENTS))
    middles, mean = example["by_angle"](*(np.concatenate(column) for column in zip(*found, strict=True)))
    assert len(middles) == len(mean) == example["STRIPES"]
    assert mean.max() == pytest.approx((1 - 128 / 255) / 2 if looks else 0.0, abs=1e-6)
    if looks:
        assert abs(middles[mean.argmax()]) <= 180 / example["STRIPES"]
        assert np.count_nonzero(mean > 1e-6) <= 2, "the event stands at the edge of two stripes"
