"""A registered model on a recording: DCASE csv, and a picture of where it hears what."""

from __future__ import annotations

import logging
import math
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import torch
from mlflow.exceptions import MlflowException
from mlflow.models.model import ModelInfo
from numpy.typing import NDArray

from data.classes import ClassList
from data.errors import UserError
from data.files.audio import Ambisonics, read_foa_wav
from data.files.boxes import BOX_FIELDS, MAX_BOXES
from data.files.class_map import ClassMap
from data.files.dcase_csv import read_events_csv, write_events_csv
from data.labels import Events
from data.timing import LABEL_HOP_S, RATE_HZ, SAMPLES_PER_LABEL
from infra.models.own_weights import MODEL_URI
from infra.models.packing import LEVEL
from infra.models.register import find_version
from trainables import pyfunc_loader
from trainables.config import InputConfig, TrialConfig, VisualEncoder
from trainables.config.tree import from_dict
from trainables.inputs.box_source import BoxSource, boxes_at
from trainables.inputs.features import FeatureExtractor
from trainables.scores.detections import Detections
from trainables.scores.matching import median_axis_errors_deg
from trainables.scores.metrics import SCORE_NAMES, score_values, scores, seld_counts

logger = logging.getLogger(f"seldtune.{__name__}")

FAR_LEVEL_DB = 10.0
"""A recording that is louder or softer by more than that is said to be far from what a model was trained on."""
FULL_SCALE = 32_767 / 32_768
MOST_CLIPPED = 0.001
_LEGEND_ROWS = 16
"""Share of samples at full scale from which on a recording is said to be clipped."""
_TRUTH = "a DCASE csv with rows of frame,class,source,azimuth,elevation[,distance]"


