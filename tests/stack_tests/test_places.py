"""Data sets by their names, and folders that bear the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.stack.places import data_place


def test_a_name_is_a_data_set_below_the_root_though_a_tree_of_recordings_is_called_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert data_place("garden", "s3://b") == "s3://b/data/garden"
    (tmp_path / "garden" / "foa_dev").mkdir(parents=True)
    assert data_place("garden", "s3://b") == "s3://b/data/garden"
    (tmp_path / "garden" / "manifest.json").write_text("{}")
    assert data_place("garden", "s3://b") == "garden"


@pytest.mark.parametrize("place", ["s3://b/data/x", "./garden", "data/garden", "/data/garden", "~/garden"])
def test_paths_and_uris_are_what_they_are(place: str) -> None:
    assert data_place(place, "s3://b") == place
