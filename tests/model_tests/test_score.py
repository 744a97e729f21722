"""Scoring folders of csv files in every form that DCASE's tools write."""

import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data.classes import STARSS23
from data.errors import UserError
from data.files.dcase_csv import read_table
from data.files.label_folder import find_recordings, read_folder
from data.geometry import unit_vector
from trainables.scores.folders import score_folders, score_text
from trainables.scores.metrics import SeldCounts, scores, seld_counts

# frame, class, source, azimuth, elevation, distance in cm
ROWS = [(f, c, 0, az + f, el, 150 + f) for f in range(25) for c, az, el in ((1, 30, 0), (8, -120, 35))]
SPREAD_DEG = 5


def write(path: Path, rows) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


def in_form(form: str, rows):
    """Rows of frame, class, source, azimuth, elevation, distance in cm as `form` has them."""
    out = []
    for frame, class_index, source, azimuth, elevation, distance_cm in rows:
        x, y, z = (0.8 * unit_vector(azimuth, elevation)).tolist()
        out.append(
            {
                "polar4": (frame, class_index, azimuth, elevation),
                "polar5": (frame, class_index, source, azimuth, elevation),
                "polar6 cm": (frame, class_index, source, azimuth, elevation, distance_cm),
                "polar6 m": (frame, class_index, source, azimuth, elevation, distance_cm / 100),
                "cartesian5": (frame, class_index, x, y, z),
                "cartesian6": (frame, class_index, source, x, y, z),
                "cartesian7": (frame, class_index, source, x, y, z, distance_cm / 100),
            }[form]
        )
    return out


@pytest.fixture
def folders(tmp_path):
    """A tree of references as STARSS23 has it, and a function that writes predictions.

    They are 5 degrees off and half as far again; of 9 events of class 8 in segments of 1 s, the last 2 are missed.
    """
    for number, split in enumerate(("dev-test-sony", "dev-test-tau", "dev-test-tau")):
        rows = [(f, c, s, az + 40 * number, el, d) for f, c, s, az, el, d in ROWS]
        write(tmp_path / "metadata_dev" / split / f"fold4_room{number}_mix001.csv", rows)

    def predict(form: str, name: str = "predicted") -> Path:
        for path in find_recordings(tmp_path / "metadata_dev").values():
            rows = read_table(path).values
            rows[:, 3] += SPREAD_DEG
            if "room2" in path.name:
                rows = rows[(rows[:, 1] == 1) | (rows[:, 0] < 10)]
            rows = [(*map(int, row[:5]), row[5] * 1.5) for row in rows.tolist()]
            write(tmp_path / name / path.name, in_form(form, rows))
        return tmp_path / name

    return tmp_path / "metadata_dev", predict


@pytest.mark.parametrize(
    ("form", "taken", "unit"),
    [
        ("polar4", "polar", None),
        ("polar5", "polar", None),
        ("polar6 cm", "polar", "cm"),
        ("polar6 m", "polar", "m"),
        ("cartesian5", "cartesian", None),
        ("cartesian6", "cartesian", None),
        ("cartesian7", "cartesian", "m"),
    ],
)
def test_every_form_scores_alike(folders, form, taken, unit):
    reference, predict = folders
    result = score_folders(reference, predict(form))
    assert result["reference"]["form"] == "polar"
    assert result["reference"]["distance_unit"] == "cm"
    assert (result["prediction"]["form"], result["prediction"]["distance_unit"]) == (taken, unit)
    assert result["recordings"] == 3
    assert result["per_class"][1]["LE"]["value"] == pytest.approx(SPREAD_DEG, abs=1e-6)
    assert result["per_class"][1]["F"]["value"] == pytest.approx(1.0)
    assert result["scores"]["F"]["value"] == pytest.approx((1 + 7 / 8) / 13)
    if unit:
        scored = score_folders(reference, predict(form), "present", edition=2024)["scores"]
        assert scored["RDE"]["value"] == pytest.approx(0.5)
        assert scored["DOAE"]["value"] == pytest.approx((5 + 4.095) / 2, abs=0.01)


@pytest.mark.parametrize("average", ["macro", "micro", "present"])
def test_scores_are_those_of_the_counts(folders, average):
    reference, predict = folders
    result = score_folders(reference, predict("cartesian7"), average)
    true = read_folder(find_recordings(reference)).recordings
    predicted = read_folder(find_recordings(predict("polar6 cm", "again"))).recordings
    total = sum((seld_counts(true[name], predicted[name]) for name in true), SeldCounts.zero())
    s = scores(total, average)
    expected = [s.error_rate, s.f_score, s.localisation_error_deg, s.localisation_recall, s.seld]
    assert list(result["scores"]) == ["ER", "F", "LE", "LR", "SELD"]
    assert [entry["value"] for entry in result["scores"].values()] == pytest.approx(expected, abs=1e-9)
    assert result["scores"]["ER"]["low"] < result["scores"]["ER"]["high"]


