"""Scoring a folder of predictions against a folder of references, whoever made them: `seldtune score`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from data.errors import UserError
from data.files.class_map import DEFAULT_CLASSES, ClassMap, read_class_map
from data.files.csv_layouts import Form
from data.files.label_folder import LabelFolder, Unit, find_recordings, read_folder
from data.names import some_of
from trainables.scores import metrics, metrics2024
from trainables.scores.matching import FloatArray, axis_errors_text, median_axis_errors_deg
from trainables.scores.metrics import FEW_RECORDINGS, Average, Intervals, jackknife

logger = logging.getLogger(f"seldtune.{__name__}")


@dataclass(frozen=True)
class Edition:
    """How a year's challenge scores."""

    names: tuple[str, ...]
    largest: FloatArray
    count: Callable[..., Any]
    table: Callable[[Any, Average], FloatArray]


EDITIONS = {
    2023: Edition(metrics.SCORE_NAMES, metrics.LARGEST, metrics.seld_counts, metrics.score_table),
    2024: Edition(
        metrics2024.SCORE_NAMES, metrics2024.LARGEST, metrics2024.seld_counts_2024, metrics2024.score_table_2024
    ),
}

# Scores in parts of 1 that people read in percent, and those in degrees; the rest are plain numbers.
_PERCENT, _DEGREES = ("F", "LR", "F20"), ("LE", "DOAE")
_NAMED = 3

IntervalKind = Literal["in-range", "jackknife"]
"""Such as hold the value and leave no score's range (`Intervals.in_range`), or as the challenge publishes them."""


def score_folders(
    reference: str | Path,
    prediction: str | Path,
    average: Average = "macro",
    edition: int = 2023,
    form: Form = "auto",
    distance_unit: Unit = "auto",
    recordings: str = "*",
    interval: IntervalKind = "in-range",
    classes: str | Path | None = None,
) -> dict[str, Any]:
    """Score csv files with the metrics of a DCASE challenge, with 95 % intervals over the recordings.

    Both folders are searched with all below them; a recording's files have one name. Rows are taken as they are, as
    the challenge's evaluator does: also those that are there twice.

    Args:
        average: `macro` (the challenge's), `micro`, or `present` (over the classes of the reference).
        edition: 2023 (segments of 1 s) or 2024 (frames, with distance).
        form: of the predictions; `auto`: as their values show. References that could be both are polar.
        distance_unit: of the predictions; `auto`: cm where the median is over 20.
        recordings: only those whose name matches, such as `fold4_*`.
        interval: of which kind; see `IntervalKind`.
        classes: YAML file that lists the classes and what the references call them, as when they are taken in, or
            the name of a data set (`data.files.class_map`); None: STARSS23's. Predictions have the numbers of the list
            itself, as models write them.

    Returns:
        A document ready for JSON: `edition`, `average`, `interval`, `recordings`, `reference` and `prediction` (folder,
        form, columns, unit of distance), `scores` {name: {value, low, high}}, `axes` (median error of azimuth and
        elevation of matched events), and `per_class`, a list of the same with the class's `index`, `name` and whether
        it is `present`. Nothing (None) stands where there is no number, and for the bounds of a single recording. F20,
        F and LR are parts of 1, LE and DOAE degrees.

    Raises:
        UserError: no files, recordings without a prediction, rows that are no events, a missing distance (2024), or
            an argument that is not known.
    """
    for what, given, known in (
        ("average", average, get_args(Average)),
        ("edition", edition, EDITIONS),
        ("form", form, get_args(Form)),
        ("distance unit", distance_unit, get_args(Unit)),
        ("interval", interval, get_args(IntervalKind)),
    ):
        if given not in known:
            raise UserError(f"{what} {given!r} is not known; choose one of {', '.join(map(str, known))}")
    reference_folder, prediction_folder = Path(reference), Path(prediction)
    reference_files = find_recordings(reference_folder, recordings)
    prediction_files = find_recordings(prediction_folder, recordings)
    missing = [name for name in reference_files if name not in prediction_files]
    if missing:
        raise UserError(
            f"{prediction_folder} has no prediction for {len(missing)} of {len(reference_files)} recordings: "
            f"{some_of(missing, _NAMED)}; a recording in which nothing is heard needs an empty file, and recordings to "
            "leave out are left out by name, e.g. fold4_*"
        )
    extra = [name for name in prediction_files if name not in reference_files]
    if extra:
        logger.warning("%d predictions have no reference and are not scored: %s", len(extra), some_of(extra, _NAMED))
    class_map = DEFAULT_CLASSES if classes is None else read_class_map(classes)
    true = read_folder(reference_files, fallback="polar", classes=class_map)
    of_models = ClassMap(classes=class_map.classes)
    predicted_files = {name: prediction_files[name] for name in reference_files}
    predicted = read_folder(predicted_files, form, distance_unit, classes=of_models)

    scoring = EDITIONS[edition]
    num_classes = len(class_map.classes)
    counts = [_counted(scoring, name, true, predicted, num_classes) for name in reference_files]
    if len(counts) > 1:
        intervals = jackknife(counts, lambda total: scoring.table(total, average))
        if interval == "in-range":
            intervals = intervals.in_range(scoring.largest[:, None])
    else:
        value = scoring.table(counts[0], average)
        intervals = Intervals(value, *np.full((2, *value.shape), np.nan))
    present = sum(count.reference for count in counts) > 0
    table = np.stack((intervals.value, intervals.low, intervals.high), axis=-1)
    located = ((true.recordings[name], predicted.recordings[name]) for name in reference_files)
    per_class = [
        {"index": index, "name": name, "present": bool(present[index])}
        # The error rate is one over all classes.
        | {score: row for score, row in _entries(scoring.names, table[:, 1 + index]).items() if score != "ER"}
        for index, name in enumerate(class_map.classes.names)
    ]
    return {
        "edition": edition,
        "average": average,
        "interval": interval,
        "recordings": len(reference_files),
        "reference": _described(reference_folder, true),
        "prediction": _described(prediction_folder, predicted),
        **({} if classes is None else {"classes": str(classes)}),
        "scores": _entries(scoring.names, table[:, 0]),
        "axes": median_axis_errors_deg(located),
        "per_class": per_class,
    }


