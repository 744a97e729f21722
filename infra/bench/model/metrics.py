"""DCASE 2023 scores of folders of csv files: ours against an evaluator that walks through segments, classes and labels.

The peer keeps rows in dictionaries by label frame and by segment and class, and pairs tracks one by one with scipy's
`linear_sum_assignment`, as the challenge's evaluator does. It gives the five scores alone; ours gives the scores of
each class and their jackknife intervals over the recordings in the same time.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from data.classes import STARSS23
from data.geometry import unit_vector
from data.timing import LABEL_RATE_HZ
from infra.bench.measure import OURS, alternate, parser, result, show
from trainables.scores.folders import score_folders
from trainables.scores.metrics import SCORE_NAMES, THRESHOLD_DEG

_EPS = float(np.finfo(np.float64).eps)
# Rows of label frame, class and direction in degrees (azimuth, elevation).
LabelRows = dict[int, list[tuple[int, float, float]]]
# By segment, then class, then label frame within the segment: the directions of the tracks.
Segments = list[dict[int, dict[int, list[tuple[float, float]]]]]


def read_rows(path: Path) -> LabelRows:
    """Label frame, class, source and direction, as angles or as a vector, by label frame."""
    rows: LabelRows = {}
    with path.open(encoding="utf-8") as file:
        for line in file:
            label, class_index, _, *direction = line.strip().split(",")
            values = [float(value) for value in direction]
            azimuth, elevation = values if len(values) == 2 else _angles_deg(*values)
            rows.setdefault(int(label), []).append((int(class_index), azimuth, elevation))
    return rows


def _angles_deg(x: float, y: float, z: float) -> tuple[float, float]:
    return math.degrees(math.atan2(y, x)), math.degrees(math.atan2(z, math.hypot(x, y)))


def in_segments(rows: LabelRows, last_label: int) -> Segments:
    """The rows before `last_label`, by segment of 1 s."""
    segments: Segments = []
    for start in range(0, last_label, LABEL_RATE_HZ):
        segment: dict[int, dict[int, list[tuple[float, float]]]] = {}
        for label in range(start, start + LABEL_RATE_HZ):
            for class_index, azimuth, elevation in rows.get(label, ()):
                segment.setdefault(class_index, {}).setdefault(label - start, []).append((azimuth, elevation))
        segments.append(segment)
    return segments


class SegmentEvaluator:
    """Counts of one recording after the other, then the macro scores ER, F, LE, LR and SELD."""

    def __init__(self) -> None:
        names = ("true_positive", "far", "false_positive", "false_negative", "reference", "matched", "error_deg")
        self._sums = {name: np.zeros(len(STARSS23)) for name in names}
        self._errors = 0

    def add(self, reference: Segments, predicted: Segments) -> None:
        for true_segment, predicted_segment in zip(reference, predicted, strict=True):
            extra = missed = 0
            for class_index in range(len(STARSS23)):
                true = true_segment.get(class_index)
                found = predicted_segment.get(class_index)
                true_tracks = max(map(len, true.values())) if true else 0
                found_tracks = max(map(len, found.values())) if found else 0
                self._sums["reference"][class_index] += true_tracks
                false_positive = max(found_tracks - true_tracks, 0)
                false_negative = max(true_tracks - found_tracks, 0)
                if true and found:
                    errors = self._track_errors(true, found)
                    if not errors:
                        false_positive, false_negative = 0, found_tracks
                    for error in errors:
                        near = error <= THRESHOLD_DEG
                        self._sums["true_positive" if near else "far"][class_index] += 1
                        self._sums["matched"][class_index] += 1
                        self._sums["error_deg"][class_index] += error
                        extra += not near
                self._sums["false_positive"][class_index] += false_positive
                self._sums["false_negative"][class_index] += false_negative
                extra += false_positive
                missed += false_negative
            # Substitutions, and what is left as deletions or insertions.
            self._errors += max(extra, missed)

    @staticmethod
    def _track_errors(
        true: dict[int, list[tuple[float, float]]], found: dict[int, list[tuple[float, float]]]
    ) -> list[float]:
        """Mean error of each track of the reference over the label frames in which it was paired."""
        by_track: dict[int, list[float]] = {}
        for label, directions in true.items():
            if label in found:
                distances = _distances_deg(np.array(directions), np.array(found[label]))
                for row, column in zip(*linear_sum_assignment(distances), strict=True):
                    by_track.setdefault(int(row), []).append(float(distances[row, column]))
        return [sum(errors) / len(errors) for errors in by_track.values()]

    def scores(self) -> list[float]:
        s = self._sums
        error_rate = self._errors / (s["reference"].sum() + _EPS)
        f = s["true_positive"] / (
            _EPS + s["true_positive"] + s["far"] + 0.5 * (s["false_positive"] + s["false_negative"])
        )
        error_deg = np.where(s["matched"] > 0, s["error_deg"] / (s["matched"] + _EPS), 180.0)
        recall = s["matched"] / (_EPS + s["matched"] + s["false_negative"])
        four = [float(error_rate), float(f.mean()), float(error_deg.mean()), float(recall.mean())]
        return [*four, (four[0] + 1 - four[1] + four[2] / 180 + 1 - four[3]) / 4]


def _distances_deg(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Great-circle distances between directions (n, 2) and (m, 2) in degrees: (n, m)."""
    (azimuth_1, elevation_1), (azimuth_2, elevation_2) = np.deg2rad(first).T, np.deg2rad(second).T
    cosine = np.sin(elevation_1)[:, None] * np.sin(elevation_2) + np.cos(elevation_1)[:, None] * np.cos(
        elevation_2
    ) * np.cos(azimuth_1[:, None] - azimuth_2)
    return np.rad2deg(np.arccos(np.clip(cosine, -1.0, 1.0)))


