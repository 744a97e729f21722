"""The end of a sweep: its tables, pictures and comparison, its best model in the registry.

Everything here can be done again: a sweep that was interrupted while concluding concludes on its next start.
"""

from __future__ import annotations

import io
import json
import logging
import tempfile
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from data import storage
from data.feeding.streamed_split import open_feed
from data.labels import Events
from data.patience import handed_on
from data.registry.plugins import options_for
from data.remembered import ANEW, read_back, remembered
from data.stores.chunks import Store, read_shard
from data.stores.rows import row_events
from infra.comparison.compare import compare
from infra.comparison.report import FOLDER as COMPARISON
from infra.comparison.report import report_files
from infra.comparison.trials import LoadedSweep
from infra.models.challenge import challenge, why_unfit
from infra.models.predict import plot_prediction
from infra.models.register import CHALLENGER, ModelVersion, option_of_model, register_best
from infra.record.folder import SweepStore
from infra.record.trials import TrialRecord, best_trial
from infra.search.objectives import SELD
from infra.sweep.data import SharedData
from infra.sweep.outcome import SweepOutcome
from infra.sweep.report import csv_table, front_lines, front_of, markdown_table, plot_sweep, rows_of_table
from infra.tracking.asking import ask_mlflow
from trainables.config.tree import from_dict
from trainables.evaluation.evaluate import evaluate
from trainables.networks.model import SeldModel
from trainables.scores.flat import flat_scores
from trainables.scores.metrics import SCORE_NAMES, SELD_OF_SILENCE
from trainables.training.checkpoint import EXAMPLE_NAME, TrialStore
from trainables.training.reports import OBJECTIVE

logger = logging.getLogger(f"seldtune.{__name__}")


@dataclass(frozen=True, kw_only=True)
class Conclusion:
    """What a finished sweep found."""

    rows: list[dict[str, Any]]
    """The comparison (`infra.sweep.report.COLUMNS`), best first."""
    best: TrialRecord | None
    front: list[dict[str, float]]
    """Of a sweep with a second objective: the complete trials that none beats in all, each with its objectives."""
    untrained: dict[str, float]
    """Scores of the best trial's model before its first step."""
    version: ModelVersion | None
    withheld: str | None
    """Why there is no version of the best trial, or why it is not challenger; `None` where it is."""
    name: str
    seconds: float
    """Wall-clock time of the search, over all its starts."""
    used_up: str | None
    """The limit of the budget that ended it before all trials were done, in words."""
    enough: str | None
    """Why fewer trials were enough."""
    failed: dict[int, str]
    """Why the trials failed that did, by number."""
    url: str
    """The sweep's page in MLflow."""
    plugins: tuple[str, ...] = ()
    """Names of those that it was run with."""

    def as_json(self) -> dict[str, Any]:
        best = self.best
        return {
            "sweep": self.name,
            "seconds": round(self.seconds, 1),
            "used_up": self.used_up,
            "enough": self.enough,
            "failed": {str(number): reason for number, reason in self.failed.items()},
            "mlflow": self.url,
            "trials": self.rows,
            "best": None if best is None else {"trial": best.number, "config": best.config, "validation": best.best},
            **({"front": self.front} if self.front else {}),
            "untrained": self.untrained,
            "model": None if self.version is None else self.version.uri,
            **({"withheld": self.withheld} if self.withheld else {}),
        }

    def lines(self) -> list[str]:
        """What stands under the table."""
        lines = []
        if self.best is not None and self.best.best is not None:
            score = self.best.best
            lines += [
                f"best     trial {self.best.number}, epoch {int(score['epoch'])}: "
                + ", ".join(f"{name} {value}" for name, value in self.best.params.items()),
                *(f"{average:<8} " + _scores_text(score, average) for average in ("present", "macro", "micro")),
            ]
            # An untrained model may be far worse than one that says nothing; to beat that is no news.
            if self.untrained and self.untrained[OBJECTIVE] <= SELD_OF_SILENCE:
                gain = self.untrained[OBJECTIVE] - score[OBJECTIVE]
                change = f"{abs(gain):.3f} {'better' if gain >= 0 else 'worse'} now"
                lines.append(f"before   SELD {self.untrained[OBJECTIVE]:.3f} untrained: {change}")
            if score[OBJECTIVE] >= SELD_OF_SILENCE:
                lines.append(
                    f"note     a model that says nothing has SELD {SELD_OF_SILENCE:.3f}, and this one is no better: "
                    "train for longer before its finals"
                )
        lines += front_lines(self.front)
        lines.append(f"MLflow   {self.url}")
        if self.version is not None:
            place = f"not {CHALLENGER}: {self.withheld}" if self.withheld else f"{self.version.name}@{CHALLENGER}"
            lines += [
                f"model    {self.version.uri} is {place}",
                f"next     seldtune finals {self.name}{option_of_model(self.version.name)}{options_for(self.plugins)}",
            ]
        elif self.withheld:
            lines.append(f"model    none is registered: {self.withheld}")
        lines += [f"failed   trial {number}: {reason}" for number, reason in self.failed.items()]
        lines.append(f"time     {self.seconds:.0f} s of search")
        if self.used_up:
            lines.append(f"budget   {self.used_up} are spent: the same command with more goes on from here")
        elif self.enough:
            lines.append(f"enough   {self.enough}")
        return lines