def score_text(result: dict[str, Any]) -> str:
    """What `score_folders` found, for a terminal of 100 columns."""
    lines = [f"DCASE {result['edition']} Task 3, {result['average']} average, {result['recordings']} recordings"]
    for side in ("reference", "prediction"):
        about = result[side]
        columns = " and ".join(map(str, about["columns"]))
        form = f"{about['form']}, {columns} columns" if about["form"] else "no rows at all"
        unit = f", distance in {about['distance_unit']}" if about["distance_unit"] else ""
        lines.append(f"{side:<10} {about['folder']} ({form}{unit})")
    if "classes" in result:
        lines.append(f"classes    {result['classes']}, for the reference; the prediction has their places in the list")
    lines += ["", f"{'score':<6}{'value':>10}   95 % interval"]
    for name, entry in result["scores"].items():
        low, high = _shown(name, entry["low"]), _shown(name, entry["high"])
        interval = "-" if entry["low"] is None else f"[{low}, {high}]"
        lines.append(f"{name:<6}{_shown(name, entry['value']):>10}   {interval}")
    if result["recordings"] == 1:
        lines.append("One recording alone has no interval.")
    elif result["recordings"] < FEW_RECORDINGS:
        lines.append(f"Too few recordings: intervals of fewer than {FEW_RECORDINGS} say little.")
    lines.append(axis_errors_text(result["axes"]))
    names = [name for name in result["scores"] if name in result["per_class"][0]]
    lines += ["", f"{'class':<32}" + "".join(f"{name:>10}" for name in names)]
    for row in result["per_class"]:
        values = "".join(f"{_shown(name, row[name]['value']):>10}" for name in names)
        lines.append(f"{row['name']:<32}" + (values if row["present"] else f"{'absent':>10}"))
    absent = sum(not row["present"] for row in result["per_class"])
    if absent and result["average"] == "macro":
        as_what = "F 0 %, LE 180 deg and LR 0 %" if result["edition"] == 2023 else "F20 0 %"
        lines += ["", f"The macro average counts the {absent} absent classes as the challenge does: {as_what}."]
    return "\n".join(lines)


def _counted(scoring: Edition, name: str, true: LabelFolder, predicted: LabelFolder, num_classes: int) -> Any:
    try:
        return scoring.count(true.recordings[name], predicted.recordings[name], num_classes=num_classes)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error


def _entries(names: Sequence[str], table: FloatArray) -> dict[str, dict[str, float | None]]:
    """Rows of value, low and high as a document, in which what is no number is None."""
    return {
        name: {key: float(x) if np.isfinite(x) else None for key, x in zip(("value", "low", "high"), row, strict=True)}
        for name, row in zip(names, table, strict=True)
    }


def _described(folder: Path, read: LabelFolder) -> dict[str, Any]:
    return {"folder": str(folder), "form": read.form, "columns": read.columns, "distance_unit": read.distance_unit}


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    if name in _PERCENT:
        return f"{100 * value:.1f} %"
    return f"{value:.1f} deg" if name in _DEGREES else f"{value:.3f}"