def test_the_document_is_json_and_names_all_classes(folders):
    reference, predict = folders
    result = score_folders(reference, predict("cartesian7"), edition=2024)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert [row["name"] for row in result["per_class"]] == list(STARSS23.names)
    assert [row["index"] for row in result["per_class"] if row["present"]] == [1, 8]
    assert result["per_class"][0]["DOAE"] == {"value": None, "low": None, "high": None}
    assert list(result["scores"]) == ["F20", "DOAE", "RDE", "SELD"]


def test_text_shows_scores_intervals_and_classes(folders):
    reference, predict = folders
    text = score_text(score_folders(reference, predict("cartesian6")))
    assert "DCASE 2023 Task 3, macro average, 3 recordings" in text
    assert "cartesian, 6 columns" in text
    lines = {line.split()[0]: line for line in text.splitlines() if line}
    assert "14.4 %" in lines["F"]
    assert re.search(r"\[\d+\.\d %, \d+\.\d %\]$", lines["F"])
    assert "153.0 deg" in lines["LE"]
    assert lines["Bell"].split() == ["Bell", "absent"]
    assert "counts the 11 absent classes" in text
    assert max(map(len, text.splitlines()[3:])) <= 100


def test_intervals_are_the_challenge_s_only_where_it_is_asked_for(folders):
    reference, predict = folders
    prediction = predict("polar5")
    ours = score_folders(reference, prediction, "micro")
    theirs = score_folders(reference, prediction, "micro", interval="jackknife")
    assert (ours["interval"], theirs["interval"]) == ("in-range", "jackknife")
    f, published = ours["scores"]["F"], theirs["scores"]["F"]
    assert f["value"] == published["value"]
    assert 0 <= f["low"] < f["value"] < f["high"] <= 1 < published["high"]
    assert "Too few recordings: intervals of fewer than 4 say little." in score_text(ours)


def test_one_recording_has_no_intervals(folders):
    reference, predict = folders
    result = score_folders(reference, predict("polar5"), recordings="*room1*")
    assert result["recordings"] == 1
    assert result["scores"]["F"]["value"] == pytest.approx(2 / 13)
    assert result["scores"]["F"]["low"] is result["scores"]["F"]["high"] is None
    assert "One recording alone has no interval." in score_text(result)


def test_empty_files_and_headers_are_fine(folders):
    reference, predict = folders
    predicted = predict("polar5")
    first, second, _ = sorted(predicted.iterdir())
    first.write_text("")
    second.write_text("frame,class,source,azimuth,elevation\n" + second.read_text())
    result = score_folders(reference, predicted)
    assert result["scores"]["LR"]["value"] == pytest.approx((6 / 9 + 4 / 9) / 13)
    for path in predicted.iterdir():
        path.write_text("")
    result = score_folders(reference, predicted)
    assert result["scores"]["LR"]["value"] == 0
    assert result["prediction"]["form"] is None
    assert "no rows at all" in score_text(result)


def test_our_own_predictions_are_found_by_recording(folders):
    reference, predict = folders
    predicted = predict("polar5")
    for path in list(predicted.iterdir()):
        path.rename(path.with_suffix(".prediction.csv"))
    (predicted / "._fold4_room0_mix001.csv").write_bytes(b"\x00\x05")
    assert score_folders(reference, predicted)["recordings"] == 3


def test_missing_predictions_are_named_and_extra_ones_ignored(folders, caplog):
    reference, predict = folders
    predicted = predict("polar5")
    with caplog.at_level(logging.WARNING):
        write(predicted / "fold4_room9_mix009.csv", [(0, 1, 0, 0, 0)])
        assert score_folders(reference, predicted)["recordings"] == 3
    assert "fold4_room9_mix009" in caplog.text
    for number in range(4):
        write(reference / "more" / f"a{number}.csv", ROWS)
    (predicted / "fold4_room2_mix001.csv").unlink()
    with pytest.raises(UserError, match="no prediction for 5 of 7 recordings: a0, a1, a2 and 2 more;"):
        score_folders(reference, predicted)
    with pytest.raises(UserError, match="1 of 3 recordings: fold4_room2_mix001;"):
        score_folders(reference, predicted, recordings="fold4_*")


