"""A tree whose labels do not say what is heard is not published, unless its labels are to be trusted."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from data.agreement import stored
from data.agreement.stored import agreement_of
from data.errors import UserError
from data.readers.contract import IngestSettings
from data.readers.ingest import ingest
from data.scenes.synth import SynthSettings, write_tree

CLIPS = SynthSettings(
    train_clips=5, val_clips=0, test_clips=1, clip_s=20.0, train_rooms=5, test_rooms=1, with_video=False
)
SETTINGS = IngestSettings(val_rooms=("room5",))


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a tree."""
    root = write_tree(CLIPS, str(tmp_path_factory.mktemp("clean") / "tree"))
    return {str(path.relative_to(root)): path.read_bytes() for path in Path(root).rglob("*") if path.is_file()}


def written(root: Path, files: dict[str, bytes], is_mirrored: Callable[[str], bool] = lambda name: False) -> str:
    """The tree anew, with azimuths counted clockwise in some label files."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".csv" and is_mirrored(path.stem):
            rows = [line.split(",") for line in content.decode().splitlines()]
            content = "".join(",".join([*row[:3], str(-int(row[3])), *row[4:]]) + "\n" for row in rows).encode()
        path.write_bytes(content)
    return str(root)


def test_a_clean_tree_says_that_they_agree(tmp_path, clean, caplog):
    with caplog.at_level(logging.INFO, logger="seldtune"):
        built = ingest(written(tmp_path / "tree", clean), str(tmp_path / "out"), SETTINGS)
    assert "sound and labels agree: " in caplog.text
    assert built.report["agreement"]["doubts"] == []
    assert built.report["agreement"] == agreement_of(built.store).to_dict()
    assert [one["facts"]["agreement"]["near"] > 0.8 for one in built.report["recordings"].values()] == [True] * 6


def test_whole_rows_are_listened_to_only_where_a_part_leaves_a_doubt(tmp_path, clean, monkeypatch):
    listened: list[float] = []

    def listen(audio, events):
        listened.append(audio.shape[1] / 24_000)
        return heard_by(audio, events)

    heard_by = stored.listen
    monkeypatch.setattr(stored, "listen", listen)
    monkeypatch.setattr(stored, "_FIRST_LABELS", 150)
    ingest(written(tmp_path / "tree", clean), str(tmp_path / "out"), SETTINGS)
    assert listened == 4 * [15.0]
    listened.clear()
    mirrored = written(tmp_path / "mirrored", clean, lambda name: True)
    ingest(mirrored, str(tmp_path / "trusted"), SETTINGS, trust_labels=True)
    assert listened == 4 * [15.0] + 6 * [20.0]


def test_a_mirrored_tree_is_refused_and_taken_when_it_is_to_be_trusted(tmp_path, clean):
    root, out = written(tmp_path / "tree", clean, lambda name: True), tmp_path / "out"
    said = r"nothing new is published at .*out: sound and labels disagree: .* azimuth -> -azimuth .* --trust-labels"
    for _ in range(2):
        with pytest.raises(UserError, match=said):
            ingest(root, str(out), SETTINGS)
        assert not (out / "manifest.json").exists()

    def read_again(*_):
        raise AssertionError("what was read once is read again")

    built = ingest(root, str(out), SETTINGS, run=lambda f, tasks: map(read_again, tasks), trust_labels=True)
    assert any("azimuth -> -azimuth" in remark for remark in built.report["remarks"])
    assert json.loads((out / "report.json").read_text())["agreement"]["doubts"]


def test_a_published_store_stays_when_its_labels_go_wrong(tmp_path, clean):
    out = str(tmp_path / "out")
    before = ingest(written(tmp_path / "tree", clean), out, SETTINGS).store
    with pytest.raises(UserError, match="sound and labels disagree"):
        ingest(written(tmp_path / "tree", clean, lambda name: True), out, SETTINGS)
    assert agreement_of(before).doubts == ()
    before.check()


def test_the_one_recording_that_disagrees_is_named(tmp_path, clean):
    names = sorted(Path(name).stem for name in clean if name.endswith(".csv"))
    built = ingest(written(tmp_path / "tree", clean, lambda name: name == names[0]), str(tmp_path / "out"), SETTINGS)
    (remark,) = (remark for remark in built.report["remarks"] if "disagree" in remark)
    assert remark == f"sound and labels disagree in 1 of 6 recordings: {names[0]}"
    half = written(tmp_path / "half", clean, lambda name: name in names[:3])
    with pytest.raises(UserError, match=r"disagree in \d of 6 recordings"):
        ingest(half, str(tmp_path / "half-out"), SETTINGS)
