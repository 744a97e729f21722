"""Label files are read in the form that they were written in."""

from pathlib import Path

import numpy as np
import pytest

from data.errors import UserError
from data.files.dcase_csv import parse_events_csv, read_events_csv, read_table
from data.files.label_folder import find_recordings, read_folder
from data.geometry import unit_vector
from data.readers.contract import IngestSettings
from data.readers.ingest import ingest
from support.starss23_tree import Tree


def write(path: Path, rows) -> Path:
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("rows", "form"),
    [
        ([(0, 1, 0, 1, 1, 2), (1, 1, 0, 90, 0, 2)], "polar"),
        ([(0, 1, 0, 0.5, 0.5, 0.1)], "cartesian"),
        ([(0, 1, 0, 1, 0, -1)], "cartesian"),
        ([(0, 1, 0, 170, 10, -0.5)], "polar"),
        ([(0, 1, 0, 0, 0)], "polar"),
        ([(0, 1, 0.5, 0, 0)], "cartesian"),
        ([(0, 1, 0, 2.5, 0.5)], "polar"),
    ],
)
def test_form_by_values(tmp_path, rows, form):
    path = write(tmp_path / "a.csv", rows)
    assert read_folder({"a": path}).form == form


def test_a_folder_is_judged_as_a_whole(tmp_path):
    """One row alone could be either."""
    one, other = write(tmp_path / "a.csv", [(0, 1, 1, 1, 0)]), write(tmp_path / "b.csv", [(0, 1, 0.6, 0.8, 0.0)])
    together = read_folder({"a": one, "b": other})
    assert together.form == "cartesian"
    np.testing.assert_array_equal(together.recordings["a"].vector, [[1, 1, 0]])
    with pytest.raises(UserError, match="two forms"):
        read_folder({"a": write(tmp_path / "a.csv", [(0, 1, 30, 5)]), "b": other})


def test_rows_with_and_without_distance_may_lie_together(tmp_path):
    files = {
        "a": write(tmp_path / "a.csv", [(0, 1, 0, 90, 0, 250)]),
        "b": write(tmp_path / "b.csv", [(0, 1, 0, 90, 0)]),
    }
    folder = read_folder(files)
    assert (folder.columns, folder.distance_unit) == ([5, 6], "cm")
    assert folder.recordings["a"].distance_m.tolist() == [2.5]
    assert folder.recordings["b"].distance_m is None
    np.testing.assert_allclose(folder.recordings["b"].vector, [[0, 1, 0]], atol=1e-12)
    assert read_folder(files, unit="m").recordings["a"].distance_m.tolist() == [250]