def test_folders_that_cannot_be_scored(folders, tmp_path):
    reference, predict = folders
    predicted = predict("polar5")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty holds no csv file"):
        score_folders(reference, tmp_path / "empty")
    with pytest.raises(UserError, match="nowhere is no folder"):
        score_folders(tmp_path / "nowhere", predicted)
    with pytest.raises(UserError, match=r"no csv file of a recording named fold9_\*"):
        score_folders(reference, predicted, recordings="fold9_*")
    write(reference / "other" / "fold4_room0_mix001.csv", ROWS)
    with pytest.raises(UserError, match=r"fold4_room0_mix001 twice, as .*sony.* and as .*other"):
        score_folders(reference, predicted)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("3,1,0,loud,0", "expected numbers, got '3,1,0,loud,0'"),
        ("3,1,0,10", "expected 5 columns as in the lines before, got 4"),
        ("3,13,0,10,0", "classes are 0..12"),
        ("-3,1,0,10,0", "frames count from 0"),
        ("3.5,1,0,10,0", "frame, class, source have to be whole numbers"),
        ("3,1,0,nan,0", "expected finite numbers"),
        ("3,1,0,10,95", "elevation within"),
    ],
)
def test_faults_are_named_with_file_and_line(folders, line, message):
    reference, predict = folders
    path = sorted(predict("polar5").iterdir())[1]
    lines = path.read_text().splitlines()
    path.write_text("\n".join(["frame,class,source,azimuth,elevation", *lines[:2], "", line, *lines[2:]]) + "\n")
    with pytest.raises(UserError, match=rf"{path.name}:5: .*{message}"):
        score_folders(reference, path.parent)


def test_what_values_do_not_tell_has_to_be_said(folders):
    """Straight ahead as 1, 0, 0, or a source 1 at azimuth 0: only the user knows."""
    reference, predict = folders
    predicted = predict("polar5")
    for path in predicted.iterdir():
        write(path, [(f, 1, 1, 0, 0) for f in range(20)])
    with pytest.raises(UserError, match=r"may be polar \(.*\) or cartesian \(.*say which"):
        score_folders(reference, predicted)
    for form in ("polar", "cartesian"):
        assert score_folders(reference, predicted, form=form)["prediction"]["form"] == form
    write(predicted / "fold4_room0_mix001.csv", [(0, 1, 0, 0)])
    with pytest.raises(UserError, match=r"has 4 columns; known are cartesian"):
        score_folders(reference, predicted, form="cartesian")


def test_repeated_rows_count_as_often_as_they_are_there(folders):
    reference, predict = folders
    predicted = predict("polar5")
    assert score_folders(reference, predicted)["scores"]["ER"]["value"] == pytest.approx(2 / 18)
    for path in predicted.iterdir():
        path.write_text(path.read_text() * 2)
    assert score_folders(reference, predicted)["scores"]["ER"]["value"] == pytest.approx(16 / 18)


def test_a_missing_distance_names_the_recording(folders):
    reference, predict = folders
    with pytest.raises(UserError, match="fold4_room0_mix001: the prediction has no distance"):
        score_folders(reference, predict("polar5"), edition=2024)


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [("average", "best", "macro, micro, present"), ("edition", 2022, "2023, 2024"), ("form", "round", "auto, polar")],
)
def test_unknown_arguments_list_the_choices(folders, argument, value, message):
    reference, predict = folders
    with pytest.raises(UserError, match=f"{argument} .* is not known; choose one of .*{message}"):
        score_folders(reference, predict("polar5"), **{argument: value})


def test_scoring_does_not_load_torch():
    """A command on text files should answer at once."""
    code = "import sys, trainables.scores.folders; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0


@pytest.mark.parametrize("case", ["good", "noisy", "polyphonic", "bad", "empty_pred"])
def test_files_score_as_the_challenge_evaluator_scored_them(tmp_path, case):
    golden = np.load(Path(__file__).parents[1] / "golden" / "trainables_metrics.npz")
    for key in golden.files:
        if key.startswith(f"{case}/") and key.endswith("/reference"):
            name = key.split("/")[1]
            write(tmp_path / "metadata" / f"{name}.csv", golden[key].astype(int).tolist())
            rows = golden[f"{case}/{name}/predicted"].tolist()
            write(tmp_path / "output" / f"{name}.csv", [(int(f), int(c), 0, x, y, z, 0) for f, c, x, y, z in rows])
    for average in ("macro", "micro"):
        result = score_folders(tmp_path / "metadata", tmp_path / "output", average)
        values = [entry["value"] for entry in result["scores"].values()]
        np.testing.assert_allclose(values, golden[f"{case}/{average}"], atol=1e-6)
