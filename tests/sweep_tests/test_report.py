from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.classes import STARSS23
from data.errors import UserError
from data.files.class_map import ClassMap
from data.labels import Events
from infra.models.predict import RegisteredModel, _read_truth, _within, plot_prediction
from infra.models.register import ModelVersion
from infra.record.trials import COMPLETE, FAILED, PRUNED, TrialRecord
from infra.sweep.conclude import Conclusion
from infra.sweep.report import COLUMNS, csv_table, front_of, markdown_table, plot_sweep, rows_of_table
from search_spaces.quickstart import suggest
from trainables.config import TrialConfig
from trainables.config.tree import to_dict
from trainables.networks.model import count_parameters
from trainables.scores.detections import Detections
from trainables.training.reports import OBJECTIVE, REPORT_KEYS


class Point:
    """A point of the space, as a trial."""

    def __init__(self, **values: object) -> None:
        self.values = values

    def suggest_categorical(self, name: str, choices: object) -> object:
        return self.values[name]

    suggest_int = suggest_float = lambda self, name, low, high, log=False: self.values[name]


def record(number: int, fusion: str, state: str, seld: list[float]) -> TrialRecord:
    config = suggest(Point(fusion=fusion, depth=2, schedule="one_cycle", lr=3e-3))
    reports = [{**dict.fromkeys(REPORT_KEYS, 0.5), "epoch": i + 1, "present/SELD": v} for i, v in enumerate(seld)]
    return TrialRecord(number, {}, {}, to_dict(config), state=state, reports=reports)


RECORDS = [
    record(0, "audio_only", PRUNED, [0.9, 0.8]),
    record(1, "gru", COMPLETE, [0.9, 0.3, 0.4]),
    record(2, "cmaf", FAILED, []),
]


def test_rows_are_best_first_and_show_each_trials_best_epoch() -> None:
    rows = rows_of_table(RECORDS)
    assert [row["trial"] for row in rows] == [1, 0, 2]
    assert rows[0]["SELD"] == 0.3
    assert rows[0]["epochs"] == 3
    assert rows[0]["seconds"] == 1.5
    assert rows[0]["depth"] == 2
    assert rows[2]["SELD"] is None
    expected = count_parameters(suggest(Point(fusion="gru", depth=2, schedule="one_cycle", lr=3e-3)))
    assert rows[0]["parameters"] == expected


def test_tables_hold_every_column_and_trial() -> None:
    rows = rows_of_table(RECORDS)
    lines = markdown_table(rows).splitlines()
    assert len(lines) == 2 + len(RECORDS)
    assert all(line.count("|") == len(COLUMNS) + 1 for line in lines)
    assert csv_table(rows).splitlines()[0] == ",".join(COLUMNS)


def test_plots_are_written_even_of_failed_trials_and_silence(tmp_path: Path) -> None:
    plot_sweep(RECORDS, tmp_path / "a.png", "a sweep")
    plot_sweep(RECORDS[2:], tmp_path / "b.png", "only failures")
    nothing = Detections(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 3)))
    plot_prediction(nothing, None, 100, tmp_path / "c.png", "silence", STARSS23)
    plot_prediction(nothing, Events.build([1], [2], [0], [90], [0]), 100, tmp_path / "d.png", "missed", STARSS23)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.iterdir())
    assert len(list(tmp_path.iterdir())) == 4


def test_the_front_of_two_objectives_is_told() -> None:
    records = [
        record(0, "audio_only", COMPLETE, [0.9, 0.8]),
        record(1, "gru", COMPLETE, [0.9, 0.3, 0.4]),
        record(2, "cmaf", COMPLETE, [0.9]),
        record(3, "gru", PRUNED, [0.1]),
    ]
    for number, parameters in enumerate((1000.0, 719_165.0, 800_000.0, 10.0)):
        records[number].measures["parameters"] = parameters
    front = front_of(records, ("seld", "parameters"))
    assert front == [
        {"trial": 1, "seld": 0.3, "parameters": 719_165.0},
        {"trial": 0, "seld": 0.8, "parameters": 1000.0},
    ]
    conclusion = Conclusion(
        withheld=None,
        rows=rows_of_table(records),
        best=records[1],
        front=front,
        untrained={},
        version=None,
        name="two",
        seconds=1.0,
        used_up=None,
        enough=None,
        failed={},
        url="http://127.0.0.1/",
    )
    lines = conclusion.lines()
    at = lines.index("front    trial 1: SELD 0.300, parameters 719,165")
    assert lines[at + 1] == "         trial 0: SELD 0.800, parameters 1,000"
    assert conclusion.as_json()["front"] == front
    version = ModelVersion(name="seld", version="1", run_id="r", tags={})
    registered = replace(conclusion, version=version, plugins=("my_parts.py", "a-package"))
    assert "next     seldtune finals two --plugin my_parts.py" in registered.lines()
    assert "next     seldtune finals two" in replace(registered, plugins=()).lines()
    silent = replace(conclusion, withheld="trial 1 finds no event", untrained={OBJECTIVE: 3.4})
    assert "model    none is registered: trial 1 finds no event" in silent.lines()
    assert not any(line.startswith(("before", "next")) for line in silent.lines())
    assert silent.as_json()["withheld"] == "trial 1 finds no event"
    told = replace(conclusion, untrained={OBJECTIVE: 0.99}).lines()
    assert "before   SELD 0.990 untrained: 0.690 better now" in told
    assert "before   SELD 0.100 untrained: 0.200 worse now" in replace(conclusion, untrained={OBJECTIVE: 0.1}).lines()
    assert not any(line.startswith("note") for line in told)
    assert conclusion.best is not None
    noisy = replace(conclusion.best, reports=[{**conclusion.best.reports[0], OBJECTIVE: 2.4}])
    assert any("no better: train for longer" in line for line in replace(conclusion, best=noisy).lines())
    one = replace(conclusion, front=front_of(records, ("seld",)))
    assert not any("front" in line for line in one.lines())
    assert "front" not in one.as_json()


def test_how_much_louder_a_recording_is_than_what_a_model_was_trained_on() -> None:
    audio = np.random.default_rng(0).normal(0, 0.05, (4, 48_000)).astype(np.float32)
    model = RegisteredModel(uri="x", pyfunc=None, config=TrialConfig(), thresholds=np.full(13, 0.5), level_db=-40.0)
    at_own, softer = (model.level_above_training_db(part) for part in (audio, audio / 10))
    assert at_own is not None
    assert softer == pytest.approx(at_own - 20.0, abs=0.01)
    assert replace(model, level_db=None).level_above_training_db(audio) is None


def test_a_truth_of_another_layout_is_told_the_layout(tmp_path: Path) -> None:
    marks = tmp_path / "marks.csv"
    marks.write_text("start,end,class,azimuth,elevation\n0.0,1.5,bell,20,0\n")
    wanted = r"rows of frame,class,source,azimuth,elevation\[,distance\]"
    with pytest.raises(UserError, match=rf"marks\.csv:2: expected numbers, got .*; the truth has to be .*{wanted}"):
        _read_truth(marks, ClassMap())


def test_truth_past_the_end_of_a_recording_is_left_out_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    truth = Events.build([0, 19, 20, 45], [1] * 4, [0] * 4, [10.0] * 4, [0.0] * 4)
    assert _within(truth, 20, tmp_path / "truth.csv").frame.tolist() == [0, 19]
    assert "truth.csv: 2 rows past the end of the sound are left out" in caplog.text
    caplog.clear()
    assert len(_within(truth, 46, tmp_path / "truth.csv")) == 4
    assert not caplog.text