def _scores_text(score: dict[str, float], average: str) -> str:
    values = {name: score[f"{average}/{name}"] for name in SCORE_NAMES}
    return "  ".join(f"{n} {v:.1f} deg" if n == "LE" else f"{n} {v:.3f}" for n, v in values.items())


def conclude(outcome: SweepOutcome, model_name: str) -> Conclusion:
    """Table, plot and register; within `run_sweep`, whose runs are then ended."""
    best, settings = best_trial(outcome.records), outcome.sweep.settings() or {}
    rows = rows_of_table(outcome.records)
    untrained: dict[str, float] = {}
    version = withheld = None
    if best is not None:
        untrained = _untrained(best, outcome.shared, outcome.sweep)
        trial_store = outcome.sweep.trial_store(best.number)
    tracker = outcome.tracker
    tracker.require_written()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "trials.md").write_text(markdown_table(rows))
        (folder / "trials.csv").write_text(csv_table(rows))
        (folder / "manifest.json").write_text(outcome.store.manifest.to_json())
        plot_sweep(outcome.records, folder / "trials.png", f"sweep {outcome.name}")
        for path in sorted(folder.iterdir()):
            tracker.log_file(path)
        if best is not None:
            picture = folder / "validation.png"
            _plot_example(best, trial_store, outcome.store, picture)
            tracker.log_file(picture)
            tracker.log_file(picture, number=best.number)
            for path in _write_comparison(outcome, folder / COMPARISON):
                tracker.log_file(path, folder=COMPARISON)
            withheld = why_unfit(best)
            if withheld is None:
                run_id = tracker.run_id(best.number)
                version = ask_mlflow(partial(register_best, model_name, best, trial_store, run_id, outcome.name))
                withheld = ask_mlflow(partial(challenge, version))
    if best is not None and best.best is not None:
        metrics = {f"best/{key}": value for key, value in best.best.items() if "/" in key}
        tags = {
            "mlflow.note.content": f"{markdown_table(rows)}\nScores: validation, mean over the classes present.",
            "best.trial": str(best.number),
            "best.fusion": best.config["fusion"]["name"],
            **({} if version is None else {"best.model": version.uri}),
        }
        tracker.log_sweep({}, {**metrics, **{f"untrained/{k}": v for k, v in untrained.items()}}, tags)
    return Conclusion(
        rows=rows,
        best=best,
        front=front_of(outcome.records, (SELD, *settings.get("against", ()))),
        untrained=untrained,
        version=version,
        withheld=withheld,
        name=outcome.name,
        seconds=outcome.seconds,
        used_up=outcome.used_up,
        enough=outcome.enough,
        failed={record.number: record.reason for record in outcome.records if record.reason},
        url=tracker.url,
        plugins=tuple(settings.get("plugins", ())),
    )


def _write_comparison(outcome: SweepOutcome, folder: Path) -> list[Path]:
    """What `seldtune compare` says of the sweep, in the same files."""
    sweep = LoadedSweep(name=outcome.name, settings=outcome.sweep.settings() or {}, records=outcome.records)
    folder.mkdir()
    files = report_files(compare([sweep]))
    for name, content in files.items():
        (folder / name).write_text(content)
    return [folder / name for name in files]


def _untrained(best: TrialRecord, shared: SharedData | None, sweep: SweepStore) -> dict[str, float]:
    """Validation scores of the trial's model as it was initialised; measured once, then read back."""
    uri = f"{sweep.uri}/untrained/{best.number:05d}.json"
    if shared is None:
        with read_back(uri, ANEW):
            return json.loads(storage.read_bytes(uri)) if storage.exists(uri) else {}
    facts = (shared.feature_mean, shared.feature_std, shared.splits["val"])
    return remembered(uri, lambda: ray.get(ray.remote(handed_on(_score_untrained)).remote(best.config, *facts)))


def _score_untrained(
    config_tree: dict[str, Any], mean: np.ndarray, std: np.ndarray, validation: Any
) -> dict[str, float]:
    config = from_dict(config_tree)
    torch.manual_seed(config.training.seed)
    model = SeldModel(config, torch.as_tensor(mean), torch.as_tensor(std))
    with closing(open_feed(validation).recordings(config.columns)) as rows:
        evaluation = evaluate(model, rows, [config.inference.threshold], config.training.batch_size)
    return flat_scores(evaluation.counts[0], config.classes)


def _plot_example(best: TrialRecord, trial_store: TrialStore, store: Store, path: Path) -> None:
    """What the best model predicted for one validation recording, against its labels."""
    assert best.best is not None
    content = storage.read_bytes(f"{trial_store.best(int(best.best['epoch']))}/{EXAMPLE_NAME}")
    example = np.load(io.BytesIO(content))
    recording, start = str(example["recording"]), int(example["start_frame"])
    reference = _events_of(store, recording, start)
    config = from_dict(best.config)
    detections = config.output.decode(example["output"], config.inference.threshold)
    title = f"validation recording {recording}, trial {best.number} ({best.config['fusion']['name']})"
    plot_prediction(detections, reference, len(example["output"]), path, title, config.classes)


def _events_of(store: Store, recording: str, start_label: int) -> Events:
    for shard in store.split("val").shards:
        for row in read_shard(store, shard, ["recording", "start_frame", "events"]):
            if (row["recording"], row["start_frame"]) == (recording, start_label):
                return row_events(row)
    raise LookupError(f"{recording} from frame {start_label} is not in the validation split of {store.root}")
