"""A reader of a layout of one's own: that of the example's plugin, taken in beside STARSS23's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from data.errors import UserError
from data.readers import READERS
from data.readers.contract import IngestSettings
from data.readers.ingest import ingest
from data.registry.plugins import Plugin, load_plugins
from support.forgotten_plugins import forgotten_plugins
from support.starss23_tree import noise, write_text, write_wav

EXAMPLE = Path(__file__).parents[2] / "examples" / "parts.py"


@pytest.fixture
def plugin() -> Iterator[Plugin]:
    with forgotten_plugins():
        (plugin,) = load_plugins([str(EXAMPLE)])
        yield plugin


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for split, name in (("train", "kitchen_1"), ("train", "hall_1"), ("test", "attic_1")):
        write_wav(tmp_path / "tree" / split / f"{name}.wav", noise(2.0))
        write_text(tmp_path / "tree" / split / f"{name}.csv", "0,0,0,10,0,150\n")
    return tmp_path / "tree"


def test_the_readers() -> None:
    assert list(READERS) == ["starss23"]
    with pytest.raises(UserError, match="--reader = 'flat' is not known; choose one of starss23"):
        ingest("nowhere", "anywhere", reader="flat")


def test_the_examples_plugin_reads_its_layout(plugin: Plugin, tree: Path, tmp_path: Path) -> None:
    assert plugin.parts == {("fusion", "gated"), ("reader", "flat")}
    settings = IngestSettings(val_rooms=("hall",))
    built = ingest(str(tree), str(tmp_path / "store"), settings, reader="flat")
    splits = built.store.manifest.splits
    assert {split: content.clips for split, content in splits.items()} == {"train": 1, "val": 1, "test": 1}
    assert not built.report["faults"]
    said = json.loads((tmp_path / "store" / "manifest.json").read_text())
    assert said["source"] == "flat"
    assert said["settings"]["plugins"] == {"parts.py": plugin.identity}


def test_the_layout_of_another_reader_is_refused(plugin: Plugin, tree: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no recordings: foa_dev"):
        ingest(str(tree), str(tmp_path / "store"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no recordings: train/<room>_<recording>\.wav"):
        ingest(str(tmp_path / "empty"), str(tmp_path / "store"), reader="flat")
