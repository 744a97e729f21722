"""Label files are read in the form that they were written in."""

from pathlib import Path

import numpy as np
import pytest

from data.errors import UserError
from infra.dcase_csv import read_folder, read_numbers


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
    np.testing.assert_array_equal(read_numbers(path), [[1, 2, 0, 10.5, -3.25, np.nan], [2, 2, 0, 11, -3, 150]])


def test_stereo_labels_of_2025_are_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("frame,class,source,azimuth,distance,onscreen\n0,1,0,-30,220,1\n")
    with pytest.raises(UserError, match="stereo form of DCASE 2025"):
        read_folder({"a": path})