def scores_by_segment(reference: Path, prediction: Path) -> list[float]:
    """ER, F, LE, LR and SELD of a folder of csv files, segment by segment."""
    evaluator = SegmentEvaluator()
    for path in sorted(reference.iterdir()):
        true = read_rows(path)
        last_label = max(true)
        evaluator.add(in_segments(true, last_label), in_segments(read_rows(prediction / path.name), last_label))
    return evaluator.scores()


def our_scores(reference: Path, prediction: Path) -> list[float]:
    found = score_folders(reference, prediction, form="cartesian")["scores"]
    return [found[name]["value"] for name in SCORE_NAMES]


def write_scenes(folder: Path, recordings: int, seconds: int, polyphony: int = 3) -> tuple[Path, Path]:
    """Busy scenes with as many events at once as `polyphony` says, and what a middling model makes of them.

    References hold angles in whole degrees, predictions vectors.
    """
    rng = np.random.default_rng(0)
    reference, prediction = folder / "reference", folder / "prediction"
    reference.mkdir()
    prediction.mkdir()
    for recording in range(recordings):
        true_rows, found_rows = [], []
        for source in range(polyphony):
            label = 0
            while label < seconds * LABEL_RATE_HZ:
                stop = min(label + int(rng.integers(10, 80)), seconds * LABEL_RATE_HZ)
                class_index, azimuth, elevation = (
                    int(rng.integers(len(STARSS23))),
                    rng.uniform(-180, 180),
                    rng.normal(0, 20),
                )
                heard, confused = rng.random() < 0.8, rng.random() < 0.1
                speed, spread = rng.normal(0, 1), rng.uniform(2, 20)
                for at in range(label, stop):
                    azimuth = (azimuth + speed + 180) % 360 - 180
                    true_rows.append((at, class_index, source, round(azimuth), round(np.clip(elevation, -89, 89))))
                    if heard and rng.random() < 0.95:
                        said = (class_index + confused) % len(STARSS23)
                        seen_at = (
                            azimuth + rng.normal(0, spread),
                            np.clip(elevation + rng.normal(0, spread / 2), -89, 89),
                        )
                        found_rows.append((at, said, source, *unit_vector(*seen_at).round(6).tolist()))
                label = stop
        for where, rows in ((reference, true_rows), (prediction, found_rows)):
            lines = sorted(rows, key=lambda row: row[0])
            text = "".join(",".join(map(str, row)) + "\n" for row in lines)
            (where / f"fold4_room1_mix{recording:03d}.csv").write_text(text, encoding="utf-8")
    return reference, prediction


def measure(recordings: int, seconds: int, repeats: int) -> dict[str, Any]:
    """The outcome for so many recordings of that length."""
    with tempfile.TemporaryDirectory() as folder:
        paths = write_scenes(Path(folder), recordings, seconds)
        expected, found = scores_by_segment(*paths), our_scores(*paths)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        sides = {OURS: lambda: our_scores(*paths), "segment by segment": lambda: scores_by_segment(*paths)}
        times = alternate(sides, repeats, warmup=0)
    sizes = {"recordings": recordings, "seconds": seconds, "polyphony": 3}
    scores = dict(zip(SCORE_NAMES, found, strict=True))
    return result("metrics", "evaluation", times, sizes, scores=scores)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, repeats=7)
    options.add_argument("--recordings", type=int, default=18, help="number of recordings (default %(default)s)")
    options.add_argument("--seconds", type=int, default=60, help="length of each (default %(default)s)")
    chosen = options.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    show(measure(chosen.recordings, chosen.seconds, chosen.repeats), chosen.save)


if __name__ == "__main__":
    main()
