"""Data sets that are called by their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.errors import UserError
from data.scenes.synth import SynthSettings, synthesise
from infra.api import datasets
from infra.stack.places import data_place, is_name, there_are

TINY = SynthSettings(train_clips=1, val_clips=0, test_clips=0, clip_s=5.0, train_rooms=1, with_video=False)


def test_names_are_told_from_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    assert [place for place in ("crowd", "here", "s3://b/c", "a/b", "~/c", "/c", ".") if is_name(place)] == ["crowd"]
    assert data_place("crowd", "s3://bucket") == "s3://bucket/data/crowd"
    assert data_place("here", "s3://bucket") == "here"


def test_a_name_that_is_not_there_is_answered_with_those_that_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(tmp_path / "root")
    monkeypatch.setenv("SELDTUNE_ROOT", root)
    monkeypatch.setenv("SELDTUNE_HOME", str(tmp_path / "home"))
    assert there_are(root) == f"there is none below {root}/data"
    for name in ("crowd", "quiet"):
        synthesise(TINY, f"{root}/data/{name}")
    (tmp_path / "root" / "data" / "unfinished").mkdir()
    assert datasets.open_store("crowd").root == f"{root}/data/crowd"
    for ask in (datasets.open_store, datasets.verify, datasets.inspect):
        with pytest.raises(UserError, match=rf"no data at {root}/data/loud: .*; {root}/data holds crowd, quiet$"):
            ask("loud")