def predict_files(
    model_uri: str,
    wav: Path,
    video: Path | None = None,
    truth: Path | None = None,
    out: Path | None = None,
    resample: bool = False,
    boxes: Path | None = None,
    ambisonics: Ambisonics = "ambix",
    class_map: ClassMap | None = None,
) -> dict[str, Any]:
    """Predict one recording and write `<name>.csv` and `<name>.png` into `out` (the recording's folder if nothing).

    Args:
        boxes: csv of object boxes (`data.files.boxes.read_boxes_csv`), for a model that reads them.
        class_map: what the truth calls its classes; None: it has the numbers of the model's list.

    Returns what was written and found, ready for JSON.

    Raises:
        UserError: no such model, or a file that is not what it should be; nothing is written then.
    """
    audio = read_foa_wav(wav, resample, ambisonics)
    if audio.shape[1] < SAMPLES_PER_LABEL:
        raise UserError(f"{wav} holds {audio.shape[1]} samples: a model answers for every {SAMPLES_PER_LABEL} (0.1 s)")
    for odd in _odd(wav.name, audio):
        logger.warning("%s", odd)
    model = load_registered(model_uri)
    config = model.config
    reference = None
    if truth is not None:
        numbered = class_map or ClassMap(classes=config.classes)
        if numbered.classes != config.classes:
            raise UserError(f"--classes lists {numbered.classes}, and {model_uri} has others: {config.classes}")
        reference = _within(_read_truth(truth, numbered), audio.shape[1] // SAMPLES_PER_LABEL, truth)
    seen: NDArray[Any] | None = None
    reads = config.visual.reads
    if reads is not None:
        seen = _pictures(config, video)
        if reads == "boxes":
            seen = _boxes(config.visual, config.inputs, seen, boxes, audio.shape[1])
        if not len(seen):
            logger.warning("%s reads %s, but was given none; it goes by sound alone", model_uri, reads)
    for path, needed in ((video, reads is not None), (boxes, reads == "boxes")):
        if path is not None and not needed:
            logger.warning("%s does not look at %s", model_uri, path)
    above_db = model.level_above_training_db(audio)
    if remark := model.far_level(wav.name, above_db):
        logger.warning("%s", remark)
    output = model.output(audio, seen)
    detections = model.decode(output)

    folder = out or wav.parent
    folder.mkdir(parents=True, exist_ok=True)
    csv_path, picture = folder / f"{wav.stem}.prediction.csv", folder / f"{wav.stem}.prediction.png"
    write_events_csv(csv_path, detections.events())
    plot_prediction(detections, reference, len(output), picture, f"{wav.name} by {model_uri}", config.classes)
    scored: dict[str, float] = {}
    axes: dict[str, float | None] = {}
    if reference is not None:
        axes = median_axis_errors_deg([(reference, detections)])
        counts = seld_counts(reference, detections, num_classes=len(config.classes))
        values = score_values(scores(counts, "micro"))
        scored = {name: round(value, 4) for name, value in zip(SCORE_NAMES, values, strict=True)}
    found = sorted({config.classes.short_names[c] for c in detections.class_index.tolist()})
    return {
        "model": model_uri,
        "seconds": round(len(output) * LABEL_HOP_S, 1),
        "rows": len(detections),
        "classes": found,
        "csv": str(csv_path),
        "picture": str(picture),
        "level_above_training_db": None if above_db is None else round(above_db, 1),
        "micro": scored,
        "axes": axes,
    }


def _odd(what: str, audio: NDArray[np.float32]) -> Iterator[str]:
    """What is to be said of sound that a model answers to all the same."""
    if not audio.any():
        yield f"{what} is silent: what is heard in it comes from nothing"
    clipped = float((np.abs(audio) >= FULL_SCALE).mean())
    if clipped > MOST_CLIPPED:
        yield f"{what}: {100 * clipped:.1f} % of the samples are at full scale or beyond: clipped, or badly scaled"


def _pictures(config: TrialConfig, video: Path | None) -> NDArray[Any]:
    """The video's pictures (V, H, W, 3) as the model sees them; V = 0 without a video."""
    size = config.inputs
    if video is None:
        return np.zeros((0, size.frame_height, size.frame_width, 3), np.uint8)
    from data.files.video import read_video  # PyAV: nothing else here needs it

    return read_video(video, size.frame_width, size.frame_height, size.frame_rate_hz)


def _boxes(
    visual: VisualEncoder, size: InputConfig, pictures: NDArray[Any], csv: Path | None, samples: int
) -> NDArray[Any]:
    """Boxes (V, 6, 5) from a csv, or by the model's detector from its pictures; V = 0 without either."""
    if csv is not None:
        return boxes_at(str(csv), 0, math.ceil(samples / RATE_HZ * size.frame_rate_hz), size.frame_rate_hz)
    if visual.detector is None:
        return _no_boxes()
    return BoxSource(None, visual.detector, size.frame_rate_hz)("", 0, len(pictures), pictures)


def _no_boxes() -> NDArray[Any]:
    return np.zeros((0, MAX_BOXES, BOX_FIELDS), np.float32)


@dataclass(frozen=True, kw_only=True)
class RegisteredModel:
    """A model of the registry, loaded."""

    uri: str
    pyfunc: Any
    """As MLflow loads it: arrays with a batch axis in, an array out."""
    config: TrialConfig
    thresholds: NDArray[np.float64]
    """(C,): above which a class counts as heard."""
    level_db: float | None = None
    """Mean log-mel of W of what it was trained on; None: it does not mind how loud a recording is, or is not known."""
    folder: tempfile.TemporaryDirectory[str] | None = None
    """Where its files and its code are, as long as it is in use."""

    def level_above_training_db(self, audio: NDArray[np.float32]) -> float | None:
        """By how many dB audio (4, samples) is louder than what the model was trained on; None: it does not matter."""
        if self.level_db is None:
            return None
        inputs = self.config.inputs
        features = FeatureExtractor(inputs.n_fft, inputs.hop, inputs.n_mels, RATE_HZ)(torch.from_numpy(audio))
        return float(features[0].mean()) - self.level_db

    def far_level(self, what: str, above_db: float | None) -> str | None:
        """What is to be said where that is far from what it was trained on."""
        if above_db is None or abs(above_db) <= FAR_LEVEL_DB:
            return None
        side = "louder" if above_db > 0 else "softer"
        return (
            f"{what} is {abs(above_db):.0f} dB {side} than what {self.uri} was trained on, which may hear it wrongly; "
            "one that is trained with inputs.level=normalised does not mind"
        )

    def predict(self, audio: NDArray[np.float32], seen: NDArray[Any] | None = None) -> Detections:
        """What the model hears in a recording, and where; its `events()` are what a DCASE csv holds.

        Args:
            audio: (4, samples) W Y Z X at 24 kHz, in [-1, 1], of any length.
            seen: what the model sees (`config.visual.reads`) at its size and rate from time 0: frames (V, H, W, 3) or
                boxes (V, 6, 5); None where there is no video, or it sees nothing.
        """
        if seen is None and self.config.visual.reads is not None:
            seen = _no_boxes() if self.config.visual.reads == "boxes" else _pictures(self.config, None)
        return self.decode(self.output(audio, seen))

    def output(self, audio: NDArray[np.float32], seen: NDArray[Any] | None) -> NDArray[np.float32]:
        """The network's output (T, output width) for the T label frames of what `predict` takes."""
        inputs: dict[str, NDArray[Any]] = {"audio": audio[None].astype(np.float32)}
        if seen is not None and self.config.visual.reads is not None:
            inputs[self.config.visual.reads] = seen[None]
        return self.pyfunc.predict(inputs)[0]

    def decode(self, output: NDArray[np.float32]) -> Detections:
        """What an output (T, output width) says is heard."""
        return self.config.output.decode(output, self.thresholds)


def load_registered(model_uri: str) -> RegisteredModel:
    """A model of ours from the registry.

    Nothing of another model is loaded: MLflow would run whatever code it brings.

    Raises:
        UserError: it is not there, or is no model of ours.
    """
    named = MODEL_URI.fullmatch(model_uri)
    if named is None:
        raise UserError(f"{model_uri!r}: write models:/<name>@<alias> or models:/<name>/<version>")
    find_version(*named.groups())
    # MLflow would leave what it fetches in a folder of its own.
    folder = tempfile.TemporaryDirectory(prefix="seldtune-model-")
    try:
        mlflow.artifacts.download_artifacts(artifact_uri=f"{model_uri}/MLmodel", dst_path=folder.name)
        info = mlflow.models.get_model_info(folder.name)
        if fault := _foreign(info):
            raise UserError(f"{model_uri} is no model that a sweep registered: {fault}")
        mlflow.artifacts.download_artifacts(artifact_uri=model_uri, dst_path=folder.name)
        model = mlflow.pyfunc.load_model(folder.name)
    except (MlflowException, OSError) as error:
        raise UserError(
            f"{model_uri} cannot be loaded ({str(error).splitlines()[0]}); write models:/<name>@<alias> or "
            "models:/<name>/<version>, and see the registry in the MLflow UI"
        ) from error
    config = from_dict(info.metadata["config"])
    thresholds = info.metadata.get("thresholds") or [config.inference.threshold] * len(config.classes)
    return RegisteredModel(
        uri=model_uri,
        pyfunc=model,
        folder=folder,
        config=config,
        thresholds=np.array(thresholds),
        level_db=info.metadata.get(LEVEL),
    )


def _foreign(info: ModelInfo) -> str | None:
    """What shows that a sweep did not make the model."""
    if "config" not in (info.metadata or {}):
        return "it carries no config"
    loader = info.flavors.get("python_function", {}).get("loader_module")
    return None if loader == pyfunc_loader.__name__ else f"{loader} loads it, not {pyfunc_loader.__name__}"


def _read_truth(path: Path, classes: ClassMap) -> Events:
    try:
        return read_events_csv(path, classes=classes)
    except UserError as error:
        raise UserError(f"{error}; the truth has to be {_TRUTH}") from error


def _within(reference: Events, num_labels: int, path: Path) -> Events:
    """The labels that lie in the recording, as a store keeps them; how many do not is said."""
    inside = reference.frame < num_labels
    if not inside.all():
        logger.warning("%s: %d rows past the end of the sound are left out", path, int((~inside).sum()))
    return reference.select(inside)


def plot_prediction(
    detections: Detections, reference: Events | None, num_labels: int, path: Path, title: str, classes: ClassList
) -> None:
    """Azimuth and elevation over time, a colour for each class: predicted as dots, the truth as wide pale strokes."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    predicted = detections.events()
    figure = Figure(figsize=(12, 6.5), layout="constrained")
    axes = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    palette = [colormaps["tab20"](i % 20) for i in range(len(classes))]
    tables: list[tuple[Events, dict[str, Any]]] = [(predicted, {"s": 7, "zorder": 3})]
    if reference is not None:
        tables.insert(0, (reference, {"s": 60, "alpha": 0.25, "marker": "s", "linewidths": 0}))
    for table, style in tables:
        inside = table.select(table.frame < num_labels)
        for class_index in np.unique(inside.class_index).tolist():
            rows = inside.select(inside.class_index == class_index)
            time_s = (rows.frame + 0.5) * LABEL_HOP_S
            for panel, angle in zip(axes, (rows.azimuth_deg, rows.elevation_deg), strict=True):
                panel.scatter(time_s, angle, color=palette[class_index], **style)
    shown = set(predicted.class_index.tolist()) | set(reference.class_index.tolist() if reference else ())
    for class_index in sorted(shown):
        axes[0].scatter([], [], color=palette[class_index], label=classes.short_names[class_index], s=25)
    if shown:
        columns = -(-len(shown) // _LEGEND_ROWS)
        small = {} if columns == 1 else {"fontsize": 7, "columnspacing": 0.8, "handletextpad": 0.1}
        axes[0].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, ncols=columns, **small)
    # 180 degrees is behind; azimuth grows to the left, so left is up.
    axes[0].set(ylabel="azimuth (deg, left is +90)", ylim=(-185, 185), yticks=range(-180, 181, 60))
    axes[1].set(ylabel="elevation (deg)", xlabel="time (s)", ylim=(-95, 95), yticks=range(-90, 91, 45))
    axes[1].set_xlim(0, num_labels * LABEL_HOP_S)
    for panel in axes:
        panel.grid(alpha=0.25)
    figure.suptitle(title + (" (dots: predicted, pale: truth)" if reference is not None else ""))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # names may be of any script
        figure.savefig(path, dpi=110)