def test_patient_reading(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbf 1.0, 2 ,0,10.5,-3.25,\r\n\r\n2,2,0,11,-3,150")
    np.testing.assert_array_equal(read_table(path).values, [[1, 2, 0, 10.5, -3.25, np.nan], [2, 2, 0, 11, -3, 150]])


def test_stereo_labels_of_2025_are_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("frame,class,source,azimuth,distance,onscreen\n0,1,0,-30,220,1\n")
    with pytest.raises(UserError, match="stereo form of DCASE 2025"):
        read_folder({"a": path})


TAKEN = {
    "an azimuth beyond 180": ("0,3,1,190,10,150\n2,3,1,-270,10,150\n", {"rows with an azimuth beyond 180 degrees": 2}),
    "a full turn": ("0,3,1,360,10\n", {"csv without distances": 1, "rows with an azimuth beyond 180 degrees": 1}),
    "decimals in whole numbers": ("2.0,4.0,1.0,87.0,19.0,161.0\n", {}),
    "no source": ("0,3,-30,10\n4,3,170,-5\n", {"csv without distances": 1, "csv without sources": 1}),
    "a header": ("frame,class,source,azimuth,elevation,distance\n7,3,1,20,10,150\n", {"csv with a header": 1}),
    "only a header": ("frame,class,source,azimuth,elevation\n", {"csv without rows": 1, "csv with a header": 1}),
    "vectors": (
        "0,3,0,0.6,-0.8,0.0\n1,3,0,0.0,0.0,1.0\n",
        {"csv without distances": 1, "csv with vectors in place of angles": 1},
    ),
    "some distances": ("0,3,1,20,10,150\n1,3,1,20,10\n2,3,1,20,10,\n", {}),
}


@pytest.mark.parametrize(("text", "notes"), TAKEN.values(), ids=TAKEN)
def test_labels_that_can_be_scored_can_be_taken_in_and_compared_with(tmp_path, text, notes):
    """One format has one reader: `score`, `data ingest` and `predict --truth` take the same rows."""
    tree = Tree(tmp_path / "starss")
    tree.add("fold3_room1_mix001", csv=text, video=False)
    path = tree.path("metadata", "fold3_room1_mix001")
    scored = read_folder({"a": path}, fallback="polar").recordings["a"]
    truth = read_events_csv(path)
    assert truth.frame.tolist() == scored.frame.tolist()
    assert truth.class_index.tolist() == scored.class_index.tolist()
    assert (np.abs(truth.azimuth_deg) <= 180).all()
    found = unit_vector(truth.azimuth_deg, truth.elevation_deg)
    np.testing.assert_allclose(found, scored.vector.reshape(found.shape), atol=1e-12)
    built = ingest(str(tree.root), str(tmp_path / "out"), IngestSettings(val_rooms=()))
    assert not built.report["faults"]
    assert built.report["recordings"]["fold3_room1_mix001"]["facts"]["notes"] == notes | {"recordings without video": 1}


def test_small_angles_in_labels_are_no_vectors(tmp_path):
    """Directions of labels have a length of 1: angles and distances that are all small are still angles."""
    path = write(tmp_path / "a.csv", [(0, 3, 0, 0.5, 0.25, 1.5), (1, 3, 0, 0.75, -0.5, 1.25)])
    assert read_events_csv(path).azimuth_deg.tolist() == [0.5, 0.75]


@pytest.mark.parametrize(
    "page",
    [
        "404: Not Found",
        '{"error": "gone", "code": "NoSuchKey", "host": "x", "hint": "none"}',
        "<html><body>Sorry, the page, that you want, is gone</body></html>",
        "<?xml version='1.0'?><Error><Message>Access, denied, by, rule</Message></Error>\n",
        "version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 9\n",
    ],
)
def test_a_servers_sentence_is_no_header(tmp_path, page):
    path = tmp_path / "a.csv"
    path.write_text(page)
    for read in (read_events_csv, lambda path: read_folder({"a": path})):
        with pytest.raises(UserError, match=r"a\.csv:1: expected numbers, got "):
            read(path)


@pytest.mark.parametrize(
    "row", ["0;3;1;20;10", "0\t3\t1\t20\t10", "0;3;1;20,5;10,0", '0,3,1,"20,5","10,0"', '"0","3","1"']
)
def test_other_separators_are_refused_with_the_fix(tmp_path, row):
    (tmp_path / "a.csv").write_text(f"{row}\n")
    for read in (read_events_csv, lambda path: read_folder({"a": path})):
        with pytest.raises(UserError, match=r"a\.csv:1: expected numbers, got .*; write plain numbers with commas"):
            read(tmp_path / "a.csv")


def test_only_predicted_distances_may_be_negative(tmp_path):
    path = write(tmp_path / "a.csv", [(0, 3, 0, 20, 10, 100), (1, 3, 0, 20, 10, -5)])
    assert read_folder({"a": path}, fallback="polar").form == "polar"
    with pytest.raises(UserError, match=r"a\.csv:2: distance -5 is negative: centimetres are expected"):
        read_events_csv(path)


def test_scores_take_a_day_and_data_sets_any_length(tmp_path):
    path = write(tmp_path / "a.csv", [(24 * 36000, 3, 0, 20, 10)])
    assert read_events_csv(path).frame.tolist() == [24 * 36000]
    with pytest.raises(UserError, match=r"a\.csv:1: a recording is at most 24 h long"):
        read_folder({"a": path})


def test_angles_of_a_whole_folder_in_radians_are_asked_about(tmp_path):
    rows = [(frame, 3, 0, round(float(np.deg2rad(100 + frame)), 4), 0.2094) for frame in range(30)]
    files = {"a": write(tmp_path / "a.csv", rows)}
    said = r"a\.csv and the files beside it hold azimuths up to 2\.25, elevations up to 0\.209: are they radians\?"
    with pytest.raises(UserError, match=said):
        read_folder(files)
    assert read_folder(files, form="polar").form == "polar"
    assert read_folder({"a": write(tmp_path / "few.csv", rows[-5:])}).form == "polar"
    write(tmp_path / "a.csv", [(frame, 3, 0, azimuth, 12) for frame, _, _, azimuth, _ in rows])
    with pytest.raises(UserError, match=r"azimuths up to 2\.25, elevations up to 12: are they radians\?"):
        read_folder(files)


@pytest.mark.parametrize(("azimuth", "elevation"), [(1.745, 0.2094), (1.745, 12), (100, 0.2094)])
def test_a_recording_of_a_folder_that_may_be_in_radians_is_named(tmp_path, caplog, azimuth, elevation):
    degrees = write(tmp_path / "a.csv", [(frame, 3, 0, 100 + frame, 12) for frame in range(30)])
    odd = write(tmp_path / "b.csv", [(frame, 3, 0, azimuth, elevation) for frame in range(30)])
    assert len(read_folder({"a": degrees, "b": odd}).recordings["b"]) == 30
    assert f"no larger than radians are, in {odd}; are they degrees?" in caplog.text
    assert len(read_events_csv(odd)) == 30
    assert f"{odd}: angles are no larger than radians are" in caplog.text
    assert parse_events_csv(odd.read_bytes(), "b.csv")[1]["csv with angles no larger than radians are"] == 1
    assert "csv with angles no larger than radians are" not in parse_events_csv(degrees.read_bytes(), "a.csv")[1]
    caplog.clear()
    read_folder({"a": degrees, "b": write(tmp_path / "b.csv", [(frame, 3, 0, 1, 1) for frame in range(30)])})
    assert not caplog.text


def test_small_angles_with_small_distances_are_no_vectors(tmp_path):
    """As vectors they would have the lengths of distances."""
    rows = [(frame, 3, 0, 1.25, -0.5, 0.5 + 0.05 * frame) for frame in range(30)]
    files = {"a": write(tmp_path / "a.csv", rows)}
    with pytest.raises(UserError, match="no value tells; say which, as form polar or cartesian"):
        read_folder(files)
    vectors = [(frame, 3, 0, 0.6 + 0.01 * frame, -0.5, 0.4) for frame in range(30)]
    assert read_folder({"a": write(tmp_path / "v.csv", vectors)}).form == "cartesian"


def test_underscores_are_no_part_of_a_number(tmp_path):
    (tmp_path / "a.csv").write_text("1_0,3,0,-1_8,10\n")
    for read in (read_events_csv, lambda path: read_folder({"a": path})):
        with pytest.raises(UserError, match=r"a\.csv:1: expected numbers, got '1_0,3,0,-1_8,10'"):
            read(tmp_path / "a.csv")


def test_distances_in_metres_are_taken_for_what_they_are(tmp_path):
    rows = [(frame, 3, 0, 20, 10, 1.118 + 0.01 * frame) for frame in range(5)]
    np.testing.assert_allclose(read_events_csv(write(tmp_path / "a.csv", rows)).distance_cm[:2], [111.8, 112.8])
    some = [(frame, 3, 0, 20, 10, 0 if frame % 5 else 200) for frame in range(100)]
    assert read_events_csv(write(tmp_path / "c.csv", some)).distance_cm.max() == 200
    cm = [(frame, 3, 0, 20, 10, 111 + frame) for frame in range(5)]
    assert read_events_csv(write(tmp_path / "b.csv", cm)).distance_cm.tolist() == [111, 112, 113, 114, 115]


def test_recordings_behind_links_are_found(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    write(tmp_path / "here" / "a.csv", [(0, 3, 0, 20, 10)])
    write(tmp_path / "there" / "b.csv", [(0, 3, 0, 20, 10)])
    (tmp_path / "here" / "more").symlink_to(tmp_path / "there")
    assert list(find_recordings(tmp_path / "here")) == ["a", "b"]
