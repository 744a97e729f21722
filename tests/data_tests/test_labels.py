"""Label files are read with the tolerance that STARSS23 needs, and targets equal the reference's."""

import re
from pathlib import Path

import numpy as np
import pytest

from data.errors import UserError
from data.files.dcase_csv import read_events_csv, write_events_csv
from data.labels import Events, adpit_target

GOLDEN = Path(__file__).parents[1] / "golden" / "data_golden.npz"


def write(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_bytes(text.encode())
    return path


def test_target_equals_the_reference():
    golden = np.load(GOLDEN)
    events = Events.build(*golden["adpit_events"].T)
    target = adpit_target(events, 50)
    np.testing.assert_allclose(target[:, :, :4], golden["adpit_target"], atol=1e-7)
    assert not target[:, :, 4].any()


def test_distances_are_part_of_the_target_in_metres():
    events = Events.build([0, 0, 1], [2, 2, 5], [0, 1, 0], [0, 90, 10], [0, 0, 0], [150, 320, np.nan])
    target = adpit_target(events, 2)
    assert target[0, 1:3, 4, 2].tolist() == pytest.approx([1.5, 3.2])
    assert target[1, 0, 4, 5] == 0.0


def test_target_leaves_out_labels_past_the_end():
    events = Events.build([0, 3, 9], [1, 1, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0])
    target = adpit_target(events, 4)
    assert target.shape == (4, 6, 5, 13)
    assert target[:, :, 0].sum() == 2


def test_target_of_no_events_is_zero():
    assert not adpit_target(Events.build(), 7).any()


def test_six_columns_carry_the_distance(tmp_path):
    events = read_events_csv(write(tmp_path, "12,1,1,-98,-16,240\n38,4,2,-51,-39,310\n"))
    assert events.frame.tolist() == [12, 38]
    assert events.class_index.tolist() == [1, 4]
    assert events.distance_cm.tolist() == [240, 310]


def test_five_columns_have_no_distance(tmp_path):
    assert np.isnan(read_events_csv(write(tmp_path, "12,1,1,-98,-16\n")).distance_cm).all()


@pytest.mark.parametrize(
    "text",
    ["1,2,0,10.5,-3.25\r\n2,2,0,11,-3\r\n", "1,2,0,10.5,-3.25\n2,2,0,11,-3", "1,2,0, 10.5 ,-3.25\n\n2,2,0,11,-3\n"],
)
def test_line_ends_spaces_and_decimals_are_tolerated(tmp_path, text):
    events = read_events_csv(write(tmp_path, text))
    assert events.azimuth_deg.tolist() == [10.5, 11.0]


def test_an_empty_file_has_no_events(tmp_path):
    assert len(read_events_csv(write(tmp_path, ""))) == 0


def test_exact_duplicates_are_dropped_unless_wanted(tmp_path):
    path = write(tmp_path, "5,3,0,10,0\n5,3,0,10,0\n5,3,0,20,0\n")
    assert read_events_csv(path).azimuth_deg.tolist() == [10, 20]
    assert len(read_events_csv(path, drop_duplicates=False)) == 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("5,13,0,10,0", "class 13"),
        ("5,-1,0,10,0", "class -1"),
        ("5,hoot,0,10,0", "there is no class 'hoot'"),
        ("5,1,0,10", "got 4"),
        ("5,1,0,10,0,100,7", "got 7"),
        ("-1,1,0,10,0", "frame -1"),
        ("1.5,1,0,10,0", "have to be whole numbers"),
        ("1,1,1e300,10,0", "have to be whole numbers"),
        ("5,1,0,370,0", "out of range"),
        ("5,1,0,0,91", "out of range"),
        ("5,1,0,nan,0", "expected finite numbers"),
    ],
)
def test_faults_are_named_with_file_and_line(tmp_path, line, message):
    path = write(tmp_path, f"0,0,0,0,0\n{line}\n")
    with pytest.raises(UserError, match=rf"{re.escape(str(path))}:2.*{re.escape(message)}"):
        read_events_csv(path)


def test_a_missing_file_is_a_users_error(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.csv"):
        read_events_csv(tmp_path / "nowhere.csv")


def test_written_files_are_read_back(tmp_path):
    events = Events.build([1, 2], [3, 4], [0, 1], [-179.6, 10], [5, -5], [100, 250])
    write_events_csv(tmp_path / "a.csv", events)
    assert (tmp_path / "a.csv").read_text() == "1,3,0,-180,5,100\n2,4,1,10,-5,250\n"
    write_events_csv(tmp_path / "b.csv", Events.build([1], [3], [0], [10], [5]))
    assert (tmp_path / "b.csv").read_text() == "1,3,0,10,5\n"
    assert read_events_csv(tmp_path / "a.csv").distance_cm.tolist() == [100, 250]


def test_between_counts_labels_from_its_start():
    events = Events.build([0, 10, 19, 20], [0, 1, 2, 3], [0] * 4, [0] * 4, [0] * 4)
    cut = events.between(10, 20)
    assert cut.frame.tolist() == [0, 9]
    assert cut.class_index.tolist() == [1, 2]
