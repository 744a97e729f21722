"""A reader of a layout of one's own: that of the example's plugin, taken in beside STARSS23's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from data.errors import UserError
from data.readers import READERS
from data.readers.contract import IngestSettings
from data.readers.ingest import ingest
from data.registry.plugins import Plugin, load_plugins
from data.stores.rows import decode_flac, row_events
from support.forgotten_plugins import forgotten_plugins
from support.pages import REPOSITORY, blocks
from support.starss23_tree import noise, rows_of, write_text, write_wav

EXAMPLE = Path(__file__).parents[2] / "examples" / "parts.py"


@pytest.fixture
def plugin() -> Iterator[Plugin]:
    with forgotten_plugins():
        (plugin,) = load_plugins([str(EXAMPLE)])
        yield plugin


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for split, name in (("train", "kitchen_1"), ("train", "hall_1"), ("test", "attic_1"), ("test", "attic_2")):
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
    assert {split: content.clips for split, content in splits.items()} == {"train": 1, "val": 1, "test": 2}
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


def test_the_pages_reader_of_other_labels(tree: Path, tmp_path: Path) -> None:
    """That of `docs/extending.md`, as a plugin: seconds and words become label frames and classes."""
    (page,) = (
        block
        for block in blocks(REPOSITORY / "docs" / "extending.md")
        if block.marks.get("file", "").endswith("/field.py")
    )
    write_text(tmp_path / "my_parts.py", page.text)
    for csv in tree.rglob("*.csv"):
        csv.rename(csv.with_suffix(".txt"))
        write_text(csv.with_suffix(".txt"), "")
    write_text(
        tree / "train" / "hall_1.txt", "0.3 0.6 steps -90 10 1.5\n0.5 0.6 woman 30.5 -20 2\n1.9 2.5 knock 0 0 3\n"
    )
    write_text(tree / "test" / "attic_1.txt", "0 1 steps 0 0 1\n0 1 dog 0 0 1\n")
    with forgotten_plugins():
        load_plugins([str(tmp_path / "my_parts.py")])
        built = ingest(str(tree), str(tmp_path / "store"), IngestSettings(val_rooms=()), reader="field")
    (row,) = rows_of(built.store, "hall_1")
    events = row_events(row)
    assert events.frame.tolist() == [3, 4, 5, 5, 19]
    assert events.class_index.tolist() == [6, 6, 6, 0, 12]
    assert events.source.tolist() == [1, 1, 1, 2, 3]
    assert events.azimuth_deg.tolist() == [-90, -90, -90, 30.5, 0]
    assert events.distance_cm.tolist() == [150, 150, 150, 200, 300]
    np.testing.assert_array_equal(decode_flac(row["audio"]), noise(2.0))
    assert built.report["recordings"]["hall_1"]["facts"]["notes"]["rows past the end of the sound dropped"] == 5
    assert [fault["reason"] for fault in built.report["faults"]] == [
        f"{tree}/test/attic_1.txt:2: '0 1 dog 0 0 1' is no event ('dog')"
    ]
    assert len(row_events(rows_of(built.store, "kitchen_1")[0])) == 0
